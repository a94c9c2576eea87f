"""Running something over all examples, batch by batch: as large as is fast, smaller where memory ends."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from autotransfer.backbones.cut import Activation
from autotransfer.features.cache import Allocate, Arrays
from autotransfer.runtime.memory import out_of_memory

__all__ = ["Rows", "collect"]

Rows = slice | np.ndarray
"""Which rows: neighbours, or any."""


def collect(
    features: Callable[[Rows], Activation],
    n: int,
    allocate: Allocate,
    sizes: tuple[int, ...],
    *,
    half: bool,
    lower: Callable[[], bool],
    fill: bool = False,
    order: np.ndarray | None = None,
    look: tuple[int, Callable[[Arrays], None]] | None = None,
) -> Arrays:
    """Fill arrays batch by batch.

    The batch halves when memory runs out. What is not finite is computed again from the start in a higher precision;
    float32 is stored where 16 bit would overflow.

    Args:
        features: ``features(rows)`` computes tensors (rows, ...); rows are a slice, or a part of ``order``.
        n: Number of rows.
        allocate: Makes an empty array of a shape and type.
        sizes: Batch sizes to choose from by a short measurement; the first one where there are few rows.
        half: Whether to store 16 bit.
        lower: Lets the next computation be more precise; returns False if none is.
        fill: Whether a last batch of fewer rows is filled up with rows before it, which are computed again: a GPU
            computes them in less time than its libraries take to set up the layers for another size.
        order: The rows in the order in which they are computed; None computes them as they are.
        look: After so many rows a look at the arrays, which ends the whole by raising an error.

    Returns:
        The arrays (n, ...).
    """
    pace, start, arrays = _Pace(sizes, n), 0, None
    while start < n:
        stop = min(start + pace.size, n)
        part = slice(max(stop - pace.size, 0) if fill else start, stop)
        rows = part if order is None else order[part]
        begin = time.perf_counter()
        try:
            with torch.inference_mode():
                batch = [tensor.float() for tensor in features(rows)]
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or pace.size == 1:
                raise
            pace.halve()
            continue
        if not all(bool(tensor.isfinite().all()) for tensor in batch) and lower():
            arrays, start = None, 0
            continue
        if half and not all(bool(tensor.half().isfinite().all()) for tensor in batch):
            half, arrays, start = False, None, 0
            continue
        dtype = np.dtype(np.float16 if half else np.float32)
        arrays = arrays or tuple(allocate((n, *tensor.shape[1:]), dtype) for tensor in batch)
        for array, tensor in zip(arrays, batch, strict=True):
            array[rows] = (tensor.half() if half else tensor).cpu().numpy()
        pace.took(stop - part.start, time.perf_counter() - begin)
        if look is not None and start < look[0] <= stop:
            look[1](arrays)
        start = stop
    assert arrays is not None  # n > 0: empty data are refused before
    return arrays


class _Pace:
    """Chooses the batch size by a short measurement on batches that count anyway."""

    def __init__(self, sizes: tuple[int, ...], n: int) -> None:
        # The first batch warms up; measuring must not take more than a share of the work.
        self._due = [sizes[0], *sizes] if n >= 4 * sum(sizes) else []
        self._rates: dict[int, float] = {}
        self._warm = False
        self.size = sizes[0]

    def took(self, images: int, seconds: float) -> None:
        """Note how long a batch took, and choose the size of the next."""
        if not self._due:
            return
        if self._warm:
            self._rates[self.size] = images / max(seconds, 1e-9)
        self._warm = True
        self._due.pop(0)
        self.size = self._due[0] if self._due else max(self._rates, key=self._rates.__getitem__)

    def halve(self) -> None:
        """Go on with half the size: memory ran out."""
        self._due, self.size = [], max(1, self.size // 2)
