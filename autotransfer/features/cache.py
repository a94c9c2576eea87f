"""The cache at the boundary: arrays by content key, in memory up to a limit, on disk beyond it and between runs."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import shutil
import tempfile
import time
import weakref
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import platformdirs
from filelock import FileLock

from autotransfer.data.folders import open_regular
from autotransfer.features.ragged import Arrays, arranged, flattened

__all__ = ["ActivationCache", "CacheEntry", "content_key", "default_cache_dir"]

_NEW, _OLD, _ABOUT, _LOCKS = ".new-", ".old-", "about.json", ".locks"
_STALE = 24 * 3600.0  # seconds
_CHUNK = 2**20

log = logging.getLogger("autotransfer")


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

    An entry is a folder ``KEY/`` of ``0.npy``, ``1.npy``, …, two of them for an array of examples of unequal length; it
    is written beside its place and renamed, so that another process sees all of it or nothing. The checksums of its
    files are compared when it is opened; what is damaged is computed again. A full disk means no caching, not an error.

    Args:
        folder: Where entries live between runs; None keeps them in memory, with a temporary folder beyond the limit.
        memory_limit: Bytes that may be held in memory.
        disk_limit: Bytes that either folder may hold; the least recently used entries go first.

    Attributes:
        root: The folder of the entries.
        computed: How many were computed here.
        reused: How often one was there already.
    """

    def __init__(self, folder: Path | None, *, memory_limit: int, disk_limit: int = 20 * 2**30) -> None:
        self.memory_limit = memory_limit
        self.disk_limit = disk_limit
        self.computed = 0
        self.reused = 0
        self._warned = False
        self._memory: OrderedDict[str, Arrays] = OrderedDict()
        self.root = folder if folder is not None else Path(tempfile.mkdtemp(prefix="autotransfer-"))
        if folder is None:  # a TemporaryDirectory would warn that nobody closed it
            weakref.finalize(self, shutil.rmtree, self.root, ignore_errors=True)
        else:
            _sweep(folder)

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
        with _alone(self.root / _LOCKS / key):
            if (arrays := self.get(key)) is not None:  # another process has computed them meanwhile
                return arrays
            return self._computed(key, about, compute)

    def put(self, key: str, about: str, arrays: Arrays) -> None:
        """Keep arrays that were computed along the way."""
        if not self.contains(key):
            self._computed(key, about, lambda allocate: arrays)

    def _computed(self, key: str, about: str, compute: Callable[[Allocate], Arrays]) -> Arrays:
        self.computed += 1
        with _Staging(self.root, self.memory_limit, self._warn) as staging:
            arrays = compute(staging.allocate)
            kept = staging.commit(key, about, arrays)
        self._remember(key, self._read(key) or arrays if kept and staging.on_disk else arrays)
        _evict(self.root, self.disk_limit)
        return arrays

    def contains(self, key: str) -> bool:
        """Whether ``get`` would find the key."""
        return key in self._memory or (self.root / key / _ABOUT).is_file()

    @property
    def held(self) -> int:
        """Bytes held in memory; memory-mapped arrays do not count."""
        return sum(_in_memory(arrays) for arrays in self._memory.values())

    def _remember(self, key: str, arrays: Arrays) -> None:
        self._memory[key] = arrays
        while self.held > self.memory_limit and len(self._memory) > 1:
            self._memory.popitem(last=False)

    def _warn(self, message: str) -> None:
        """Say once that nothing is cached; everything goes on without."""
        if not self._warned:
            log.warning("Features are not cached: %s", message)
        self._warned = True

    def _read(self, key: str) -> Arrays | None:
        mapped = _open(self.root / key)
        if mapped is None or sum(array.nbytes for array in mapped) + self.held > self.memory_limit:
            return mapped
        plain, ragged = flattened(mapped)
        return arranged([np.array(array) for array in plain], ragged)


