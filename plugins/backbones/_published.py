"""Published properties of timm's models: parameters, multiply-accumulates, and accuracies on ImageNet.

``examples/architectures.py`` measures ``architectures.csv``. ``accuracies.csv`` holds top-1 accuracies of common models
from timm's results-imagenet.csv, at the test size of each model. Accuracies of the portfolio are from timm's model
cards at 224 pixels. The accuracy of DINO is that of the linear probe of Caron et al. 2021.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

__all__ = ["PORTFOLIO", "Published", "published"]

# Default backbones without a zoo: small to medium, with permissive licences, of different architectures and source
# data.
PORTFOLIO = (
    "mobilenetv4_conv_small.e2400_r224_in1k",
    "efficientnet_b0.ra4_e3600_r224_in1k",
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "convnext_nano.in12k_ft_in1k",
    "resnet50.a1_in1k",
    "vit_small_patch16_224.dino",
    "vit_base_patch32_clip_224.laion2b_ft_in12k_in1k",
    "convnext_tiny.in12k_ft_in1k",
)


@dataclass(frozen=True, kw_only=True)
class Published:
    """Published properties of a model; None for unknown ones.

    Attributes:
        parameters: Number of parameters without the classifier.
        gmacs: Multiply-accumulates of one forward pass, in 10^9.
        accuracy: ImageNet-1k top-1 accuracy, 0..1.
    """

    parameters: int | None = None
    gmacs: float | None = None
    accuracy: float | None = None


def published(name: str, size: tuple[int, int]) -> Published:
    """Return the published properties of a model, by timm's name with or without a tag, for a size in pixels."""
    row = _table("architectures.csv").get(name.partition(".")[0])
    top1 = _table("accuracies.csv").get(name, {}).get("top1")
    accuracy = None if top1 is None else float(top1) / 100
    if row is None:
        return Published(accuracy=accuracy)
    area = size[0] * size[1] / (int(row["height"]) * int(row["width"]))
    return Published(parameters=int(row["parameters"]), gmacs=float(row["gmacs"]) * area, accuracy=accuracy)


@cache
def _table(file: str) -> Mapping[str, Mapping[str, str]]:
    """Return the rows of a table by their first column."""
    text = (resources.files("autotransfer_plugins.backbones") / file).read_text(encoding="utf-8")
    return {next(iter(row.values())): row for row in csv.DictReader(text.splitlines())}
