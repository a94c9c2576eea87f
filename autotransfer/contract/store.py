"""Examples that were read, each of them once, and the inputs that backbones get of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol, Union

from autotransfer.errors import ConfigError
from autotransfer.warnings import FitWarning

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor
    from typing_extensions import Self

    from autotransfer.contract.modality import Modality

__all__ = ["InputFormat", "Inputs", "Item", "Skipped", "Store"]

Item = Any
"""One example before it is read: the path of its file, or what ``Modality.item`` made of a value in memory."""

Inputs = Union["Tensor", Mapping[str, "Tensor"]]
"""What a backbone takes: a tensor (N, ...), or several by name, such as tokens and their mask.

Tensors of whole numbers and truth values are small and are made anew at a cut; those of floats are not.

Examples of unequal length have a tensor ``"mask"`` of truth values (N, L) among them: the positions that are there,
which come first. L is the length of the longest of these N examples. Other tensors (N, L) of whole numbers may stand
beside it. What a backbone makes of positions is (N, L, ...), and features do not depend on positions that are not
there.
"""


class InputFormat(Protocol):
    """How a backbone wants its inputs; frozen, and equal to another one that wants the same."""

    def probe(self, count: int, seed: int = 0) -> Inputs:
        """Return the inputs of some made-up examples, on the CPU, to check a backbone on; equal for equal seeds."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON, for ``Modality.read_format``."""
        ...


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """An example that could not be used.

    Attributes:
        name: Its path, or its position.
        reason: Why.
        label: Its class, where it is known to have one.
    """

    name: str
    reason: str
    label: str | None = None


@dataclass(frozen=True, kw_only=True)
class Store:
    """Examples that were read, each of them once. A modality derives its own from it.

    Attributes:
        modality: What read them.
        arrays: All that is large, by name: arrays of N rows, in memory or memory-mapped. Worker processes share them.
        digests: Hash of each example's content, in order: equal examples have equal digests.
        kept: Position of each (N,) among the examples that were to be read, in order.
        skipped: What could not be read.
        decoded: How many were read: the counter that shows that nothing is read twice.
        warnings: What a user should know of them.
        remarks: What is lost of an example that does not suit the reading that was given, by its position among the
            examples that were to be read.
    """

    modality: Modality
    arrays: Mapping[str, np.ndarray]
    digests: tuple[str, ...]
    kept: np.ndarray
    skipped: tuple[Skipped, ...] = ()
    decoded: int = 0
    warnings: tuple[FitWarning, ...] = ()
    remarks: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.digests)

    @property
    def reading(self) -> Mapping[str, Any]:
        """How they were read, as JSON: ``Modality.load`` reads others alike, and a model keeps it."""
        return {}

    @property
    def decided(self) -> str:
        """What tells apart equal files that were read in different ways; empty for the usual way."""
        return ""

    @property
    def fingerprint(self) -> str:
        """Hash of all examples in order, and of what was decided of their values: the data's part of a cache key."""
        return blake2b(("".join(self.digests) + self.decided).encode(), digest_size=16).hexdigest()

    @property
    def key(self) -> str:
        """All that inputs depend on beside the format of the backbone: the fingerprint, and how they are stored."""
        return self.fingerprint + json.dumps(dict(self.reading), sort_keys=True)

    def inputs(self, rows: slice | np.ndarray, how: Any, device: torch.device, view: str | None = None) -> Inputs:
        """Return the inputs (rows, ...) of a backbone.

        Args:
            rows: Which examples.
            how: The backbone's ``InputFormat``.
            device: Where the result lives.
            view: One of ``Modality.views``; None for the first.
        """
        raise NotImplementedError

    def augmented(
        self, rows: slice | np.ndarray, how: Any, device: torch.device, strength: str, rng: torch.Generator
    ) -> Inputs:
        """Return inputs of the examples, each changed at random; a strength of ``"none"`` changes nothing.

        Args:
            rows: Which examples.
            how: The backbone's ``InputFormat``.
            device: Where the result lives.
            strength: One of ``Modality.augmentations``.
            rng: What draws the changes, on the CPU.
        """
        if strength != "none":
            raise ConfigError(f"The augmentation is one of {list(self.modality.augmentations)}; got {strength!r}.")
        return self.inputs(rows, how, device)

    def lengths(self, how: Any) -> np.ndarray | None:
        """Return the number of positions (N,) of each example, as ``inputs`` cuts them; None where inputs have no mask.

        Args:
            how: The backbone's ``InputFormat``.
        """
        return None

    def warnings_on(self, chosen: Sequence[Any], tried: Sequence[Any]) -> tuple[FitWarning, ...]:
        """Return what a user should know of a model on these examples, such as parts that it does not see.

        Args:
            chosen: The ``InputFormat`` of each backbone of the model.
            tried: Those of the backbones that the search has tried, as far as they are known.
        """
        return ()

    def suits(self, how: Any) -> bool:
        """Whether ``inputs`` can make what a backbone wants: stores hold what the backbones of a search need."""
        return True

    def keep(self, rows: Sequence[int], skipped: Sequence[Skipped] = ()) -> Self:
        """Return the examples at some positions, which move up within the arrays; the others are left out.

        Args:
            rows: Positions of those that stay, in order.
            skipped: The others, each with the reason.
        """
        for array in self.arrays.values():
            for to, position in enumerate(rows):
                if to != position:
                    array[to] = array[position]
        return self._of({name: array[: len(rows)] for name, array in self.arrays.items()}, rows, skipped)

    def take(self, rows: np.ndarray) -> Self:
        """Return a copy of the examples at some positions."""
        return self._of({name: array[rows] for name, array in self.arrays.items()}, rows.tolist(), ())

    def _of(self, arrays: Mapping[str, np.ndarray], rows: Sequence[int], skipped: Sequence[Skipped]) -> Self:
        return replace(
            self,
            arrays=arrays,
            digests=tuple(self.digests[position] for position in rows),
            kept=self.kept[list(rows)],
            skipped=(*self.skipped, *skipped),
        )
