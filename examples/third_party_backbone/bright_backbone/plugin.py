"""A backbone, a head and a freeze policy, registered with autotransfer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from optuna.distributions import FloatDistribution
from torch import Tensor, nn

from autotransfer.contract.backbone import Backbone, SequentialBackbone
from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.specs import BackboneSpec, FreezePlan, FreezePolicySpec, HeadSpec, Phase, Preprocessing

NAME = "bright_tiny"
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
        recipe={"plugin": "bright-backbone", "name": NAME},
    )


def load_backbone() -> SequentialBackbone:
    """Build it with its weights: here random ones of a fixed seed.

    With real weights this would read::

        backbone = build_backbone()
        safetensors.torch.load_model(backbone, Path(__file__).with_name("bright_tiny.safetensors"), strict=True)
        return backbone
    """
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers are left as they were
        torch.manual_seed(0)
        return build_backbone()


class CosineHead(nn.Module):
    """Maps features (N, width) to scaled cosines (N, outputs) with a learnt direction for each output.

    Args:
        width: Number of features.
        outputs: Number of outputs.
        scale: Logit of a perfect match at the start; it is trained too.
    """

    def __init__(self, width: int, outputs: int, scale: float) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.randn(outputs, width))
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, features: Tensor) -> Tensor:
        """Compare features with every direction."""
        return self.scale * F.linear(F.normalize(features, dim=1), F.normalize(self.directions, dim=1))


def build_head(shape: tuple[int, ...], outputs: int, params: Mapping[str, Any]) -> nn.Module:
    """Build the head; ``scale`` is 10 where it is not given."""
    return CosineHead(shape[0], outputs, params.get("scale", 10.0))


def plan_last_two(stages: tuple[str, ...], params: Mapping[str, Any]) -> FreezePlan:
    """Train the last two stages, all the time."""
    return FreezePlan(phases=(Phase(start=0.0, depth=max(len(stages) - 2, 0)),))


@hookimpl
def register_backbones(register: Callable[[BackboneSpec], None]) -> None:
    """Add the backbone; nothing is built until it is used."""
    register(
        BackboneSpec(
            name=NAME,
            load=load_backbone,
            source="nothing: random weights, an example",
            weights="made from a fixed seed",
            parameters=23_488,
            gmacs=0.001,
            input_size=(32, 32),
            license="MIT",
        )
    )


@hookimpl
def rebuild_backbone(recipe: Mapping[str, Any]) -> Backbone | None:
    """Build the backbone of a saved model; its weights are in the saved model."""
    return build_backbone() if recipe.get("plugin") == "bright-backbone" else None


@hookimpl
def register_heads(register: Callable[[HeadSpec], None]) -> None:
    """Add the head."""
    classification = frozenset({"binary", "multiclass", "multilabel"})
    scale = FloatDistribution(1.0, 50.0, log=True)
    register(HeadSpec(name="cosine", build=build_head, parameters={"scale": scale}, tasks=classification))


@hookimpl
def register_freeze_policies(register: Callable[[FreezePolicySpec], None]) -> None:
    """Add the freeze policy; it has no settings."""
    register(FreezePolicySpec(name="last_two", plan=plan_last_two))
