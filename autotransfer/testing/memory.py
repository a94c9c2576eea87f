"""A check that repeated calls of plugin code keep no memory."""

from __future__ import annotations

import contextlib
import gc
import tracemalloc
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor

from autotransfer.testing.rules import require

__all__ = ["check_memory"]

# Calls that fill caches, calls that are measured, and bytes that each of the measured calls may keep.
_WARM_UP_CALLS, _MEASURED_CALLS, _MAX_KEPT_BYTES = 2, 4, 2**12


def check_memory(use: Callable[[], object], name: str = "the plugin") -> None:
    """Check that a function which a search calls often, such as the solver of a head, keeps no memory.

    Memory of Python, NumPy and torch counts, on all devices; memory that other libraries allocate does not.

    Args:
        use: Calls the function once, with new inputs.
        name: Name of the function for the message.

    Raises:
        PluginError: Each call keeps memory; the message says how much.
    """
    started = not tracemalloc.is_tracing()
    if started:
        tracemalloc.start()
    gc.collect()
    gc.freeze()  # existing objects are not traversed again
    try:
        held = list[int]()
        for _ in range(_WARM_UP_CALLS + _MEASURED_CALLS + 1):
            held.append(_held_bytes())
            use()
        kept = min(after - before for before, after in pairwise(held[_WARM_UP_CALLS:]))
    finally:
        gc.unfreeze()
        if started:
            tracemalloc.stop()
    require(kept <= _MAX_KEPT_BYTES, name, f"each use keeps no memory; {kept:,} bytes remain")


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
