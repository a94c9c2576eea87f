"""The search space: whatever it proposes can be made, and what it lists can be enqueued."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import nn

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.candidate import Candidate
from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import FreezePlan, FreezePolicySpec, HeadSpec, Phase
from autotransfer.errors import ConfigError, PluginError
from autotransfer.evaluation.setup import Setup, startable
from autotransfer.runtime.device import resolve_device
from autotransfer.search.space import SearchSpace
from autotransfer.search.study import make_study
from autotransfer.tasks.task import Task

TASK = Task(kind="multiclass", classes=(0, 1, 2))


class ThirdParty:
    """A plugin with settings of every kind; one of its policies knows only certain backbones."""

    @hookimpl
    def register_heads(self, register: Callable[[HeadSpec], None]) -> None:
        def build(shape: tuple[int, ...], outputs: int, params: Mapping[str, Any]) -> nn.Module:
            return nn.Linear(shape[0], outputs)

        settings = {
            "kind": CategoricalDistribution(("x", "y")),
            "flag": CategoricalDistribution((True, False)),
            "even": IntDistribution(2, 10, step=2),
            "rate": FloatDistribution(1e-3, 1.0, log=True),
            "coarse": FloatDistribution(-1.0, 1.0, step=0.5),
        }
        register(HeadSpec(name="a_third", build=build, parameters=settings))

    @hookimpl
    def register_freeze_policies(self, register: Callable[[FreezePolicySpec], None]) -> None:
        def plan(stages: tuple[str, ...], params: Mapping[str, Any]) -> FreezePlan:
            return FreezePlan(phases=(Phase(start=0.0, depth=stages.index(params.get("from", "layer4"))),))

        def parameters(stages: tuple[str, ...]) -> Mapping[str, Any]:
            return {"from": CategoricalDistribution(tuple(name for name in stages if name.startswith("layer")))}

        register(FreezePolicySpec(name="a_picky", plan=plan, parameters=parameters))


@pytest.fixture(scope="module")
def registry(tiny_zoo: Path) -> Registry:
    return Registry.load((tiny_zoo,), plugins=[ThirdParty()])


@pytest.fixture(scope="module")
def loaded(registry: Registry, tiny_zoo: Path) -> dict[str, LoadedBackbone]:
    device = resolve_device("cpu")
    return {
        folder.name: LoadedBackbone(registry.backbone(folder.name), device) for folder in sorted(tiny_zoo.iterdir())
    }


MakeSpace = Callable[..., SearchSpace]


@pytest.fixture(scope="module")
def make_space(registry: Registry, loaded: dict[str, LoadedBackbone]) -> MakeSpace:
    def make(heads: tuple[str, ...] = (), freeze: tuple[str, ...] = (), kind: str = "multiclass") -> SearchSpace:
        known = ("depth", "frozen", "full", "gradual", "lp_ft", "norm_only")
        return SearchSpace(
            backbones=tuple(registry.backbone(name) for name in loaded),
            heads=tuple(h for h in registry.select_heads(heads, kind) if h.name not in registry.own_heads),
            policies=tuple(registry.select_policies(freeze or known)),
            starts=startable(registry.select_heads((), kind), 3),
            stages=lambda name: loaded[name].backbone.stages,
            epochs=5,
            examples=1000,
            augmentations=("none", "light", "medium", "strong"),
            views=(1, 2),
        )

    return make


@pytest.mark.parametrize(("known", "first"), [(("none",), "none"), (("none", "soft", "hard"), "soft")])
def test_augmentations_are_those_of_the_modality(known: tuple[str, ...], first: str, make_space: MakeSpace) -> None:
    space = replace(make_space(("linear",), ("full",)), augmentations=known)
    found = {candidate.training["augmentation"] for candidate in _suggested(space, 30)}
    assert found == set(known)
    params = replace(make_space(("linear",), ("depth",)), augmentations=known).tuning("test_resnet", 1)
    assert params is not None
    assert params["tuned.augmentation"] == first


def test_adapters_are_for_backbones_with_linear_layers(make_space: MakeSpace) -> None:
    space = replace(make_space(("linear",), ("depth", "lora")), adaptable=lambda name: name == "test_vit")
    found = {(candidate.backbone == "test_vit", candidate.freeze) for candidate in _suggested(space, 40)}
    assert found == {(True, "lora"), (True, "depth"), (False, "depth")}


def _suggested(space: SearchSpace, count: int, seed: int = 0) -> list[Candidate]:
    """Random candidates, all through one study, which refuses choices that change."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    found = []
    for _ in range(count):
        trial = study.ask()
        found.append(space.suggest(trial))
        study.tell(trial, 0.0)
    return found


