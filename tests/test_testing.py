"""The conformance checks find what breaks the contract; that good plugins pass is tested with the plugins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from optuna.distributions import FloatDistribution
from torch import Tensor, nn

from autotransfer.contract.backbone import Backbone, SequentialBackbone
from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import BackboneSpec, FreezePlan, FreezePolicySpec, HeadSpec, Phase
from autotransfer.errors import PluginError, WeightsUnavailableError
from autotransfer.tasks.task import Task
from autotransfer.testing import check_backbone, check_freeze_policy, check_head, check_memory
from autotransfer_plugins.modalities.image.formats import Preprocessing


class Tiny(SequentialBackbone):
    """A backbone that keeps the contract; each subclass breaks one rule of it."""

    def __init__(self, width: int = 4, **recipe: Any) -> None:
        body = {"stem": nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), "top": nn.Conv2d(4, 4, 3)}
        super().__init__(body, preprocessing=Preprocessing(size=(16, 16)), width=width, recipe=recipe)


class NoStage(Tiny):
    """A buffer has no stage."""

    def stage_of(self, parameter: str) -> int:
        return 7 if "running" in parameter else super().stage_of(parameter)


class Noisy(Tiny):
    """Not deterministic in eval mode."""

    def forward_map(self, images: Tensor) -> Tensor:
        return super().forward_map(images + torch.randn_like(images))


class AcrossBatch(Tiny):
    """Looks at the other images of its batch."""

    def forward_map(self, images: Tensor) -> Tensor:
        return super().forward_map(images - images.mean(0))


class Infinite(Tiny):
    """Overflows."""

    def pool(self, features: Tensor) -> Tensor:
        return super().pool(features) / 0.0


class OtherPool(Tiny):
    """Its parts do not make up the whole."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + 1.0


class SharesItself(Tiny):
    """Cannot be copied."""

    def __deepcopy__(self, memo: dict[int, Any]) -> SharesItself:
        return self


def test_a_good_backbone_passes() -> None:
    check_backbone(BackboneSpec(name="tiny", modality="image", load=Tiny), rebuild=lambda recipe: Tiny())


@pytest.mark.parametrize(
    ("backbone", "rule"),
    [
        (NoStage(), r"running_mean has a stage in 0..1; got 7"),
        (Noisy(), "the same inputs give the same features"),
        (AcrossBatch(), "do not depend on the others"),
        (Infinite(), "features are finite"),
        (Tiny(width=5), r"forward gives \(N, 5\); got \(3, 4\)"),
        (OtherPool(), "equals forward"),
        (SharesItself(), "shares no parameters"),
        (Tiny(path=(1, 2)), "recipe is plain JSON"),
        (Tiny(path=Path("x")), "recipe is plain JSON"),
    ],
)
def test_a_backbone_that_breaks_a_rule_is_told_which(backbone: Backbone, rule: str) -> None:
    with pytest.raises(PluginError, match=rule):
        check_backbone(backbone)


def test_load_must_return_a_backbone() -> None:
    spec: Any = BackboneSpec(name="plain", modality="image", load=lambda: nn.Linear(3, 3))  # type: ignore[arg-type, return-value]
    with pytest.raises(PluginError, match=r"'plain': load\(\) returns a Backbone; got Linear"):
        check_backbone(spec)


def _sized(side: int, seed: int = 0, width: int = 4) -> SequentialBackbone:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        body = nn.Conv2d(3, width, 3)
    return SequentialBackbone({"stem": body}, preprocessing=Preprocessing(size=(side, side)), width=width)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("load_at", "rule"),
    [
        (_sized, ""),
        (lambda side: _sized(16), "preprocessing"),
        (lambda side: _sized(side, seed=1), "weights"),
        (lambda side: _sized(side, width=5), "width"),
        (lambda side: None, "returns a Backbone"),
    ],
    ids=["good", "the same size", "other weights", "another width", "none"],
)
def test_a_backbone_at_another_size_is_the_same_but_for_its_size(load_at: Any, rule: str) -> None:
    spec = BackboneSpec(name="tiny", modality="image", load=lambda: _sized(16), load_at=load_at)
    if not rule:
        check_backbone(spec)
        return
    with pytest.raises(PluginError, match=rule) as caught:
        check_backbone(spec)
    assert "'tiny@32px'" in str(caught.value)


def test_a_recipe_that_the_plugin_does_not_know_is_found() -> None:
    with pytest.raises(PluginError, match="knows its own recipe"):
        check_backbone(Tiny(), rebuild=lambda recipe: None)


def test_missing_weights_are_not_called_a_broken_contract() -> None:
    def check() -> None:
        raise WeightsUnavailableError("they are not here")

    with pytest.raises(WeightsUnavailableError):
        check_backbone(BackboneSpec(name="away", modality="image", load=Tiny, check=check))


Build = Callable[[tuple[int, ...], int, Mapping[str, Any]], nn.Module]


class Overflowing(nn.Linear):
    """Overflows."""

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features) / 0.0


