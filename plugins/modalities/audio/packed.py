"""Sounds of unequal length, end to end in one array: in memory, or in a temporary file beyond a limit."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from autotransfer.errors import DataError

__all__ = ["Limit", "PackedWriter"]


class Limit:
    """Bytes that all writers of a store may hold in memory together; None for no limit."""

    def __init__(self, memory_limit: int | None) -> None:
        self._left = memory_limit

    def take(self, size: int) -> bool:
        """Take some bytes, and return whether they were left."""
        if self._left is None:
            return True
        if size > self._left:
            return False
        self._left -= size
        return True


class PackedWriter:
    """Collects arrays of 16 bit one behind the other.

    Args:
        limit: What it may hold in memory; what comes then goes into a temporary file.
    """

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._held = bytearray()
        self._file: BinaryIO | None = None
        self.starts: list[int] = []
        self.lengths: list[int] = []
        self._end = 0

    def add(self, samples: np.ndarray) -> None:
        """Append the samples of a sound.

        Raises:
            DataError: The disk is too small.
        """
        data = np.ascontiguousarray(samples, dtype=np.int16).view(np.uint8).data
        self.starts.append(self._end)
        self.lengths.append(len(samples))
        self._end += len(samples)
        if self._file is None and not self._limit.take(data.nbytes):
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  # unlinked; the mapping keeps it alive
            self._write(memoryview(self._held))
            self._held = bytearray()
        if self._file is None:
            self._held += data
        else:
            self._write(data)

    def _write(self, data: memoryview) -> None:
        assert self._file is not None
        folder = Path(tempfile.gettempdir())
        free = shutil.disk_usage(folder).free
        if free < data.nbytes:
            raise DataError(f"Decoded sounds need more than the {free / 1e9:.1f} GB that are free in {folder}.")
        self._file.write(data)

    def packed(self) -> np.ndarray:
        """Return all samples, int16 (total,)."""
        if self._file is None:
            return np.frombuffer(self._held, dtype=np.int16)
        self._file.flush()
        with self._file as file:
            return np.memmap(file, dtype=np.int16, mode="r+", shape=(self._end,))
