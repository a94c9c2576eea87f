"""Hidden layers on the last feature map, trained by gradient.

The classic head on a frozen VGG or ResNet is ``{"pooling": "flatten", "width": 1024, "layers": 1,
"dropout": 0.0}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from autotransfer.errors import ConfigError

__all__ = ["DEFAULTS", "MapPooling", "build"]

DEFAULTS: Mapping[str, Any] = {"pooling": "avg", "width": 256, "layers": 1, "dropout": 0.0}
_POOLINGS = ("avg", "max", "avgmax", "flatten")


class MapPooling(nn.Module):
    """Turns a feature map (N, C, h, w) into a vector.

    Args:
        mode: ``"avg"`` and ``"max"`` give (N, C), ``"avgmax"`` both side by side, ``"flatten"`` (N, C * h * w).
    """

    def __init__(self, mode: str) -> None:
        super().__init__()
        if mode not in _POOLINGS:
            raise ConfigError(f"The pooling of the head 'mlp' is one of {', '.join(_POOLINGS)}; got {mode!r}.")
        self.mode = mode

    def width(self, shape: tuple[int, ...]) -> int:
        """Return the length of the vector for a map of this shape (C, h, w)."""
        channels, height, width = shape
        return channels * {"avg": 1, "max": 1, "avgmax": 2, "flatten": height * width}[self.mode]

    def forward(self, features: Tensor) -> Tensor:
        """Pool a batch of maps."""
        if self.mode == "flatten":
            return features.flatten(1)
        pooled = {"avg": lambda: features.mean((2, 3)), "max": lambda: features.amax((2, 3))}
        return torch.cat([pooled[name]() for name in ("avg", "max") if name in self.mode], dim=1)


def build(shape: tuple[int, ...], outputs: int, params: Mapping[str, Any]) -> nn.Module:
    """Return an untrained head; see ``HeadSpec.build``."""
    settings = {**DEFAULTS, **params}
    pooling = MapPooling(settings["pooling"])
    widths = [pooling.width(shape), *[settings["width"]] * settings["layers"]]
    layers: list[nn.Module] = [pooling]
    for inputs, hidden in pairwise(widths):
        layers += [nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(settings["dropout"])]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))