class Unsaved(nn.Module):
    """Keeps what it learnt outside of its state."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.weight = torch.randn(width, outputs)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, features: Tensor) -> Tensor:
        return features @ self.weight + self.bias


@pytest.mark.parametrize(
    ("build", "rule"),
    [
        (lambda shape, outputs, params: nn.Linear(shape[0], outputs + 1), r"it gives \(5, 2\); got \(5, 3\)"),
        (lambda shape, outputs, params: Overflowing(shape[0], outputs), "outputs are finite"),
        (lambda shape, outputs, params: Unsaved(shape[0], outputs), "same outputs again"),
        (lambda shape, outputs, params: None, "returns a module; got NoneType"),
    ],
)
def test_a_head_that_breaks_a_rule_is_told_which(build: Build, rule: str) -> None:
    with pytest.raises(PluginError, match=rule):
        check_head(HeadSpec(name="bad", build=build))


@pytest.mark.slow
def test_check_head_covers_gradient_heads_on_stages() -> None:
    def build(shape: tuple[int, ...], outputs: int, params: Mapping[str, Any]) -> nn.Module:
        return nn.Linear(sum(shape), outputs)

    check_head(HeadSpec(name="staged", build=build, features="stages"))
    with pytest.raises(PluginError, match="cannot be multiplied"):
        check_head(HeadSpec(name="narrow", build=lambda s, outputs, p: nn.Linear(s[0], outputs), features="stages"))


def test_what_a_head_cannot_take_is_refused() -> None:
    with pytest.raises(PluginError, match="takes 'tokens'; known: pooled, map, stages"):
        HeadSpec(name="odd", build=lambda s, outputs, p: nn.Identity(), features="tokens")  # type: ignore[arg-type]
    with pytest.raises(PluginError, match="solves on a map; closed forms take 'pooled' or 'stages'"):
        HeadSpec(name="odd", build=lambda s, outputs, p: nn.Identity(), solve=lambda *given: None, features="map")


def test_a_head_without_a_default_for_a_setting_is_found() -> None:
    head = HeadSpec(
        name="demanding",
        build=lambda shape, outputs, params: nn.Sequential(nn.Dropout(params["p"]), nn.Linear(shape[0], outputs)),
        parameters={"p": FloatDistribution(0, 0.5)},
    )
    with pytest.raises(PluginError, match=r"with {} .*KeyError: 'p'"):
        check_head(head)


def test_a_solver_that_learns_nothing_is_found() -> None:
    def solve(module: nn.Module, features: np.ndarray, targets: np.ndarray, task: Task, *rest: Any) -> None:
        nn.init.zeros_(module.weight)  # type: ignore[arg-type]

    head = HeadSpec(name="lazy", build=lambda shape, outputs, params: nn.Linear(shape[0], outputs), solve=solve)
    with pytest.raises(PluginError, match="better than chance"):
        check_head(head)


@pytest.mark.parametrize(
    ("plan", "rule"),
    [
        (FreezePlan(phases=()), "starts at 0"),
        (FreezePlan(phases=(Phase(start=0.5, depth=0),)), "starts at 0"),
        (FreezePlan(phases=(Phase(start=0.0, depth=99),)), r"depths lie in 0..1; got \[99\]"),
        (FreezePlan(phases=(Phase(start=0.0, depth=0), Phase(start=1.0, depth=0))), "0 <= start < 1"),
        (FreezePlan(phases=(Phase(start=0.0, depth=1), Phase(start=0.0, depth=0))), "in order"),
        (FreezePlan(phases=(Phase(start=0.0, depth=0),), learning_rates=(1.0, 1.0)), "one factor for each stage"),
        (FreezePlan(phases=(Phase(start=0.0, depth=0),), learning_rates=(-1.0,)), "finite and >= 0"),
        (None, "returns a FreezePlan; got NoneType"),
    ],
)
def test_a_policy_that_breaks_a_rule_is_told_which(plan: Any, rule: str) -> None:
    with pytest.raises(PluginError, match=rule):
        check_freeze_policy(FreezePolicySpec(name="bad", plan=lambda stages, params: plan))


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("name", ["mobilenetv1_100_224", "mobilenetv2_100_224"])
def test_real_backbones_of_a_zoo_pass(shared: Path, name: str) -> None:
    registry = Registry.load((shared / "zoo" / "timm",))
    (found,) = [spec for key, spec in registry.backbones.items() if key.endswith(name)]
    check_backbone(found, rebuild=registry.rebuild)


# --- memory --------------------------------------------------------------------------------------------------------

KEPT: list[Any] = []


@pytest.fixture
def kept() -> Iterator[list[Any]]:
    """What leaking plugins keep."""
    yield KEPT
    KEPT.clear()


class KeepsInputs(Tiny):
    """Keeps every batch of images."""

    def forward_map(self, images: Tensor) -> Tensor:
        KEPT.append(images)
        return super().forward_map(images)


@pytest.mark.slow
def test_backbone_that_keeps_its_inputs_is_told(kept: list[Any]) -> None:
    with pytest.raises(PluginError, match=r"KeepsInputs: each use keeps no memory; [\d,]+ bytes remain"):
        check_backbone(KeepsInputs())


@pytest.mark.slow
def test_head_that_keeps_its_features_is_told(kept: list[Any]) -> None:
    ridge = Registry.load().head("ridge")

    def solve(module: nn.Module, features: np.ndarray, *others: Any, **weights: Any) -> None:
        kept.append(features.copy())
        assert ridge.solve is not None
        ridge.solve(module, features, *others, **weights)

    with pytest.raises(PluginError, match=r"the head 'ridge' on a .* task: each use keeps no memory"):
        check_head(replace(ridge, solve=solve))


@pytest.mark.slow
@pytest.mark.parametrize("make", [lambda: np.ones(2**14), lambda: torch.ones(2**14), lambda: bytearray(2**16)])
def test_memory_that_grows_with_each_call_is_found(make: Callable[[], Any], kept: list[Any]) -> None:
    with pytest.raises(PluginError, match="the plugin: each use keeps no memory"):
        check_memory(lambda: kept.append(make()))
    kept.clear()
    check_memory(lambda: kept.append(make()) if len(kept) < 2 else None)
