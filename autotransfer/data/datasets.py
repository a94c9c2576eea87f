"""Map-style data sets, as torch asks of one: their examples are fetched when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autotransfer.contract.modality import Item, Modality
from autotransfer.data.arrays import is_tensor
from autotransfer.data.columns import TargetReader
from autotransfer.data.examples import Examples
from autotransfer.data.folders import printable
from autotransfer.data.given_targets import listed_targets, plain_value, read_targets, type_name
from autotransfer.data.recognition import item_of, values_of
from autotransfer.errors import DataError

__all__ = ["DatasetItems", "examples_of_dataset", "is_dataset", "names_of"]


def examples_of_dataset(dataset: Any, targets: Any, reader: TargetReader, modalities: Sequence[Modality]) -> Examples:
    """Return the examples of a map-style data set, with its own targets or the given ones.

    Raises:
        DataError: The data set is empty, or yields something else than (example, label).
    """
    total = len(dataset)
    if not total:
        raise DataError("The data set is empty.")
    if targets is None and getattr(dataset, "target_transform", None) is None:  # it would change what targets says
        own = getattr(dataset, "targets", None)
        targets = own if own is not None and hasattr(own, "__len__") and len(own) == total else None
    if targets is not None:
        items = DatasetItems.of(dataset, modalities)
        labels, reading, warnings = read_targets(targets, listed_targets(targets, total), reader)
        return Examples(
            items=items,
            names=names_of(items),
            targets=labels,
            reading=reading,
            warnings=warnings,
            modality=items.modality,
            described=_described(dataset, items.modality),
        )
    pairs = [_pair(dataset[i], i) for i in range(total)]
    modality, found = values_of([example for example, _ in pairs], modalities)
    labels, reading, warnings = reader.read([plain_value(label) for _, label in pairs])
    return Examples(
        items=found,
        names=names_of(found),
        targets=labels,
        reading=reading,
        warnings=warnings,
        modality=modality,
        described=_described(dataset, modality),
    )


def _described(dataset: Any, modality: Modality) -> str:
    return f"{len(dataset)} {modality.noun}s of a data set, {type_name(dataset)}"


def _example(sample: Any) -> Any:
    return sample[0] if isinstance(sample, (tuple, list)) else sample


class DatasetItems(Sequence[Item]):
    """The examples of a data set, each fetched when it is asked for.

    Where several modalities are installed, the first example tells which it is. It is kept, so that none is fetched
    twice. A string is an example itself where the modality reads the first one.
    """

    def __init__(self, dataset: Any, modality: Modality, first: Sequence[Item] = (), *, read: bool = False) -> None:
        self.dataset, self.modality, self.first, self.read = dataset, modality, first, read

    @classmethod
    def of(cls, dataset: Any, modalities: Sequence[Modality]) -> DatasetItems:
        """Return the examples of a data set that is not empty.

        Raises:
            DataError: The first one is of no modality.
        """
        if len(modalities) == 1 and not modalities[0].reads(["a b"]):
            return cls(dataset, modalities[0])
        example = _example(dataset[0])
        modality, first = values_of([example], modalities)
        return cls(dataset, modality, first, read=isinstance(example, str) and not isinstance(first[0], Path))

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: Any) -> Any:
        if i == 0 and self.first:
            return self.first[0]
        return item_of(_example(self.dataset[i]), i, self.modality, read=self.read)


def _pair(sample: Any, i: int) -> tuple[Any, Any]:
    if not isinstance(sample, (tuple, list)) or len(sample) < 2:
        advice = f" Give lists of its columns, which are {list(sample)[:10]}." if isinstance(sample, Mapping) else ""
        raise DataError(f"A data set yields (example, label); sample {i} is {type_name(sample)}.{advice}")
    if hasattr(sample[0], "load") and hasattr(sample[0], "fp"):
        sample[0].load()  # closes the file of an example that was only opened: thousands of them would stay open
    return sample[0], sample[1]


def is_dataset(data: Any) -> bool:
    """Whether it is a map-style data set, as torch asks of one."""
    known = isinstance(data, (list, tuple, np.ndarray)) or is_tensor(data) or hasattr(data, "notna")
    return not known and hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, (str, dict))


def names_of(items: Sequence[Any]) -> tuple[str, ...]:
    """Return what messages call each item: its path, or its position."""
    if isinstance(items, DatasetItems):
        return tuple(f"item {i}" for i in range(len(items)))
    return tuple(_name(item, i) for i, item in enumerate(items))


def _name(item: Item, i: int) -> str:
    return printable(item) if isinstance(item, Path) else f"item {i}"