Allocate = Callable[[Sequence[int], np.dtype], np.ndarray]


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Let one process at a time compute an entry; one that dies meanwhile blocks nobody. Without locks, all may."""
    file = FileLock(lock)
    with contextlib.suppress(OSError, NotImplementedError):
        lock.parent.mkdir(parents=True, exist_ok=True)
        file.acquire()
    try:
        yield
    finally:
        file.release()


class _Staging:
    """A folder in which an entry is made before it is renamed into place."""

    def __init__(self, root: Path, memory_limit: int, warn: Callable[[str], None]) -> None:
        self.root, self.memory_left, self.warn = root, memory_limit, warn
        self.folder: Path | None = None
        self._large: list[tuple[np.ndarray, Path]] = []

    def __enter__(self) -> _Staging:
        try:
            folder = self.root / f"{_NEW}{uuid4().hex}"
            folder.mkdir(parents=True)
            self.folder = folder
        except OSError as error:
            self.warn(str(error))
        return self

    def __exit__(self, *exc: object) -> None:
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def on_disk(self) -> bool:
        """Whether an array was too large for memory."""
        return bool(self._large)

    def allocate(self, shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
        """Return an empty array, memory-mapped when it is too large for memory and the disk has room for it."""
        size = math.prod(shape) * dtype.itemsize
        if size > self.memory_left and self.folder is not None:
            file = self.folder / f"large-{len(self._large)}"
            try:
                array = _map(file, shape, dtype, size)
            except OSError as error:
                self.warn(str(error))
            else:
                self._large.append((array, file))
                return array
        self.memory_left -= size
        return np.empty(shape, dtype)

    def commit(self, key: str, about: str, arrays: Arrays) -> bool:
        """Put the entry into place; return whether it is there."""
        if self.folder is None:
            return False
        plain, ragged = flattened(arrays)
        try:
            for position, array in enumerate(plain):
                self._write(self.folder / f"{position}.npy", array)
            for _, file in self._large:
                file.unlink(missing_ok=True)  # allocated, but not used after all
            sums = [_checksum(self.folder / f"{position}.npy") for position in range(len(plain))]
            about_arrays = {"about": about, "arrays": sums, "ragged": ragged}
            (self.folder / _ABOUT).write_text(json.dumps(about_arrays))
            self._place(self.root / key)
        except OSError as error:
            self.warn(str(error))
            return False
        return True

    def _write(self, target: Path, array: np.ndarray) -> None:
        for mapped, file in self._large:
            if mapped is array:
                mapped.flush()  # type: ignore[attr-defined]
                file.rename(target)
                return
        np.save(target, array, allow_pickle=False)

    def _place(self, target: Path) -> None:
        assert self.folder is not None  # commit asked
        try:
            self.folder.rename(target)
        except OSError:
            if _open(target) is None:  # damaged; otherwise another process was first, and its entry is as good
                _remove(target)
                self.folder.rename(target)


def _map(file: Path, shape: Sequence[int], dtype: np.dtype, size: int) -> np.ndarray:
    """Return a memory-mapped array with its room on the disk taken: a full one would kill who writes into it."""
    if (free := shutil.disk_usage(file.parent).free) < 1.1 * size:
        raise OSError(f"the disk has {free / 2**20:.0f} MB left; {size / 2**20:.0f} MB are needed")
    array = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=tuple(shape))
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
    return array


def _open(folder: Path) -> Arrays | None:
    """Map the arrays of an entry and mark it as used; None where it is absent or damaged."""
    try:
        about = json.loads((folder / _ABOUT).read_text())
        sums = about["arrays"]
        if [_checksum(folder / f"{position}.npy") for position in range(len(sums))] != sums:
            return None
        plain = [np.lib.format.open_memmap(folder / f"{i}.npy", mode="r") for i in range(len(sums))]
        arrays = arranged(plain, about.get("ragged", ()))
        os.utime(folder / _ABOUT)
    except Exception:  # whatever is the matter with it, it is made anew
        return None
    return arrays or None


def _checksum(file: Path) -> int:
    """Return the CRC-32 of a file: a single wrong byte in features would go unseen, and cost accuracy."""
    found = 0
    with open_regular(file) as opened:
        while chunk := opened.read(_CHUNK):
            found = zlib.crc32(chunk, found)
    return found


def _remove(folder: Path) -> None:
    """Remove an entry at once, so that nobody sees half of it."""
    gone = folder.with_name(f"{_OLD}{folder.name}-{os.getpid()}")
    with contextlib.suppress(OSError):
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left behind more than a day ago."""
    with contextlib.suppress(OSError):
        for left in (*folder.glob(f"{_NEW}*"), *folder.glob(f"{_OLD}*")):
            if left.stat().st_mtime < time.time() - _STALE:
                shutil.rmtree(left, ignore_errors=True)
        for lock in (folder / _LOCKS).glob("*"):
            if lock.stat().st_mtime < time.time() - _STALE:
                lock.unlink()


def list_entries(folder: Path) -> list[CacheEntry]:
    """Return the entries of a cache folder, most recently used first."""
    entries = []
    for file in folder.glob(f"[!.]*/{_ABOUT}") if folder.is_dir() else ():
        with contextlib.suppress(Exception):  # damaged: found out, and made anew, when it is asked for
            size = sum(array.stat().st_size for array in file.parent.glob("*.npy"))
            about = str(json.loads(file.read_text()).get("about", ""))
            entries.append(CacheEntry(key=file.parent.name, size=size, used=file.stat().st_mtime, about=about))
    return sorted(entries, key=lambda entry: -entry.used)


def clear(folder: Path) -> int:
    """Remove every entry of a cache folder; return the bytes that this freed."""
    entries = list_entries(folder)
    for entry in entries:
        _remove(folder / entry.key)
    _sweep(folder)
    return sum(entry.size for entry in entries)


def _evict(folder: Path, limit: int) -> None:
    entries = list_entries(folder)
    total = sum(entry.size for entry in entries)
    for entry in reversed(entries[1:]):
        if total <= limit:
            break
        _remove(folder / entry.key)
        total -= entry.size


def _in_memory(arrays: Arrays) -> int:
    return sum(array.nbytes for array in flattened(arrays)[0] if not isinstance(array, np.memmap))
