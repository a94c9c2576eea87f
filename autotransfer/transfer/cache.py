"""The cache at the boundary: arrays by content key, in memory up to a limit, on disk beyond it and between runs."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

__all__ = ["ActivationCache", "CacheEntry", "content_key", "default_cache_dir"]

log = logging.getLogger("autotransfer")

Arrays = tuple[np.ndarray, ...]


def default_cache_dir() -> Path:
    """Return ``AUTOTRANSFER_CACHE``, or the platform's user cache folder."""
    return Path(os.environ.get("AUTOTRANSFER_CACHE") or platformdirs.user_cache_dir("autotransfer"))


def content_key(**parts: Any) -> str:
    """Return a hash of everything that an entry depends on."""
    return blake2b(json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=20).hexdigest()


@dataclass(frozen=True, kw_only=True)
class CacheEntry:
    """One entry on disk.

    Attributes:
        key: Its content hash.
        size: Bytes.
        used: Time of the last use, in seconds since the epoch.
        about: What it holds, in words.
    """

    key: str
    size: int
    used: float
    about: str


class ActivationCache:
    """Arrays by content key.

    An entry is a folder ``KEY/`` of ``0.npy``, ``1.npy``, …; it is written beside its place and renamed, so that
    another process sees all of it or nothing. A full disk means no caching, not an error.

    Args:
        folder: Where entries live between runs; None keeps them in memory, with a temporary folder beyond the limit.
        memory_limit: Bytes that may be held in memory.
        disk_limit: Bytes that the folder may hold; the least recently used entries go first.
    """

    def __init__(self, folder: Path | None, *, memory_limit: int, disk_limit: int = 20 * 2**30) -> None:
        self.folder = folder
        self.memory_limit = memory_limit
        self.disk_limit = disk_limit
        self.computed = 0
        self.reused = 0
        self._memory: OrderedDict[str, Arrays] = OrderedDict()
        self._scratch = tempfile.TemporaryDirectory(prefix="autotransfer-") if folder is None else None

    def get(self, key: str) -> Arrays | None:
        """Return the arrays of a key, or None."""
        if key in self._memory:
            self._memory.move_to_end(key)
        elif (arrays := self._read(key)) is not None:
            self._remember(key, arrays)
        else:
            return None
        self.reused += 1
        return self._memory[key]

    def get_or_compute(self, key: str, about: str, compute: Callable[[Allocate], Arrays]) -> Arrays:
        """Return the arrays of a key, computing them once.

        Args:
            key: Content hash of everything that they depend on.
            about: What they are, in words, for ``autotransfer cache``.
            compute: Gets a function that allocates arrays by shape and type: on disk when too large for memory.
        """
        if (arrays := self.get(key)) is not None:
            return arrays
        self.computed += 1
        with _Staging(self._root, self.memory_limit) as staging:
            arrays = compute(staging.allocate)
            kept = staging.commit(key, about, arrays)
        self._remember(key, self._read(key) or arrays if kept and staging.on_disk else arrays)
        if self.folder is not None:
            _evict(self.folder, self.disk_limit)
        return arrays

    def contains(self, key: str) -> bool:
        """Whether ``get`` would find the key."""
        return key in self._memory or (self._root / key / "about.json").is_file()

    @property
    def held(self) -> int:
        """Bytes held in memory; memory-mapped arrays do not count."""
        return sum(_in_memory(arrays) for arrays in self._memory.values())

    def forget(self) -> None:
        """Drop what is held in memory."""
        self._memory.clear()

    @property
    def _root(self) -> Path:
        return self.folder if self.folder is not None else Path(self._scratch.name)  # type: ignore[union-attr]

    def _remember(self, key: str, arrays: Arrays) -> None:
        self._memory[key] = arrays
        while self.held > self.memory_limit and len(self._memory) > 1:
            self._memory.popitem(last=False)

    def _read(self, key: str) -> Arrays | None:
        folder = self._root / key
        try:
            files = sorted(folder.glob("*.npy"), key=lambda file: int(file.stem))
            mapped = tuple(np.load(file, mmap_mode="r", allow_pickle=False) for file in files)
            os.utime(folder / "about.json")
        except (OSError, ValueError):
            return None  # absent, evicted meanwhile, or damaged: computed again
        size = sum(array.nbytes for array in mapped)
        if size + self.held <= self.memory_limit:
            return tuple(np.array(array) for array in mapped) or None
        return mapped or None


Allocate = Callable[[Sequence[int], np.dtype], np.ndarray]


class _Staging:
    """A folder in which an entry is made before it is renamed into place."""

    def __init__(self, root: Path, memory_limit: int) -> None:
        self.root, self.memory_limit = root, memory_limit
        self.folder: Path | None = None
        self.on_disk = False
        self._files: dict[int, Path] = {}

    def __enter__(self) -> _Staging:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.folder = Path(tempfile.mkdtemp(prefix=".new-", dir=self.root))
        except OSError as error:
            log.warning("Nothing is cached: %s", error)
        return self

    def __exit__(self, *exc: object) -> None:
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def allocate(self, shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
        """Return an empty array, memory-mapped when it is too large for memory."""
        size = int(np.prod(shape)) * dtype.itemsize
        if size <= self.memory_limit or self.folder is None:
            return np.empty(shape, dtype)
        file = self.folder / f"large-{len(self._files)}.npy"
        if shutil.disk_usage(self.folder).free < size * 1.1:
            return np.empty(shape, dtype)
        array = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=tuple(shape))
        self._files[id(array)] = file
        self.on_disk = True
        return array

    def commit(self, key: str, about: str, arrays: Arrays) -> bool:
        """Put the entry into place; return whether it is there."""
        if self.folder is None:
            return False
        try:
            for position, array in enumerate(arrays):
                if file := self._files.get(id(array)):
                    array.flush()  # type: ignore[attr-defined]
                    file.rename(self.folder / f"{position}.npy")
                else:
                    np.save(self.folder / f"{position}.npy", array, allow_pickle=False)
            (self.folder / "about.json").write_text(json.dumps({"about": about}))
            with contextlib.suppress(OSError):  # another process was first: its entry is as good
                self.folder.rename(self.root / key)
            return (self.root / key).is_dir()
        except OSError as error:
            log.warning("Not cached (%s): %s", about, error)
            return False


def list_entries(folder: Path) -> list[CacheEntry]:
    """Return the entries of a cache folder, most recently used first."""
    entries = []
    for file in folder.glob("*/about.json") if folder.is_dir() else ():
        with contextlib.suppress(OSError, ValueError):
            size = sum(array.stat().st_size for array in file.parent.glob("*.npy"))
            about = str(json.loads(file.read_text()).get("about", ""))
            entries.append(CacheEntry(key=file.parent.name, size=size, used=file.stat().st_mtime, about=about))
    return sorted(entries, key=lambda entry: -entry.used)


def clear(folder: Path) -> int:
    """Remove every entry of a cache folder; return the bytes that this freed."""
    entries = list_entries(folder)
    for entry in entries:
        shutil.rmtree(folder / entry.key, ignore_errors=True)
    return sum(entry.size for entry in entries)


def _evict(folder: Path, limit: int) -> None:
    entries = list_entries(folder)
    total = sum(entry.size for entry in entries)
    for entry in reversed(entries[1:]):
        if total <= limit:
            break
        shutil.rmtree(folder / entry.key, ignore_errors=True)
        total -= entry.size


def _in_memory(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays if not isinstance(array, np.memmap))
