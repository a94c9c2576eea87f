"""Where computation runs and in which precision."""

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

__all__ = ["Device", "memory_format_for", "resolve_device", "send", "device_names"]

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
            torch.cuda.init()  # type: ignore[no-untyped-call]  # before, there are no generators
            torch.cuda.default_generators[self.torch.index or 0].manual_seed(seed)
        elif self.torch.type == "mps":
            torch.mps.manual_seed(seed)

    def place(self, module: M) -> M:
        """Move a module here, with the memory layout that suits convolutions."""
        return module.to(self.torch).to(memory_format=memory_format_for(self.torch))

    @contextmanager
    def repeatable(self) -> Iterator[None]:
        """Train so that equal seeds give equal results: some of cuDNN's gradients depend on the order of threads."""
        before = torch.backends.cudnn.deterministic
        torch.backends.cudnn.deterministic = True
        try:
            yield
        finally:
            torch.backends.cudnn.deterministic = before


def resolve_device(name: str = "auto") -> Device:
    """Return the device of that name; ``"auto"`` takes a GPU when there is one.

    Raises:
        ConfigError: There is no such name, or the device is not there.
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
    """Return the devices that several processes may use where one would use the device of that name.

    All GPUs, unless a certain one is named.
    """
    if name == "cuda" or (name == "auto" and torch.cuda.is_available()):
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [name]


def memory_format_for(device: torch.device) -> torch.memory_format:
    """Return the memory layout of images and of the weights of convolutions that suits a device.

    On a GPU, channels last is faster by a third, but cuDNN compiles kernels for each shape that it has not seen: 1.5
    seconds for a small network and 7 with its gradients, where the usual layout takes less than a tenth of a second.
    That pays from some 50,000 images of one shape on, and most batches of a search have shapes of their own.
    """
    return torch.contiguous_format if device.type == "cuda" else torch.channels_last


def send(array: np.ndarray, device: torch.device) -> Tensor:
    """Bring an array to a device. A GPU goes on with what it was told before: the array is read at once."""
    return torch.from_numpy(array).to(device, non_blocking=device.type == "cuda")


def _cpu_half() -> torch.dtype | None:
    """Return bfloat16 where the CPU has instructions for it: emulated, it is slower than float32."""
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    return torch.bfloat16 if supported or tiles else None
