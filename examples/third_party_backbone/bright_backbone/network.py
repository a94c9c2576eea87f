"""The backbone and the head. ``plugin`` registers them by name, so that torch is imported when they are used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autotransfer.contract.backbone import SequentialBackbone
from autotransfer_plugins.modalities.image.formats import Preprocessing

WIDTH = 64


def build_backbone() -> SequentialBackbone:
    """Build the architecture: three stages of convolution, norm and ReLU, each halving height and width."""

    def stage(inputs: int, outputs: int) -> nn.Module:
        convolution = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())

    return SequentialBackbone(
        {"stem": stage(3, 16), "middle": stage(16, 32), "top": stage(32, WIDTH)},
        preprocessing=Preprocessing(size=(32, 32), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), crop_fraction=1.0),
        width=WIDTH,
        recipe={"plugin": "bright-backbone", "name": "bright_tiny"},
    )


def load_backbone() -> SequentialBackbone:
    """Build the backbone with its weights: in this example, random weights of a fixed seed.

    With real weights this would read::

        backbone = build_backbone()
        safetensors.torch.load_model(backbone, Path(__file__).with_name("bright_tiny.safetensors"), strict=True)
        return backbone
    """
    with torch.random.fork_rng(devices=[]):  # leaves the caller's random numbers unchanged
        torch.manual_seed(0)
        return build_backbone()


class CosineHead(nn.Module):
    """Maps features (N, width) to scaled cosines (N, outputs) with a learnt direction for each output.

    Args:
        width: Number of features.
        outputs: Number of outputs.
        scale: Initial logit of a perfect match; it is trained, too.
    """

    def __init__(self, width: int, outputs: int, scale: float) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.randn(outputs, width))
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, features: Tensor) -> Tensor:
        """Compare features with every direction."""
        return self.scale * F.linear(F.normalize(features, dim=1), F.normalize(self.directions, dim=1))


def build_head(shape: tuple[int, ...], outputs: int, params: Mapping[str, Any]) -> nn.Module:
    """Build the head; the default ``scale`` is 10."""
    return CosineHead(shape[0], outputs, params.get("scale", 10.0))
