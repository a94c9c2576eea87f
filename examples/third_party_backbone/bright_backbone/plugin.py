"""A backbone, a head and a freeze policy, registered with autotransfer.

``network`` imports torch, which takes seconds. ``LazyImport`` imports it on use, so that ``autotransfer plugins`` is
fast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution

from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.lazy_import import LazyImport
from autotransfer.contract.specs import BackboneSpec, FreezePlan, FreezePolicySpec, HeadSpec, Phase

if TYPE_CHECKING:
    from autotransfer.contract.backbone import Backbone


def plan_last_two(stages: tuple[str, ...], params: Mapping[str, Any]) -> FreezePlan:
    """Train the last two stages in all epochs."""
    return FreezePlan(phases=(Phase(start=0.0, depth=max(len(stages) - 2, 0)),))


@hookimpl
def register_backbones(register: Callable[[BackboneSpec], None]) -> None:
    """Register the backbone without building it."""
    register(
        BackboneSpec(
            name="bright_tiny",
            modality="image",
            load=LazyImport("bright_backbone.network:load_backbone"),
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
    """Build the backbone of a saved model; its weights are loaded later."""
    if recipe.get("plugin") != "bright-backbone":
        return None
    from bright_backbone.network import build_backbone

    return build_backbone()


@hookimpl
def register_heads(register: Callable[[HeadSpec], None]) -> None:
    """Register the head."""
    classification = frozenset({"binary", "multiclass", "multilabel"})
    scale = FloatDistribution(1.0, 50.0, log=True)
    register(
        HeadSpec(
            name="cosine",
            build=LazyImport("bright_backbone.network:build_head"),
            parameters={"scale": scale},
            tasks=classification,
        )
    )


@hookimpl
def register_freeze_policies(register: Callable[[FreezePolicySpec], None]) -> None:
    """Register the freeze policy, which has no settings."""
    register(FreezePolicySpec(name="last_two", plan=plan_last_two))
