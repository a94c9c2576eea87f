"""What is known of timm's models before anything is downloaded: what they cost, and how good they are on ImageNet.

``architectures.csv`` is measured, by ``examples/architectures.py``. ``accuracies.csv`` are top-1 accuracies of the more
common models as timm publishes them (results-imagenet.csv in its repository, at the sizes for testing there; those of
the portfolio at 224 px, from its model cards); for DINO the linear probe of Caron et al. 2021.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

__all__ = ["PORTFOLIO", "Published", "published"]

# What is searched when the user names none and has no zoo: small to medium, permissively licensed, and unlike each
# other in architecture and in what they were trained on.
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
    """What is known of a model; None for unknown.

    Attributes:
        parameters: Number of parameters before the classifier.
        gmacs: Multiply-accumulates of one forward pass, in 10^9.
        accuracy: ImageNet-1k top-1 accuracy, 0..1.
    """

    parameters: int | None = None
    gmacs: float | None = None
    accuracy: float | None = None


def published(name: str, size: tuple[int, int]) -> Published:
    """Return what is known of a model by its name in timm, with or without a tag, for images of a size in pixels."""
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
