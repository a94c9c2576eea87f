"""What the strategy of a fit expects: levels of the task, seconds of each kind of candidate, and no backbone loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from autotransfer.contract.registry import Registry
from autotransfer.evaluation import loaded_backbones
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.evaluation.setup import startable
from autotransfer.pipeline.expectations import predicted_seconds, strategy_context
from autotransfer.pipeline.prepare_search import PreparedSearch
from autotransfer.search.space import SearchSpace
from autotransfer.search.strategy import make_strategy
from autotransfer.search.strategy_context import StrategyContext
from autotransfer.search.trials import Trials
from autotransfer.search.variants import Variants

Make = Callable[..., Evaluator]
NAMES = ("test_resnet", "test_vit")
EPOCHS = 8


class Prepared:
    """A search over two tiny backbones, of which one has twice as many multiply-accumulates."""

    def __init__(self, registry: Registry, evaluator: Evaluator, heads: tuple[str, ...]) -> None:
        self.evaluator, kind = evaluator, evaluator.task.kind
        self.specs = tuple(
            replace(registry.backbone(name), gmacs=gmacs) for name, gmacs in zip(NAMES, (0.2, 0.4), strict=True)
        )
        self.space = SearchSpace(
            backbones=self.specs,
            heads=tuple(registry.select_heads(heads, kind)),
            policies=tuple(registry.select_policies(("frozen", "depth"))),
            starts=startable(registry.select_heads((), kind), evaluator.task.outputs),
            stages=evaluator.stages,
            epochs=EPOCHS,
            examples=60,
            augmentations=("none", "light"),
            views=(1, 2),
        )

    def context(self, *, timed: bool = True, inline: bool = True) -> StrategyContext:
        about: dict[str, Any] = {
            "evaluator": self.evaluator,
            "space": self.space,
            "variants": Variants(backbones=self.specs, first=self.specs, after={}, unusual=frozenset({"test_vit"})),
            "costs": SimpleNamespace(admits_views=lambda backbone, views: views < 4),
            "data": None,
            "choices": None,
        }
        return strategy_context(PreparedSearch(**about), is_timed=timed, is_inline=inline)


@pytest.fixture
def prepared(registry: Registry, make: Make) -> Callable[..., Prepared]:
    return lambda *heads: Prepared(registry, make(), heads or ("ridge", "linear"))


def _screening(context: StrategyContext, backbone: str, views: int = 1) -> float:
    """Return the predicted seconds of a screening."""
    params = next(dict(params) for params in context.screening if params["backbone"] == backbone)
    return context.seconds_of({**params, "views": views})


def test_levels_are_those_of_the_task(prepared: Any) -> None:
    found = prepared()
    context = found.context()
    assert context.levels.perfect == found.evaluator.task.perfect_score
    assert context.levels(context.levels.trivial) == pytest.approx(0.0, abs=0.03)
    assert 0.0 < context.levels.trivial < 0.5
    assert context.outputs == found.evaluator.task.outputs
    assert context.examples == len(found.evaluator.folds[0].train_rows)


def test_a_time_budget_has_rungs_and_trials_have_an_end(prepared: Any) -> None:
    found = prepared()
    timed, counted = found.context(), found.context(timed=False)
    assert timed.curves.rungs == (2, 4, 8)
    assert counted.curves.rungs == (8,)
    assert timed.is_timed
    assert not counted.is_timed


def test_to_expect_the_screening_loads_no_backbone(prepared: Any) -> None:
    found = prepared()
    context = found.context()
    first, second = (_screening(context, name) for name in NAMES)
    assert 0.0 < first < second, "it has twice the multiply-accumulates"
    assert second < _screening(context, NAMES[1], views=2)
    assert make_strategy(context).next(Trials(), 60.0) is not None
    assert not any(found.evaluator.is_loaded(name) for name in NAMES)


def test_the_measured_pace_of_one_backbone_is_that_of_others(prepared: Any) -> None:
    found = prepared()
    context = found.context()
    measured = found.evaluator.pass_seconds("test_resnet")
    two, three = (_screening(context, "test_vit", views) for views in (2, 3))
    assert three - two == pytest.approx(2.0 * measured), "a view is a pass, of twice the multiply-accumulates"
    assert not found.evaluator.is_loaded("test_vit")


def test_no_backbone_is_loaded_again_to_predict_its_seconds(prepared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = prepared()
    context = found.context()
    before, params = _screening(context, "test_vit"), context.tuning("test_vit", 1)
    assert params is not None
    assert found.evaluator.is_loaded("test_vit"), "its depths are those of its stages"
    known = _screening(context, "test_vit"), context.epoch_seconds(params)
    assert known[0] != before, "a measured speed says more than multiply-accumulates"
    monkeypatch.setattr(loaded_backbones, "MAX_LOADED_BACKBONES", 1)
    found.evaluator.load("test_resnet")
    assert not found.evaluator.is_loaded("test_vit")
    assert (_screening(context, "test_vit"), context.epoch_seconds(params)) == known
    assert _screening(context, "test_resnet") > 0.0
    assert found.evaluator.pass_seconds("test_vit") > 0.0
    assert not found.evaluator.is_loaded("test_vit")


def test_epochs_and_draws_take_more_than_nothing(prepared: Any) -> None:
    context = prepared().context()
    start, each = context.tuned_seconds("test_vit")
    assert start >= 0.0
    assert each > 0.0
    assert context.drawn_seconds("test_vit", 1) > 0.0
    params = context.tuning("test_vit", 1)
    assert params is not None
    assert context.epoch_seconds(params)[1] > 0.0


@pytest.mark.parametrize(
    ("timed", "inline", "measures"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_a_step_is_timed_where_seconds_count_in_this_process(
    prepared: Any, timed: bool, inline: bool, measures: bool
) -> None:
    found = prepared()
    assert found.context(timed=timed, inline=inline).measure_training({"backbone": "test_resnet"}) is measures


def test_a_longer_training_is_predicted_to_take_longer(prepared: Any) -> None:
    found = prepared()
    params = found.space.tuning("test_vit", 1)
    one, four = (predicted_seconds(found.space, found.evaluator, params, epochs) for epochs in (1, 4))
    assert four > one > 0.0


def test_without_a_head_for_stages_all_of_them_count(prepared: Any) -> None:
    found = prepared("ridge")
    context = found.context()
    assert context.tuning("test_vit", 1) is None
    start, each = context.tuned_seconds("test_vit")
    assert (start, each) == (0.0, found.evaluator.epoch_seconds("test_vit"))


def test_forms_and_limits_are_passed_on(prepared: Any) -> None:
    context = prepared().context()
    assert context.distant == {"test_vit"}
    assert context.admits_views("test_vit", 2)
    assert not context.admits_views("test_vit", 4)
    assert set(context.backbones or ()) == set(NAMES)
    assert [context.stages(name) > 1 for name in NAMES] == [True, True]


def test_a_form_differs_by_resolution_or_by_framing(prepared: Any) -> None:
    found = prepared()
    spec = found.specs[0]
    large, framed = replace(spec, name="x@64px", input_size=(3, 64, 64)), replace(spec, name="x@cut")
    variants = Variants(
        backbones=(spec, large, framed),
        first=(spec,),
        after={large.name: spec.name, framed.name: spec.name},
        unusual=frozenset(),
    )
    given: dict[str, Any] = {"evaluator": found.evaluator, "space": found.space, "data": None, "choices": None}
    costs: Any = SimpleNamespace(admits_views=lambda backbone, views: True)
    context = strategy_context(PreparedSearch(**given, variants=variants, costs=costs), is_timed=True, is_inline=True)
    assert [context.kind_of_form(form) for form in variants.after] == ["resolution", "framing"]
