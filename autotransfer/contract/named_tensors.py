"""A reader of an exported model that only names what it is given; see ``ExportInputs.reader``."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["NamedTensors"]


class NamedTensors(nn.Module):
    """Gives tensors their names.

    Args:
        names: The names, in order.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self._names = tuple(names)

    def forward(self, *given: Tensor) -> dict[str, Tensor]:
        """Map tensors, in order, to a dictionary."""
        return dict(zip(self._names, given, strict=True))