# --- suggestions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heads", "freeze"),
    [((), ()), (("linear",), ()), (("ridge", "logistic"), ()), (("ridge", "mlp"), ("frozen", "full")), (("mlp",), ())],
)
def test_every_suggestion_can_be_made(
    make_space: MakeSpace,
    registry: Registry,
    loaded: dict[str, LoadedBackbone],
    heads: tuple[str, ...],
    freeze: tuple[str, ...],
) -> None:
    for candidate in _suggested(make_space(heads, freeze), 120):
        setup = Setup.of(candidate, loaded[candidate.backbone], registry, TASK)  # raises for what cannot be
        assert not setup.closed_form or setup.frozen
        assert not setup.closed_form or set(candidate.training) <= {"views"}
        assert not heads or candidate.head in heads
        assert not freeze or candidate.freeze in freeze
        assert candidate == Candidate.from_json(candidate.to_json())  # only what JSON can hold


def test_suggestions_reach_every_head_and_every_policy(make_space: MakeSpace, registry: Registry) -> None:
    space = make_space()
    candidates = _suggested(space, 200)
    assert {c.head for c in candidates} == {head.name for head in space.heads}
    assert {c.freeze for c in candidates} == {policy.name for policy in space.policies}
    assert {c.backbone for c in candidates} == {backbone.name for backbone in space.backbones}


def test_a_task_leaves_heads_out(make_space: MakeSpace) -> None:
    heads = {candidate.head for candidate in _suggested(make_space(kind="regression"), 100)}
    assert "ridge" in heads
    assert not heads & {"logistic", "ncm"}


@pytest.mark.slow
def test_the_sampler_of_a_real_study_can_work_with_it(make_space: MakeSpace) -> None:
    # Grouped TPE meets parameters that come and go; warnings are errors here.
    space = make_space()
    study = make_study(seed=0, curves=50)
    for params in space.screening():
        study.enqueue_trial(params)
    for number in range(40):
        trial = study.ask()
        space.suggest(trial)
        study.tell(trial, number % 7)


def test_a_head_alone_trains_longer_than_with_stages(make_space: MakeSpace) -> None:
    epochs = {(c.freeze == "frozen", c.training["epochs"]) for c in _suggested(make_space(("linear",)), 60)}
    assert epochs == {(True, 15), (False, 5)}


def test_only_what_is_used_is_asked_for(make_space: MakeSpace, loaded: dict[str, LoadedBackbone]) -> None:
    # Augmentation matters where images pass through all of the network.
    for candidate in _suggested(make_space(("linear",), ("frozen", "full", "depth")), 60):
        cached = candidate.freeze == "frozen" or candidate.freeze_params.get("depth", 0) > 0
        assert ("augmentation" in candidate.training) == (not cached)


@pytest.mark.parametrize("head", ["ridge", "linear"])
def test_views_are_a_parameter_where_several_are_offered(make_space: MakeSpace, head: str) -> None:
    found = _suggested(replace(make_space((head,), ("frozen",)), views=(1, 2)), 30)
    assert {candidate.training.get("views") for candidate in found} == {None, 2}
    plain = replace(make_space((head,), ("frozen",)), views=(1,))
    assert all(candidate.views == 1 for candidate in _suggested(plain, 30))


# --- third parties -------------------------------------------------------------------------------------------------


def test_third_party_settings_are_suggested_within_bounds(make_space: MakeSpace) -> None:
    for candidate in _suggested(make_space(("a_third",)), 60):
        given = candidate.head_params
        assert given["kind"] in ("x", "y")
        assert given["flag"] in (True, False)
        assert given["even"] in (2, 4, 6, 8, 10)
        assert 1e-3 <= float(given["rate"]) <= 1.0
        assert given["coarse"] in (-1.0, -0.5, 0.0, 0.5, 1.0)


