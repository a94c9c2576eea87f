"""Running something over all examples, batch by batch: as large as is fast, smaller where memory ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from autotransfer.features.cache import Allocate
from autotransfer.features.ragged import Array, Arrays, Packed, Ragged
from autotransfer.runtime.memory import halve_batch_size

__all__ = ["BatchSize", "Rows", "collect", "in_batches"]

Result = TypeVar("Result")

Rows = slice | np.ndarray
"""Which rows: neighbours, or any."""

Features = tuple["Tensor | Packed", ...]
"""Tensors (rows, ...) of a batch, and what its examples have at their positions."""


def collect(
    features: Callable[[Rows], Features],
    n: int,
    allocate: Allocate,
    sizes: tuple[int, ...],
    *,
    half: bool,
    lower: Callable[[], bool],
    fill: bool = False,
    order: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
    look: tuple[int, Callable[[Arrays], None]] | None = None,
) -> Arrays:
    """Fill arrays batch by batch.

    The batch halves when memory runs out. What is not finite is computed again from the start in a higher precision;
    float32 is stored where 16 bit would overflow.

    Args:
        features: ``features(rows)`` computes tensors (rows, ...), or packed ones; rows are a slice, or a part of
            ``order``.
        n: Number of rows.
        allocate: Makes an empty array of a shape and type.
        sizes: Batch sizes to choose from by a short measurement; the first one where there are few rows. In positions
            where there are lengths.
        half: Whether to store 16 bit.
        lower: Lets the next computation be more precise; returns False if none is.
        fill: Whether a last batch of fewer rows is filled up with rows before it, which are computed again: a GPU
            computes them in less time than its libraries take to set up the layers for another size.
        order: The rows in the order in which they are computed; None computes them as they are.
        lengths: Number of positions of each row (n,); None where all take the same.
        look: After so many rows a look at the arrays, which ends the whole by raising an error.

    Returns:
        The arrays (n, ...).
    """
    in_order = lengths if lengths is None or order is None else lengths[order]
    batch_size = BatchSize(sizes, n if in_order is None else int(in_order.sum()))

    def compute(part: slice) -> Features:
        return tuple(_floats(found) for found in features(part if order is None else order[part]))

    while True:
        looked = 0
        arrays: Arrays | None = None
        for part, batch in in_batches(compute, n, batch_size, fill=fill, lengths=in_order):
            tensors = [found.values if isinstance(found, Packed) else found for found in batch]
            if not all(bool(tensor.isfinite().all()) for tensor in tensors) and lower():
                break
            if half and not all(bool(tensor.half().isfinite().all()) for tensor in tensors):
                half = False
                break
            dtype = np.dtype(np.float16 if half else np.float32)
            arrays = arrays or tuple(_allocated(found, n, lengths, dtype, allocate) for found in batch)
            for array, tensor in zip(arrays, tensors, strict=True):
                _put(array, part if order is None else order[part], (tensor.half() if half else tensor).cpu().numpy())
            if look is not None and looked < look[0] <= part.stop:
                look[1](arrays)
            looked = part.stop
        else:
            assert arrays is not None  # n > 0: empty data are refused before
            return arrays


def _floats(found: Tensor | Packed) -> Tensor | Packed:
    return Packed(found.values.float()) if isinstance(found, Packed) else found.float()


def _allocated(
    found: Tensor | Packed, n: int, lengths: np.ndarray | None, dtype: np.dtype, allocate: Allocate
) -> Array:
    if not isinstance(found, Packed):
        return allocate((n, *found.shape[1:]), dtype)
    assert lengths is not None  # what is packed has lengths
    return Ragged.empty(lengths, found.values.shape[1:], dtype, allocate)


def _put(array: Array, rows: Rows, values: np.ndarray) -> None:
    if isinstance(array, Ragged):
        array.put(rows, values)
    else:
        array[rows] = values


def in_batches(
    compute: Callable[[slice], Result],
    n: int,
    batch_size: BatchSize,
    *,
    fill: bool = False,
    lengths: np.ndarray | None = None,
) -> Iterator[tuple[slice, Result]]:
    """Evaluate something without gradients, batch by batch; yield the rows of each batch, and its result.

    Args:
        compute: ``compute(part)`` returns the result for a slice of the rows.
        n: Number of rows.
        batch_size: Their number in a batch, or that of positions; halved when memory runs out.
        fill: Whether a last batch of fewer rows is filled up with rows before it, which are computed again.
        lengths: Number of positions of each row (n,), which are padded to those of the longest in a batch; None where
            all take the same.

    Raises:
        TrialError: One row does not fit into memory.
    """
    start = 0
    while start < n:
        stop = min(start + batch_size.rows(start, lengths), n)
        part = slice(max(stop - batch_size.size, 0) if fill else start, stop)
        longest = 1 if lengths is None else max(int(lengths[part].max()), 1)
        begin = time.perf_counter()
        try:
            with torch.inference_mode():
                result = compute(part)
        except (RuntimeError, MemoryError) as error:
            batch_size.halve(stop - part.start, error, longest)
            continue
        yield part, result
        batch_size.measured((stop - part.start) * longest, time.perf_counter() - begin)
        start = stop


class BatchSize:
    """The size of batches: the fastest of several, by a short measurement on batches that count anyway.

    Args:
        sizes: Sizes to choose from; the first one where there are few rows.
        n: Number of rows; 0 measures nothing.

    Attributes:
        size: The size of the next batch, in rows, or in positions where rows have lengths.
    """

    def __init__(self, sizes: tuple[int, ...], n: int = 0) -> None:
        # The first batch warms up; measuring must not take more than a share of the work.
        self._due = [sizes[0], *sizes] if n >= 4 * sum(sizes) else []
        self._rates: dict[int, float] = {}
        self._warm = False
        self.size = sizes[0]

    def rows(self, start: int, lengths: np.ndarray | None) -> int:
        """Return the number of rows of the next batch, at least one.

        Args:
            start: Where it starts.
            lengths: Number of positions of all rows (n,).
        """
        if lengths is None:
            return self.size
        count = max(self.size // max(int(lengths[start]), 1), 1)
        return max(self.size // max(int(lengths[start : start + count].max()), 1), 1)

    def measured(self, size: int, seconds: float) -> None:
        """Note how long a batch took, and choose the size of the next."""
        if not self._due:
            return
        if self._warm:
            self._rates[self.size] = size / max(seconds, 1e-9)
        self._warm = True
        self._due.pop(0)
        self.size = self._due[0] if self._due else max(self._rates, key=self._rates.__getitem__)

    def halve(self, rows: int, error: BaseException, longest: int = 1) -> None:
        """Go on with half of a batch for which memory ran out, whose longest row has so many positions.

        Raises:
            TrialError: The batch was a single row. Another error than a lack of memory is raised as it is.
        """
        self._due, self.size = [], halve_batch_size(rows, error) * longest
