"""How much memory there is, and how its end shows."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import torch

from autotransfer.errors import TrialError

__all__ = [
    "free_memory",
    "release_freed_memory",
    "halve_batch_size",
    "memory_budget",
    "out_of_memory",
    "keep_freed_memory",
]

# How torch's allocators put it, on the CPU (Windows, Linux) and on GPUs, and how the libraries on a GPU do.
_WORDS = ("not enough memory", "can't allocate memory", "out of memory", "_status_alloc_failed")
_CGROUP = Path("/sys/fs/cgroup")
# glibc's numbers for two thresholds: above one, memory is fetched from the system for each allocation and given back
# at once; above the other, free memory at the end of the heap is given back. Bytes while computing, and otherwise.
_THRESHOLDS = {-3: (2**28, 2**25), -1: (2**29, 2**26)}


def free_memory() -> int:
    """Return the bytes that this process may still take: what is free, within the limit of its control group."""
    free = int(psutil.virtual_memory().available)
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            allowed = int((_CGROUP / limit).read_text()) - int((_CGROUP / used).read_text())
        except (OSError, ValueError):
            continue  # no such control group, or "max"
        free = min(free, max(allowed + _reclaimable((_CGROUP / used).parent), 0))
    return free


def _reclaimable(group: Path) -> int:
    """Return the bytes of cached files in a control group, which count as used but are given back on demand."""
    with contextlib.suppress(OSError):
        for line in (group / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name in ("inactive_file", "total_inactive_file") and value.isdigit():
                return int(value)
    return 0


def memory_budget(limit: int | None) -> int:
    """Return the bytes for decoded images and activations: the user's limit, or a third of what is free, 1 GB at most.

    Beyond it they are memory-mapped, which the system's file cache makes nearly as fast.
    """
    return limit if limit is not None else min(free_memory() // 3, 2**30)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on the CPU or a GPU."""
    text = str(error).lower()
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and any(words in text for words in _WORDS)
    )


def halve_batch_size(size: int, error: BaseException) -> int:
    """Return half of a batch size if the error means that memory ran out; raise it otherwise.

    Raises:
        TrialError: There is no half.
    """
    if not out_of_memory(error):
        raise error
    if size == 1:
        raise TrialError("memory runs out even with one example at a time") from error
    return size // 2


@contextlib.contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Let freed memory be taken again instead of given back to the system, until the end of the block.

    A forward pass allocates and frees the same megabytes for each layer; on a CPU with glibc, fetching and clearing
    their pages each time takes up to a third of the time. Where the environment sets ``MALLOC_`` variables, or another
    C library is used, nothing is done.
    """
    if (libc := _libc()) is None:
        yield
        return
    for number, (computing, _) in _THRESHOLDS.items():
        libc.mallopt(number, computing)
    try:
        yield
    finally:
        for number, (_, otherwise) in _THRESHOLDS.items():
            libc.mallopt(number, otherwise)
        release_freed_memory()


def release_freed_memory() -> None:
    """Give freed memory back to the system: what follows needs less, or other sizes."""
    if (libc := _libc()) is not None:
        libc.malloc_trim(0)


def _libc() -> Any:
    """Return glibc; None where there is another C library, or the user has set how it allocates."""
    settings = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")) for name in os.environ)
    return None if settings or platform.libc_ver()[0] != "glibc" else ctypes.CDLL(None)
