"""The device and the precision of computation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, dtype, nn

from autotransfer.errors import ConfigError
from autotransfer.settings import device_name

__all__ = ["Device", "memory_format_for", "resolve_device", "to_device", "device_names"]

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device with its 16-bit type.

    Attributes:
        torch: The torch device.
        half: 16-bit type for autocast that the hardware multiplies natively; None computes in float32.
    """

    torch: torch.device
    half: dtype | None

    def autocast(self, enabled: bool = True) -> AbstractContextManager[object]:
        """Autocast to 16 bit where the hardware supports it."""
        return torch.autocast(self.torch.type, dtype=self.half, enabled=enabled and self.half is not None)

    def seed(self, seed: int) -> None:
        """Seed torch's generators of the CPU and of this device; ``torch.manual_seed`` seeds all devices."""
        torch.default_generator.manual_seed(seed)
        if self.torch.type == "cuda":
            torch.cuda.init()  # type: ignore[no-untyped-call]  # creates the generators
            torch.cuda.default_generators[self.torch.index or 0].manual_seed(seed)
        elif self.torch.type == "mps":
            torch.mps.manual_seed(seed)

    def place(self, module: M) -> M:
        """Move a module to the device, in the memory format that is fastest for convolutions."""
        return module.to(self.torch).to(memory_format=memory_format_for(self.torch))

    @contextmanager
    def repeatable(self) -> Iterator[None]:
        """Use cuDNN's deterministic algorithms, so that equal seeds give equal results."""
        before = torch.backends.cudnn.deterministic
        torch.backends.cudnn.deterministic = True
        try:
            yield
        finally:
            torch.backends.cudnn.deterministic = before


def resolve_device(name: str = "auto") -> Device:
    """Return a device by name; ``"auto"`` takes a GPU if there is one.

    Raises:
        ConfigError: The name is unknown, or the machine has no such device.
    """
    device_name(name)
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


def device_names(name: str) -> list[str]:
    """Return the devices for several processes: all GPUs, or the one device that the name means."""
    if name == "cuda" or (name == "auto" and torch.cuda.is_available()):
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [name]


def memory_format_for(device: torch.device) -> torch.memory_format:
    """Return the memory format of inputs and convolution weights on a device: channels last on a CPU.

    On a GPU, channels last is a third faster, but cuDNN then compiles kernels for each new shape. Measured on a GPU, a
    small network takes 1.5 seconds to compile, and 7 seconds with gradients; the default format takes less than 0.1
    seconds. Compiling pays off from about 50,000 inputs of one shape on, and most batches of a search differ in shape.
    """
    return torch.contiguous_format if device.type == "cuda" else torch.channels_last


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """Copy an array to a device as a tensor, without waiting for the GPU."""
    return torch.from_numpy(array).to(device, non_blocking=device.type == "cuda")


def _cpu_half() -> torch.dtype | None:
    """Return bfloat16 if the CPU has instructions for it; emulated bfloat16 is slower than float32."""
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    return torch.bfloat16 if supported or tiles else None