def test_a_head_with_every_kind_of_setting_is_screened(make_space: MakeSpace) -> None:
    space = make_space(("a_third",))
    for params in [*space.screening(), space.tuning("test_resnet", 1)]:
        assert params is not None
        study = make_study(seed=0, curves=50)
        study.enqueue_trial(params)
        candidate = space.suggest(study.ask())  # warns of what is out of bounds
        assert candidate.head == "a_third"
        assert candidate.head_params == {name: params[f"head.a_third.{name}"] for name in candidate.head_params}


def test_a_policy_for_certain_backbones_costs_its_trials_only(make_space: MakeSpace) -> None:
    # It has never heard of the stages that the core asks about, and the vision transformer has no "layer".
    space = make_space(freeze=("a_picky", "frozen", "depth"))
    assert len(space.screening()) == 2 * len([head for head in space.heads if head.solve])
    assert space.tuning("test_vit", 1) is not None
    study, ends = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)), set()
    for _ in range(60):
        trial = study.ask()
        try:
            candidate = space.suggest(trial)
            ends.add((candidate.backbone, candidate.freeze))
        except PluginError as error:
            ends.add((trial.params["backbone"], str(error).partition(": ")[0]))
        study.tell(trial, 0.0)
    assert ("test_vit", "The freeze policy 'a_picky' failed") in ends
    assert {("test_resnet", "a_picky"), ("test_vit", "frozen"), ("test_vit", "depth")} <= ends


def test_a_setting_that_is_no_distribution_is_refused_by_name(make_space: MakeSpace) -> None:
    space = make_space(("a_third",))
    odd = HeadSpec(name="odd", build=space.heads[0].build, parameters={"k": SimpleNamespace(low=1)})  # type: ignore[dict-item]
    with pytest.raises(PluginError, match="The head 'odd' gives its setting 'k' a SimpleNamespace"):
        replace(space, heads=(odd,))


def test_a_freeze_setting_without_a_distribution_is_refused(make_space: MakeSpace) -> None:
    space = make_space(("linear",), ("full",))
    settings = {"k": SimpleNamespace(low=1)}
    odd = replace(space.policies[0], name="odd", parameters=lambda stages: settings)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"'freeze\.odd@\d\.k' has a SimpleNamespace"):
        _suggested(replace(space, policies=(odd,)), 1)


# --- what is listed ------------------------------------------------------------------------------------------------


def _enqueued(space: SearchSpace, params: dict[str, Any]) -> Candidate:
    """Enqueue parameters and return the candidate; every one of them must be used, and nothing be left to chance."""
    study = make_study(seed=0, curves=50)
    study.enqueue_trial(params)
    trial = study.ask()
    candidate = space.suggest(trial)
    assert trial.params == params
    return candidate


def test_screening_holds_every_backbone_under_every_closed_form(make_space: MakeSpace) -> None:
    space = make_space()
    candidates = [_enqueued(space, params) for params in space.screening()]
    solved = [head.name for head in space.heads if head.solve is not None]
    assert [(c.backbone, c.head) for c in candidates] == [(b.name, head) for head in solved for b in space.backbones]
    assert {c.freeze for c in candidates} == {"frozen"}


def test_screening_looks_at_each_backbone_at_one_size(make_space: MakeSpace) -> None:
    space = make_space(("ridge",))
    first, other = (backbone.name for backbone in space.backbones)
    assert [params["backbone"] for params in replace(space, variants={other: first}).screening()] == [first]


def test_screening_without_closed_forms_takes_a_pooled_head(make_space: MakeSpace) -> None:
    space = make_space(("linear", "mlp"))
    listed = space.screening()
    assert [params["backbone"] for params in listed] == [backbone.name for backbone in space.backbones]
    assert {params["head"] for params in listed} == {"linear"}


