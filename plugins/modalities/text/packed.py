"""Rows of unequal length in one array, without padding: where each row starts, and how many values it has."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from typing import IO

import numpy as np

from autotransfer.errors import DataError

__all__ = ["PackedWriter", "padded", "positions"]


class PackedWriter:
    """Collects values of rows in order, in memory or, beyond a limit, in a temporary file that goes away with them.

    Args:
        dtypes: Type of each array by name; the first row of one has as many values as that of the others.
        memory_limit: Bytes above which values are kept in files; None keeps them in memory.
    """

    def __init__(self, dtypes: Mapping[str, np.typing.DTypeLike], memory_limit: int | None) -> None:
        self._dtypes = {name: np.dtype(dtype) for name, dtype in dtypes.items()}
        self._limit, self._files = memory_limit, dict[str, IO[bytes]]()
        self._parts: dict[str, list[np.ndarray]] = {name: [] for name in self._dtypes}
        self._bytes, self._lengths = 0, list[np.ndarray]()

    def add(self, lengths: np.ndarray, values: Mapping[str, np.ndarray]) -> None:
        """Add rows.

        Args:
            lengths: Number of values of each row.
            values: The values of all these rows, one after the other, by name of the array.

        Raises:
            DataError: The disk is too small.
        """
        self._lengths.append(np.asarray(lengths, np.int32))
        for name, dtype in self._dtypes.items():
            part = np.ascontiguousarray(values[name], dtype=dtype)
            self._parts[name].append(part)
            self._bytes += part.nbytes
        if self._limit is not None and self._bytes > self._limit:
            self._spill()

    def finish(self) -> dict[str, np.ndarray]:
        """Return the arrays by name, ``starts`` int64 (N,) and ``lengths`` int32 (N,)."""
        if self._files:
            self._spill()
        arrays = {name: self._array(name) for name in self._dtypes}
        lengths = np.concatenate([*self._lengths, np.empty(0, np.int32)])
        starts = np.cumsum(lengths, dtype=np.int64) - lengths
        return {**arrays, "starts": starts, "lengths": lengths}

    def _array(self, name: str) -> np.ndarray:
        dtype = self._dtypes[name]
        if (file := self._files.get(name)) is None:
            return np.concatenate([*self._parts.pop(name), np.empty(0, dtype)])  # frees the parts one by one
        with file:  # unlinked; the mapping keeps it alive
            file.flush()
            return np.memmap(file, dtype=dtype, mode="r+") if file.tell() else np.empty(0, dtype)

    def _spill(self) -> None:
        free = shutil.disk_usage(tempfile.gettempdir()).free
        needed = sum(part.nbytes for parts in self._parts.values() for part in parts)
        if free < needed:
            raise DataError(f"Texts need {needed / 1e9:.1f} GB more in {tempfile.gettempdir()}; {free / 1e9:.1f} are.")
        for name, parts in self._parts.items():
            if name not in self._files:
                self._files[name] = tempfile.TemporaryFile()  # noqa: SIM115
            for part in parts:
                self._files[name].write(part.tobytes())
            parts.clear()


def positions(starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where the values of rows stand, padded to the longest of them.

    Args:
        starts: Where each row starts (rows,).
        lengths: Number of its values (rows,).

    Returns:
        Positions int64 (rows, L), those of padding equal to the first of the row, and a mask (rows, L). Those of a row
        without values are 0: the last row, if it has none, starts behind all values.
    """
    offsets = np.arange(int(lengths.max(initial=0)))
    mask = offsets < lengths[:, None]
    return np.where(lengths > 0, starts, 0)[:, None] + np.where(mask, offsets, 0), mask


def padded(rows: Iterable[np.ndarray], fill: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of whole numbers as int64 (rows, L), padded to the longest of them, and their mask (rows, L)."""
    rows = list(rows)
    lengths = np.array([len(row) for row in rows])
    mask = np.arange(int(lengths.max(initial=0))) < lengths[:, None]
    values = np.full(mask.shape, fill, np.int64)
    values[mask] = np.concatenate([*rows, np.empty(0, np.int64)])
    return values, mask
