"""Where computation runs and in which precision."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import dtype, nn

from autotransfer.config import check_device
from autotransfer.errors import ConfigError

__all__ = ["Device", "resolve_device"]

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Device:
    """Where computation runs.

    Attributes:
        torch: The torch device.
        half: 16-bit type that the hardware multiplies natively, for autocast; None for plain float32.
    """

    torch: torch.device
    half: dtype | None

    def autocast(self, enabled: bool = True) -> AbstractContextManager[object]:
        """Run in 16 bit where the hardware has it."""
        return torch.autocast(self.torch.type, dtype=self.half, enabled=enabled and self.half is not None)

    def seed(self, seed: int) -> None:
        """Seed torch's own generator here; ``torch.manual_seed`` seeds all that a machine has, which takes longer."""
        torch.default_generator.manual_seed(seed)
        if self.torch.type == "cuda":
            torch.cuda.default_generators[self.torch.index or 0].manual_seed(seed)
        elif self.torch.type == "mps":
            torch.mps.manual_seed(seed)

    def place(self, module: M) -> M:
        """Move a module here, with the memory layout that convolutions are fastest in."""
        return module.to(self.torch).to(memory_format=torch.channels_last)


def resolve_device(name: str = "auto") -> Device:
    """Return the device of that name; ``"auto"`` takes a GPU when there is one.

    Raises:
        ConfigError: There is no such name, or the device is not there.
    """
    check_device(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda"):
        index = int(name.partition(":")[2] or 0)
        if not torch.cuda.is_available() or index >= torch.cuda.device_count():
            raise ConfigError(
                f"The device {name!r} is not there: this machine shows {torch.cuda.device_count()} CUDA device(s). "
                "Use --device auto or --device cpu."
            )
        native = torch.cuda.get_device_capability(index)[0] >= 8
        return Device(torch=torch.device("cuda", index), half=torch.bfloat16 if native else torch.float16)
    if name == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("The device 'mps' is not there. Use --device auto or --device cpu.")
    return Device(torch=torch.device(name), half=_cpu_half() if name == "cpu" else None)


def _cpu_half() -> torch.dtype | None:
    """Return bfloat16 where the CPU has instructions for it: emulated, it is slower than float32."""
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    return torch.bfloat16 if supported or tiles else None