def test_screening_falls_back_on_map_heads_or_is_empty(make_space: MakeSpace) -> None:
    assert {params["head"] for params in make_space(("mlp",)).screening()} == {"mlp"}
    assert make_space(freeze=("full",), heads=("linear",)).screening() == []


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit"])
@pytest.mark.parametrize("heads", [(), ("mlp",), ("linear",), ("a_third", "ridge")])
def test_growing_trains_as_many_stages_as_it_says(
    make_space: MakeSpace,
    registry: Registry,
    loaded: dict[str, LoadedBackbone],
    backbone: str,
    heads: tuple[str, ...],
) -> None:
    space = make_space(heads)
    stages = loaded[backbone].depths
    for trained in range(1, stages + 1):
        params = space.tuning(backbone, trained)
        assert params is not None
        candidate = _in_bounds(space, params)
        setup = Setup.of(candidate, loaded[backbone], registry, TASK)
        assert (setup.plan.depth, len(setup.plan.phases), setup.plan.trained) == (stages - trained, 1, "all")
    assert space.tuning(backbone, stages + 1) is None
    assert space.tuning(backbone, 0) is None


def test_growing_starts_the_head_from_a_solution_where_one_fits(make_space: MakeSpace) -> None:
    space = make_space(("linear", "mlp", "ridge"))
    params = space.tuning("test_resnet", 1)
    assert params is not None
    candidate = _in_bounds(space, params)
    assert (candidate.head, candidate.training["start"]) == ("linear", space.starts["linear"][0])


def test_a_distant_task_is_tuned_at_higher_rates(make_space: MakeSpace) -> None:
    space = make_space(("linear", "ridge"))
    near, distant = space.tuning("test_resnet", 2), space.tuning("test_resnet", 2, distant=True)
    assert near is not None
    assert distant is not None
    gentle, bold = _in_bounds(space, near).training, _in_bounds(space, distant).training
    assert float(gentle["backbone_lr"]) < float(bold["backbone_lr"])
    assert int(gentle["batch_size"]) > int(bold["batch_size"])


def test_few_examples_are_tuned_at_a_lower_rate(make_space: MakeSpace) -> None:
    space = make_space(("linear", "ridge"))
    few, many = (_in_bounds(s, s.tuning("test_resnet", 1) or {}) for s in (replace(space, examples=200), space))
    assert float(few.training["lr"]) < float(many.training["lr"])


def test_growing_needs_a_plain_depth_and_a_head_that_trains(make_space: MakeSpace) -> None:
    assert make_space(freeze=("full", "frozen")).tuning("test_resnet", 1) is None
    assert make_space(freeze=("lp_ft",), heads=("linear",)).tuning("test_resnet", 1) is None
    assert make_space(freeze=("norm_only",), heads=("linear",)).tuning("test_resnet", 1) is None
    assert make_space(heads=("ridge",)).tuning("test_resnet", 1) is None


@pytest.mark.parametrize(
    ("heads", "drawn"), [(("ridge", "linear", "mlp"), {"linear", "mlp"}), (("ridge", "ncm"), {"ridge", "ncm"})]
)
def test_closed_forms_are_drawn_where_there_is_no_other_head(
    make_space: MakeSpace, heads: tuple[str, ...], drawn: set[str]
) -> None:
    space = make_space(heads)
    assert {head.name for head in space.drawn_heads("test_resnet")} == drawn
    assert {params["head"] for params in space.frozen("test_resnet", 1)} == drawn


def test_closed_forms_without_a_frozen_policy_are_refused(make_space: MakeSpace) -> None:
    with pytest.raises(ConfigError, match="closed form") as caught:
        make_space(("ridge", "ncm"), ("full", "depth"))
    for word in ("ridge", "ncm", "full", "depth"):
        assert word in str(caught.value)


def _in_bounds(space: SearchSpace, params: dict[str, Any]) -> Candidate:
    """Like ``_enqueued``, for parameters of which some serve only one way into the network."""
    study = make_study(seed=0, curves=50)
    study.enqueue_trial(params)
    trial = study.ask()
    candidate = space.suggest(trial)
    assert {name: params.get(name) for name in trial.params} == trial.params  # nothing is left to chance
    assert set(params) - set(trial.params) <= {"tuned.augmentation"}
    return candidate
