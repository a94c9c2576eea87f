"""What a model takes to predict: time, bytes of its files, memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from autotransfer.settings import Limits
from autotransfer.settings.limits import format_bytes, format_seconds

__all__ = ["InferenceCost", "held_bytes", "state_bytes"]


@dataclass(frozen=True, kw_only=True)
class InferenceCost:
    """What a model takes to predict.

    Attributes:
        latency_seconds: Median seconds of a prediction, from examples in memory to probabilities.
        size_bytes: Bytes of the files that the model is loaded from.
        memory_bytes: Bytes of its weights as they are held, and of the peak of what a prediction adds; None where this
            was not measured.
    """

    latency_seconds: float
    size_bytes: int
    memory_bytes: int | None = None

    def exceeds(self, limits: Limits, latency_share: float = 1.0) -> bool:
        """Whether a limit is exceeded.

        Args:
            limits: The limits.
            latency_share: Share of the limit on the latency that may be taken.
        """
        return (
            self.latency_seconds > latency_share * limits.latency_seconds
            or self.size_bytes > limits.size_bytes
            or (self.memory_bytes or 0) > limits.memory_bytes
        )

    def share_of(self, limits: Limits) -> float:
        """Return the largest share of a limit that is taken: above 1 where a limit is exceeded, 0 without limits."""
        return max(
            self.latency_seconds / limits.latency_seconds,
            self.size_bytes / limits.size_bytes,
            (self.memory_bytes or 0) / limits.memory_bytes,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the cost as JSON."""
        return {
            "latency_ms": round(self.latency_seconds * 1e3, 4),
            "size_bytes": self.size_bytes,
            "memory_bytes": self.memory_bytes,
        }

    def __str__(self) -> str:
        memory = "" if self.memory_bytes is None else f", {format_bytes(self.memory_bytes)} of memory"
        return f"{format_seconds(self.latency_seconds)}, {format_bytes(self.size_bytes)}{memory}"


def state_bytes(module: nn.Module) -> int:
    """Return the bytes of the tensors that a module is saved as; tensors that share memory are saved each."""
    return sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())


def held_bytes(modules: Iterable[nn.Module]) -> int:
    """Return the bytes of memory that the parameters and buffers of modules take, shared ones once."""
    found: dict[int, int] = {}
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.layout == torch.strided:
                storage = tensor.untyped_storage()
                found[storage.data_ptr()] = storage.nbytes()
            else:  # packed for a library: its storage has no address
                found[id(tensor)] = tensor.numel() * tensor.element_size()
    return sum(found.values())
