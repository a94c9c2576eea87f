"""The memory that a computation takes at its peak, counted tensor by tensor: equal on busy and on quiet machines."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from autotransfer.runtime.device import Device

__all__ = ["peak_bytes"]


class _LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types there
    """Counts the bytes of tensors that are made within it, as long as they are there."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known = set[int]()
        self._held = 0
        self.peak: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for storage in _storages((args, kwargs)):  # what was there before does not count
            self._known.add(storage._cdata)
        found = func(*args, **(kwargs or {}))
        for storage in _storages(found):
            if storage._cdata not in self._known:
                self._add(storage)
        return found

    def _add(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._known.add(key)
        self._held += size
        self.peak = max(self.peak, self._held)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._held -= size


def _storages(values: Any) -> list[Any]:
    tensors = [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor) and leaf.layout == torch.strided]
    return [tensor.untyped_storage() for tensor in tensors]


def peak_bytes(run: Callable[[], None], device: Device) -> int:
    """Return the bytes of tensors that are there at the same time within a run, beside those that were there before.

    Args:
        run: The computation.
        device: Where it runs.
    """
    if device.torch.type == "cuda":
        torch.cuda.synchronize(device.torch)
        before = torch.cuda.memory_allocated(device.torch)
        torch.cuda.reset_peak_memory_stats(device.torch)
        run()
        return int(torch.cuda.max_memory_allocated(device.torch) - before)
    with _LiveTensors() as live:
        run()
    peak: int = live.peak
    return peak
