"""Free memory, memory limits, and errors that mean that memory ran out."""

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

# Parts of the messages of torch's allocators, on the CPU (Windows, Linux) and on GPUs, and of the libraries of a GPU.
_OUT_OF_MEMORY_MESSAGES = ("not enough memory", "can't allocate memory", "out of memory", "_status_alloc_failed")
_CGROUP = Path("/sys/fs/cgroup")
# Values in bytes, while computing and otherwise, of glibc's M_MMAP_THRESHOLD (-3) and M_TRIM_THRESHOLD (-1).
# Allocations above the first are mapped one by one; free memory at the end of the heap above the second returns to the
# system.
_MALLOC_THRESHOLDS = {-3: (2**28, 2**25), -1: (2**29, 2**26)}


def free_memory() -> int:
    """Return the bytes that this process can still allocate, within the limit of its control group."""
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
    """Return the bytes of cached files in a control group, which count as used but are freed on demand."""
    with contextlib.suppress(OSError):
        for line in (group / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name in ("inactive_file", "total_inactive_file") and value.isdigit():
                return int(value)
    return 0


def memory_budget(limit: int | None) -> int:
    """Return the bytes for examples and activations: the user's limit, or a third of the free memory up to 1 GB.

    Examples and activations beyond the limit are memory-mapped; the system's file cache makes them nearly as fast.
    """
    return limit if limit is not None else min(free_memory() // 3, 2**30)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the memory of the CPU or of a GPU ran out."""
    text = str(error).lower()
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and any(words in text for words in _OUT_OF_MEMORY_MESSAGES)
    )


def halve_batch_size(size: int, error: BaseException) -> int:
    """Return half of the batch size if the error means that memory ran out; else raise the error.

    Raises:
        TrialError: The batch size is 1.
    """
    if not out_of_memory(error):
        raise error
    if size == 1:
        raise TrialError("memory runs out even with one example at a time") from error
    return size // 2


@contextlib.contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Keep freed memory in the process for reuse until the end of the block, instead of returning it to the system.

    A forward pass allocates and frees megabytes for each layer. On a CPU with glibc, getting these pages from the
    system each time takes up to a third of the run time. The block has no effect if the environment sets ``MALLOC_``
    variables, or with another C library.
    """
    if (libc := _libc()) is None:
        yield
        return
    for number, (computing, _) in _MALLOC_THRESHOLDS.items():
        libc.mallopt(number, computing)
    try:
        yield
    finally:
        for number, (_, otherwise) in _MALLOC_THRESHOLDS.items():
            libc.mallopt(number, otherwise)
        release_freed_memory()


def release_freed_memory() -> None:
    """Return freed memory to the system, before work that needs less memory or other sizes."""
    if (libc := _libc()) is not None:
        libc.malloc_trim(0)


def _libc() -> Any:
    """Return glibc; None with another C library, or where the user has configured its allocator."""
    settings = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")) for name in os.environ)
    return None if settings or platform.libc_ver()[0] != "glibc" else ctypes.CDLL(None)
