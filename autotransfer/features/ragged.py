"""Arrays of examples of unequal length: what belongs to their positions, without padding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # a look at the cache does not wait for torch
    from torch import Tensor

__all__ = ["Array", "Arrays", "Packed", "Ragged", "arranged", "by_length", "flattened"]


@dataclass(frozen=True)
class Packed:
    """What a batch has at the positions of its examples, one example after the other: (positions, ...)."""

    values: Tensor

    @classmethod
    def of(cls, features: Tensor, mask: Tensor) -> Packed:
        """Pack features (rows, L, ...) without what the mask (rows, L) says is not there."""
        return cls(features[mask])


@dataclass(frozen=True)
class Ragged:
    """An array of N examples of unequal length.

    Attributes:
        values: What belongs to each position (positions, ...), one example after the other; it may be memory-mapped.
        offsets: int64 (N + 1,): where the positions of each example begin, and the end.
    """

    values: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def empty(
        cls,
        lengths: np.ndarray,
        shape: Sequence[int],
        dtype: np.dtype,
        allocate: Callable[[Sequence[int], np.dtype], np.ndarray],
    ) -> Ragged:
        """Return an empty one for examples of these lengths (N,), with values of a shape at each position."""
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        return cls(allocate((int(offsets[-1]), *shape), dtype), offsets)

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return int(self.values.nbytes + self.offsets.nbytes)

    @property
    def lengths(self) -> np.ndarray:
        """Number of positions of each example (N,)."""
        return np.diff(self.offsets)

    def positions(self, rows: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where the values of some examples are (rows, L), and which of these positions are there (rows, L)."""
        lengths = self.lengths[rows]
        steps = np.arange(lengths.max(initial=0))
        there = steps < lengths[:, None]
        return np.where(there, self.offsets[:-1][rows][:, None] + steps, 0), there

    def padded(self, rows: slice | np.ndarray) -> np.ndarray:
        """Return some examples (rows, L, ...), L that of the longest of them, with zeros where nothing is there."""
        where, there = self.positions(rows)
        found = np.zeros((*where.shape, *self.values.shape[1:]), self.values.dtype)
        found[there] = self.values[where[there]]
        return found

    def put(self, rows: slice | np.ndarray, values: np.ndarray) -> None:
        """Write the values (positions, ...) of some examples, one example after the other."""
        where, there = self.positions(rows)
        self.values[where[there]] = values


Array = np.ndarray | Ragged
Arrays = tuple[Array, ...]


def flattened(arrays: Iterable[Array]) -> tuple[list[np.ndarray], list[int]]:
    """Return arrays as plain ones, and the places of those among them that are values which offsets follow."""
    plain, places = list[np.ndarray](), list[int]()
    for array in arrays:
        if isinstance(array, Ragged):
            places.append(len(plain))
        plain += [array.values, array.offsets] if isinstance(array, Ragged) else [array]
    return plain, places


def arranged(plain: Sequence[np.ndarray], places: Iterable[int]) -> Arrays:
    """Return the arrays of which ``flattened`` made plain ones."""
    ragged = set(places)
    ends = {place + 1 for place in ragged}
    return tuple(
        Ragged(array, plain[place + 1]) if place in ragged else array
        for place, array in enumerate(plain)
        if place not in ends
    )


def by_length(lengths: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """Return the places of rows from the longest to the shortest: a lack of memory shows at once.

    Args:
        lengths: Number of positions of each example (N,).
        rows: Which examples; None for all.
    """
    order: np.ndarray = np.argsort(-(lengths if rows is None else lengths[rows]), kind="stable")
    return order
