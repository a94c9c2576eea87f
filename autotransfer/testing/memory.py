"""The check that what is done again and again keeps no memory."""

from __future__ import annotations

import contextlib
import gc
import tracemalloc
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor

from autotransfer.testing.rules import require

__all__ = ["check_memory"]

# Calls that load what later calls use again, calls that are watched, and bytes that each of these may keep.
_WARM_UP_CALLS, _WATCHED_CALLS, _MAX_KEPT_BYTES = 2, 4, 2**12


def check_memory(use: Callable[[], object], name: str = "the plugin") -> None:
    """Check that something which a search does again and again, such as solving a head, keeps no memory.

    Memory of Python, NumPy and torch counts, on all devices; memory that other libraries allocate does not.

    Args:
        use: Does it once, with new inputs of its own.
        name: What does it, for the message.

    Raises:
        PluginError: Each call keeps memory; the message says how much.
    """
    started = not tracemalloc.is_tracing()
    if started:
        tracemalloc.start()
    gc.collect()
    gc.freeze()  # what is there already need not be looked at
    try:
        held = list[int]()
        for _ in range(_WARM_UP_CALLS + _WATCHED_CALLS + 1):
            held.append(_held_bytes())
            use()
        kept = min(after - before for before, after in pairwise(held[_WARM_UP_CALLS:]))
    finally:
        gc.unfreeze()
        if started:
            tracemalloc.stop()
    require(kept <= _MAX_KEPT_BYTES, name, f"each use keeps no memory; {kept:,} bytes stay behind")


def _held_bytes() -> int:
    """Return the bytes of Python's and NumPy's objects, and of torch's tensors."""
    gc.collect()
    storages = dict[int, int]()
    for thing in gc.get_objects():
        if issubclass(type(thing), Tensor):
            with contextlib.suppress(Exception):  # not every kind of tensor has a storage
                storage = thing.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
    return tracemalloc.get_traced_memory()[0] + sum(storages.values())
