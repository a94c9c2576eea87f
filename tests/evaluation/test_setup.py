"""From a candidate's description to networks, on real tiny backbones: what is looked up, refused, built and started."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.candidate import Candidate
from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.modality import Modality
from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import FreezePlan, FreezePolicySpec, HeadSpec, Phase
from autotransfer.data.sources import load_examples
from autotransfer.errors import ConfigError, PluginError, TrialError, UnknownNameError
from autotransfer.evaluation.setup import Setup, settings_for, startable
from autotransfer.evaluation.subsample import Features
from autotransfer.pipeline.prepare import Prepared, prepare_data
from autotransfer.runtime.device import resolve_device
from autotransfer.settings import Compute, DataOptions, Settings
from autotransfer.tasks.task import Task
from autotransfer.training.network import Network, to_predictions
from autotransfer_plugins.modalities.image.batches import VIEWS

CPU = resolve_device("cpu")


class Odd:
    """A plugin that breaks its contract in one way for each name."""

    @hookimpl
    def register_heads(self, register: Callable[[HeadSpec], None]) -> None:
        def narrow(shape: tuple[int, ...], outputs: int, params: Mapping[str, Any]) -> nn.Module:
            return nn.Linear(shape[0], outputs + 1)

        def nothing(shape: tuple[int, ...], outputs: int, params: Mapping[str, Any]) -> Any:
            return "no module"

        def infinite(module: Any, *rest: Any) -> None:
            nn.init.constant_(module.weight, float("inf"))

        def untouched(module: Any, *rest: Any) -> None:
            pass

        def linear(shape: tuple[int, ...], outputs: int, params: Mapping[str, Any]) -> nn.Module:
            return nn.Linear(shape[0], outputs)

        register(HeadSpec(name="narrow", build=narrow, solve=untouched))
        register(HeadSpec(name="nothing", build=nothing))
        register(HeadSpec(name="infinite", build=linear, solve=infinite))

        def wide(shape: tuple[int, ...], outputs: int, params: Mapping[str, Any]) -> nn.Module:
            return nn.Linear(sum(shape), outputs)

        register(HeadSpec(name="staged", build=wide, features="stages"))

    @hookimpl
    def register_freeze_policies(self, register: Callable[[FreezePolicySpec], None]) -> None:
        def deep(stages: tuple[str, ...], params: Mapping[str, Any]) -> FreezePlan:
            return FreezePlan(phases=(Phase(start=0.0, depth=len(stages) + 1),))

        register(FreezePolicySpec(name="too_deep", plan=deep))


@pytest.fixture(scope="module")
def registry(tiny_zoo: Path) -> Registry:
    return Registry.load((tiny_zoo,), plugins=[Odd()])


@pytest.fixture(scope="module")
def loaded(registry: Registry) -> LoadedBackbone:
    return LoadedBackbone(registry.backbone("test_resnet"), CPU)


@pytest.fixture(scope="module")
def data(registry: Registry, digits: tuple[np.ndarray, np.ndarray]) -> Prepared:
    images, labels = digits
    config = Settings(compute=Compute(cache=False), data_options=DataOptions(folds=1))
    return prepare_data(load_examples(images[:60], labels[:60]), [registry.backbone("test_resnet")], config)


def _setup(candidate: Candidate, loaded: LoadedBackbone, registry: Registry, kind: Any = "multiclass") -> Setup:
    classes = () if kind == "regression" else (0, 1, 2)
    return Setup.of(candidate, loaded, registry, Task(kind=kind, classes=classes))


# --- looking up ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"head": "linaer"}, UnknownNameError, "No head matches 'linaer'. Did you mean linear"),
        ({"freeze": "frozn"}, UnknownNameError, "No freeze policy matches 'frozn'. Did you mean frozen"),
        ({"head_params": {"drop": 0.1}}, ConfigError, r"Unknown setting\(s\) \['drop'\] of the head 'linear'; known"),
        ({"freeze_params": {"depth": 1}}, ConfigError, r"Unknown setting\(s\) \['depth'\] of the freeze policy"),
        ({"training": {"learning_rate": 1.0}}, ConfigError, r"Unknown training setting\(s\) \['learning_rate'\]"),
        ({"training": {"optimizer": "adm"}}, ConfigError, "'optimizer' is one of"),
        ({"training": {"epochs": 0}}, ConfigError, "whole number from 1"),
        ({"training": {"start": "linear"}}, ConfigError, "'linear' is trained by gradient"),
        ({"training": {"start": "nosuch"}}, UnknownNameError, "No head matches 'nosuch'"),
        ({"head": "ridge", "freeze": "full"}, ConfigError, "needs a backbone that is frozen as a whole"),
        ({"head": "stage_ridge", "freeze": "full"}, ConfigError, "needs a backbone that is frozen as a whole"),
        ({"head": "staged", "freeze": "full"}, ConfigError, "takes what all stages give and needs a backbone that is"),
        ({"freeze": "depth", "freeze_params": {"depth": 99}}, ConfigError, "The freeze depth lies in"),
        ({"freeze": "too_deep"}, PluginError, "'too_deep' plans a depth outside"),
    ],
)
def test_what_cannot_be_made_is_refused_with_a_reason(
    loaded: LoadedBackbone, registry: Registry, wrong: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        _setup(Candidate(backbone="test_resnet", **wrong), loaded, registry)


def test_a_head_for_other_tasks_is_refused(loaded: LoadedBackbone, registry: Registry) -> None:
    with pytest.raises(ConfigError, match="'logistic' does not do regression tasks"):
        _setup(Candidate(backbone="test_resnet", head="logistic"), loaded, registry, "regression")
    start = Candidate(backbone="test_resnet", head="linear", training={"start": "logistic"})
    with pytest.raises(ConfigError, match="'logistic' does not do regression tasks"):
        _setup(start, loaded, registry, "regression")


def test_it_knows_what_trains_and_what_may_be_cached(loaded: LoadedBackbone, registry: Registry) -> None:
    def of(**more: Any) -> tuple[bool, bool, bool]:
        setup = _setup(Candidate(backbone="test_resnet", **more), loaded, registry)
        return setup.closed_form, setup.frozen, setup.cacheable

    assert of(head="ridge") == (True, True, True)
    assert of(head="linear") == (False, True, True)
    assert of(head="linear", freeze="depth") == (False, False, True)
    assert of(head="linear", freeze="full") == (False, False, False)  # nothing is frozen


# --- solving and building ------------------------------------------------------------------------------------------


def test_a_solved_network_predicts_like_its_head_on_features(
    loaded: LoadedBackbone, registry: Registry, data: Prepared
) -> None:
    setup, fold = _setup(Candidate(backbone="test_resnet", head="ridge"), loaded, registry), data.folds[0]
    network = setup.solve(data.extractor, fold, CPU, 0)
    predictions = setup.predict_from_features(network, data.extractor, fold.task, fold.validation_rows)
    assert predictions.shape == (len(fold.validation_rows), 3)
    assert predictions.sum(1) == pytest.approx(1.0, abs=1e-5)
    assert fold.task.score(fold.targets[fold.validation_rows], predictions) > 0.8
    assert not network.training


@pytest.mark.parametrize("head", ["ridge", "stage_ridge", "knn"])
def test_a_closed_form_averages_features_and_outputs_over_views(
    loaded: LoadedBackbone, registry: Registry, data: Prepared, head: str
) -> None:
    fold, takes = data.folds[0], registry.head(head).features

    def of(views: int) -> tuple[Setup, Network]:
        setup = _setup(Candidate(backbone="test_resnet", head=head, training={"views": views}), loaded, registry)
        return setup, setup.solve(data.extractor, fold, CPU, 0)

    each = [data.extractor.taken(loaded, takes, view) for view in VIEWS[:4]]
    assert not np.allclose(each[0], each[1], rtol=1e-2)
    (one, _), (four, network) = of(1), of(4)
    alone = one.solve(Features({"center": np.mean(each, axis=0)}), fold, CPU, 0)
    torch.testing.assert_close(network.head.state_dict(), alone.head.state_dict())
    with torch.inference_mode():
        outputs = [network.head_outputs(torch.from_numpy(features[fold.validation_rows])) for features in each]
    predictions = four.predict_from_features(network, data.extractor, fold.task, fold.validation_rows)
    np.testing.assert_allclose(predictions, to_predictions(fold.task, torch.stack(outputs).mean(0)), atol=1e-6)


@pytest.mark.parametrize(
    ("head", "error", "message"),
    [
        ("narrow", PluginError, r"'narrow' gives outputs of shape \(15, 4\); expected \(15, 3\)"),
        ("nothing", PluginError, "'nothing' builds a str; expected an nn.Module"),
        ("infinite", TrialError, "not finite"),
    ],
)
def test_a_head_that_breaks_its_contract_is_named(
    loaded: LoadedBackbone, registry: Registry, data: Prepared, head: str, error: type[Exception], message: str
) -> None:
    setup, fold = _setup(Candidate(backbone="test_resnet", head=head), loaded, registry), data.folds[0]

    def use() -> None:
        network = setup.solve(data.extractor, fold, CPU, 0)
        setup.predict_from_features(network, data.extractor, fold.task, fold.validation_rows)

    with pytest.raises(error, match=message):
        use() if setup.closed_form else setup.training(data.extractor, fold, CPU, 0)


def test_a_backbone_is_copied_where_it_trains_else_shared(
    loaded: LoadedBackbone, registry: Registry, data: Prepared
) -> None:
    # Trials must not see each other's training.
    before = {name: tensor.clone() for name, tensor in loaded.backbone.state_dict().items()}
    tuned = _setup(Candidate(backbone="test_resnet", freeze="full", training={"epochs": 1}), loaded, registry)
    training = tuned.training(data.extractor, data.folds[0], CPU, 0)
    assert training.network.backbone is not loaded.backbone
    training.run(1, lambda epoch, score, predictions: False, lambda: False)
    trained = training.network.backbone.state_dict()
    assert any(not torch.equal(trained[name], tensor) for name, tensor in before.items())
    assert all(torch.equal(loaded.backbone.state_dict()[name], tensor) for name, tensor in before.items())
    frozen = _setup(Candidate(backbone="test_resnet"), loaded, registry)
    assert frozen.training(data.extractor, data.folds[0], CPU, 0).network.backbone is loaded.backbone


def test_the_seed_decides_the_weights_of_an_untrained_head(
    loaded: LoadedBackbone, registry: Registry, data: Prepared
) -> None:
    setup = _setup(Candidate(backbone="test_resnet", head="mlp"), loaded, registry)

    def weights(seed: int) -> torch.Tensor:
        head = setup.training(data.extractor, data.folds[0], CPU, seed).network.head
        return torch.cat([parameter.flatten() for parameter in head.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


# --- starting from a solution --------------------------------------------------------------------------------------


def test_a_head_starts_where_the_closed_form_ended(loaded: LoadedBackbone, registry: Registry, data: Prepared) -> None:
    fold = data.folds[0]
    solved = _setup(Candidate(backbone="test_resnet", head="ridge"), loaded, registry)
    reached = solved.solve(data.extractor, fold, CPU, 0).head.state_dict()
    started = _setup(
        Candidate(backbone="test_resnet", freeze="depth", training={"start": "ridge"}), loaded, registry
    ).training(data.extractor, fold, CPU, 0)
    for own, theirs in zip(started.network.head.state_dict().values(), reached.values(), strict=True):
        assert torch.equal(own, theirs)


def test_a_head_that_a_solution_does_not_fit_is_refused(
    loaded: LoadedBackbone, registry: Registry, data: Prepared
) -> None:
    setup = _setup(Candidate(backbone="test_resnet", head="mlp", training={"start": "ridge"}), loaded, registry)
    with pytest.raises(ConfigError, match="cannot start from this closed form"):
        setup.training(data.extractor, data.folds[0], CPU, 0)


def test_starts_are_found_by_the_shapes_of_what_heads_hold(registry: Registry) -> None:
    found = startable(registry.select_heads((), "multiclass"), 3)
    assert {"logistic", "ncm", "ridge"} <= set(found["linear"])
    assert not {"knn", "narrow"} & set(found["linear"])
    assert "mlp" not in found  # its hidden layers have no solution


def test_a_head_for_certain_widths_only_disturbs_no_others() -> None:
    def picky(shape: tuple[int, ...], outputs: int, params: Mapping[str, Any]) -> nn.Module:
        raise ValueError(f"{shape[0]} is not divisible by 8")

    def linear(shape: tuple[int, ...], outputs: int, params: Mapping[str, Any]) -> nn.Module:
        return nn.Linear(shape[0], outputs)

    heads = [
        HeadSpec(name="picky", build=picky),
        HeadSpec(name="picky_solved", build=picky, solve=lambda *arguments: None),
        HeadSpec(name="plain", build=linear),
        HeadSpec(name="solved", build=linear, solve=lambda *arguments: None),
    ]
    assert startable(heads, 3) == {"plain": ("solved",)}


class Plain(Modality):
    """A modality with a single view and no augmentation."""

    name = "plain"


def test_views_that_a_modality_lacks_are_refused_or_dropped() -> None:
    candidate = Candidate(backbone="b")
    assert settings_for(candidate, Plain()).augmentation == "none"
    with pytest.raises(ConfigError, match="'augmentation' is one of"):
        settings_for(replace(candidate, training={"augmentation": "strong"}), Plain())
    with pytest.raises(ConfigError, match="'views' is a whole number from 1 to 1"):
        settings_for(replace(candidate, training={"views": 2}), Plain())
