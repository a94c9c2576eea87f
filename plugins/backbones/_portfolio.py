"""The backbones that are searched when the user names none and has no zoo."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PORTFOLIO", "Hints"]


@dataclass(frozen=True, kw_only=True)
class Hints:
    """What is known of a backbone before it is loaded.

    Attributes:
        parameters: Number of parameters, classifier included.
        gmacs: Multiply-accumulates of one forward pass at its input size, in 10^9.
        accuracy: ImageNet-1k top-1 accuracy at its input size, 0..1.
    """

    parameters: int
    gmacs: float
    accuracy: float


# Small to medium, permissively licensed, and unlike each other in architecture and in what they were trained on.
# Accuracies at 224 px, as timm's model cards and release notes list them (its results-imagenet.csv holds those at the
# larger sizes for testing); for DINO the linear probe of Caron et al. 2021.
PORTFOLIO = {
    "mobilenetv4_conv_small.e2400_r224_in1k": Hints(parameters=3_770_000, gmacs=0.19, accuracy=0.738),
    "efficientnet_b0.ra4_e3600_r224_in1k": Hints(parameters=5_290_000, gmacs=0.39, accuracy=0.786),
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k": Hints(parameters=5_720_000, gmacs=1.26, accuracy=0.755),
    "convnext_nano.in12k_ft_in1k": Hints(parameters=15_590_000, gmacs=2.45, accuracy=0.823),
    "resnet50.a1_in1k": Hints(parameters=25_560_000, gmacs=4.09, accuracy=0.804),
    "vit_small_patch16_224.dino": Hints(parameters=21_670_000, gmacs=4.61, accuracy=0.770),
    "vit_base_patch32_clip_224.laion2b_ft_in12k_in1k": Hints(parameters=88_220_000, gmacs=4.41, accuracy=0.833),
    "convnext_tiny.in12k_ft_in1k": Hints(parameters=28_590_000, gmacs=4.46, accuracy=0.842),
}
