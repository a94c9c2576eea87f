"""Tables of the package ``datasets`` of Hugging Face, known by what they have, without importing the package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autotransfer.data.split_names import find_split_names
from autotransfer.errors import DataError

__all__ = ["columns_of", "is_hugging_face", "is_split_by_name", "parts_of"]


def is_hugging_face(data: Any) -> bool:
    """Whether data are a ``datasets.Dataset``: rows that can be asked for by number, columns by name."""
    named = isinstance(getattr(data, "column_names", None), (list, tuple))
    return named and hasattr(data, "features") and hasattr(data, "__getitem__") and hasattr(data, "__len__")


def is_split_by_name(data: Any) -> bool:
    """Whether data are a ``datasets.DatasetDict``: a data set by the name of each part."""
    return isinstance(data, Mapping) and bool(data) and all(map(is_hugging_face, data.values()))


def columns_of(data: Any) -> dict[str, Sequence[Any]]:
    """Return the columns of a data set: names in place of the numbers of classes, None where a value is missing.

    Columns that have to be decoded are fetched value by value, when one is asked for.

    Raises:
        DataError: It is empty.
    """
    if not len(data) or not data.column_names:
        raise DataError("The data set is empty.")
    return {name: _column(data, name) for name in data.column_names}


def parts_of(data: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """Return name, part (train, validation or test) and data set of each part of a ``DatasetDict``.

    Raises:
        DataError: Its names say no parts, or there is none to train on.
    """
    known = find_split_names(data)
    if len(data) == 1:
        return [(name, "train", one) for name, one in data.items()]
    unknown = [name for name in data if name not in known]
    if unknown or "train" not in known.values():
        raise DataError(
            f"A data set with the parts {', '.join(map(repr, data))} does not say which of them is there to train on: "
            "give one of them, such as data['train'], and test=data['test']."
        )
    return [(name, known[name], one) for name, one in data.items()]


def _column(data: Any, name: str) -> Sequence[Any]:
    feature = (data.features or {}).get(name)
    names = getattr(feature, "names", None)
    if hasattr(feature, "decode_example") and names is None:
        return _FetchedColumn(data, name)
    values = list(data[name])
    if names is not None:  # -1 stands for a missing class
        return [names[value] if isinstance(value, int) and 0 <= value < len(names) else None for value in values]
    return [None if isinstance(value, str) and not value.strip() else value for value in values]


class _FetchedColumn(Sequence[Any]):
    """The values of one column, each fetched when it is asked for."""

    def __init__(self, data: Any, name: str) -> None:
        self.data, self.name = data, name

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[position] for position in range(*i.indices(len(self)))]
        if i >= len(self):
            raise IndexError(i)
        return self.data[i][self.name]
