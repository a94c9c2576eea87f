"""The winner against random weights: tiny networks, really trained, on handwritten digits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures.selected import make_selected
from torch import nn

from autotransfer.analysis.backbone_ranking import rank_backbones
from autotransfer.analysis.transfer_gain import TransferGain, is_undertrained, measure_transfer_gain
from autotransfer.candidate import Candidate
from autotransfer.contract.backbone import Backbone, SequentialBackbone
from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import BackboneSpec
from autotransfer.data.sources import load_examples
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.pipeline.prepare import prepare_data
from autotransfer.runtime.device import resolve_device
from autotransfer.search.budget import TimeBudget
from autotransfer.search.trials import TrialRecord, Trials
from autotransfer.selection.costs import transfer_gain_seconds
from autotransfer.settings import Budget, Compute, DataOptions, Settings
from autotransfer_plugins.modalities.image.formats import Preprocessing

TRIALS = TimeBudget(Budget(trials=1))
# Of a search that has trained so much that it bounds nothing.
LONG = Trials(
    [
        TrialRecord(
            number=0, state="complete", candidate=Candidate(backbone="test_resnet"), objective=0.5, epochs=1000,
            seconds=1000.0, depth=0,
        )
    ]
)  # fmt: skip


def _network(recipe: Mapping[str, Any] | None) -> SequentialBackbone:
    def stage(inputs: int, outputs: int) -> nn.Module:
        convolution = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())

    how = Preprocessing(size=(32, 32), crop_fraction=1.0)
    return SequentialBackbone({"stem": stage(3, 16), "top": stage(16, 32)}, preprocessing=how, width=32, recipe=recipe)


def _harmful(recipe: Mapping[str, Any] | None) -> SequentialBackbone:
    """Return a backbone that has unlearned to see: whatever the image, its features are the same."""
    backbone = _network(recipe)
    with torch.no_grad():
        next(backbone.body["top"].parameters()).zero_()
    return backbone


class Sources:
    """A plugin of backbones that do harm: a good one, one that cannot be rebuilt, one that comes back as it was."""

    @hookimpl
    def register_backbones(self, register: Callable[[BackboneSpec], None]) -> None:
        recipes = {"harmful": {"plugin": "harm", "fresh": True}, "lost": None, "stubborn": {"plugin": "harm"}}
        for name, recipe in recipes.items():

            def load(recipe: Mapping[str, Any] | None = recipe) -> Backbone:
                torch.manual_seed(7)
                return _harmful(recipe)

            register(BackboneSpec(name=name, modality="image", load=load, source="nothing good"))

    @hookimpl
    def rebuild_backbone(self, recipe: Mapping[str, Any]) -> Backbone | None:
        if recipe.get("plugin") != "harm":
            return None
        if recipe.get("fresh"):
            return _network(recipe)
        torch.manual_seed(7)
        return _harmful(recipe)


@pytest.fixture(scope="module")
def evaluator(tiny_zoo: Path, digits: tuple[np.ndarray, np.ndarray]) -> Evaluator:
    registry = Registry.load((tiny_zoo,), plugins=[Sources()])
    specs = [registry.backbone(name) for name in ("test_resnet", "harmful")]
    data = prepare_data(
        load_examples(*digits), specs, Settings(compute=Compute(cache=False), data_options=DataOptions(folds=3))
    )
    return Evaluator(registry, data.extractor, data.folds, resolve_device("cpu"), seed=0)


def _winner(evaluator: Evaluator, **parts: Any) -> TrialRecord:
    """Return the trial of a candidate as the search would record it."""
    candidate = Candidate(**{"backbone": "test_resnet", "head": "ridge", **parts})
    found = evaluator(candidate, lambda epoch, score: False, lambda: False)
    return TrialRecord(
        number=0, state="complete", candidate=candidate, score=found.score, objective=found.objective,
        depth=found.depth, predictions=found.predictions, seconds=1.0,
    )  # fmt: skip


def _measure(
    winner: TrialRecord, evaluator: Evaluator, time_budget: TimeBudget, epochs: int, trials: Trials = LONG
) -> TransferGain:
    assert winner.predictions is not None
    selected = make_selected(winner.predictions, winner.number)
    return measure_transfer_gain(winner, selected, trials, evaluator, time_budget, epochs)


class Ticking:
    """A clock that goes on by a tenth of a second whenever it is read: every step of training reads it."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 0.1
        return self.now


def test_random_weights_are_trained_and_scored_like_the_winner(evaluator: Evaluator) -> None:
    winner = _winner(evaluator)
    found = _measure(winner, evaluator, TRIALS, epochs=4)
    fold = evaluator.folds[0]
    assert winner.predictions is not None
    outputs = winner.predictions[fold.validation_rows]
    assert found.score == fold.task.score(fold.targets[fold.validation_rows], outputs)
    assert found.examples == len(fold.validation_rows)
    assert (found.epochs, found.head, found.reason) == (4, "ridge", "")
    assert found.from_scratch is not None
    assert found.random_features is not None
    assert found.baseline == max(found.from_scratch, found.random_features)
    assert found.gain == found.score - found.baseline  # one baseline: what sources are compared with, too
    assert found.steps == 4 * math.ceil(len(fold.train_rows) / 32)
    assert found.baseline_predictions is not None
    assert fold.task.score(fold.targets[fold.validation_rows], found.baseline_predictions) == found.baseline
    assert found.random_features > 0.5  # of three classes; even random features tell digits
    assert 0.2 < found.from_scratch <= 1.0


def test_equal_seeds_give_equal_gains_and_the_winner_stays(evaluator: Evaluator) -> None:
    winner = _winner(evaluator)
    before = {name: tensor.clone() for name, tensor in evaluator.load("test_resnet").backbone.state_dict().items()}
    one, two = (_measure(winner, evaluator, TRIALS, epochs=2) for _ in range(2))
    assert replace(one, seconds=0.0) == replace(two, seconds=0.0)
    after = evaluator.load("test_resnet").backbone.state_dict()
    assert all(torch.equal(before[name], tensor) for name, tensor in after.items())


def test_a_harmful_backbone_has_a_negative_gain(evaluator: Evaluator) -> None:
    harmed, unharmed = _winner(evaluator, backbone="harmful"), replace(_winner(evaluator), number=1)
    found = _measure(harmed, evaluator, TRIALS, epochs=60)
    assert harmed.score is not None
    assert harmed.score < 0.5
    assert found.gain is not None
    assert found.gain < -0.2
    assert found.verdict == "negative_transfer"
    rows = rank_backbones(
        [harmed, unharmed], {"harmful": 2, "test_resnet": 5}, {}, evaluator.folds[0], found.baseline_predictions
    )
    assert [(row.backbone, row.negative_transfer) for row in rows][-1] == ("harmful", True)


@pytest.mark.parametrize(
    ("backbone", "reason"),
    [("lost", "'lost' has no recipe to build it from"), ("stubborn", "'stubborn' comes back with its weights")],
)
def test_a_backbone_without_a_recipe_is_not_compared(evaluator: Evaluator, backbone: str, reason: str) -> None:
    found = _measure(_winner(evaluator, backbone=backbone), evaluator, TRIALS, epochs=2)
    assert (found.from_scratch, found.random_features, found.gain, found.baseline) == (None, None, None, None)
    assert reason in found.reason


def test_whatever_fails_becomes_a_reason(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    # The search is over and has its result: nothing here may cost it.
    def fail(self: Registry, recipe: Mapping[str, Any]) -> Backbone:
        raise RuntimeError("out of luck")

    winner = _winner(evaluator)
    monkeypatch.setattr(Registry, "rebuild", fail)
    found = _measure(winner, evaluator, TRIALS, epochs=2)
    assert (found.from_scratch, found.reason) == (
        None,
        "The backbone 'test_resnet (random weights)' failed: RuntimeError: out of luck",
    )


@pytest.mark.parametrize(("start", "head"), [("logistic", "logistic"), ("", "")])
def test_random_features_take_the_start_head_of_the_winner(evaluator: Evaluator, start: str, head: str) -> None:
    training = {"epochs": 1, "start": start}
    winner = _winner(evaluator, head="linear", freeze="depth", training=training)
    found = _measure(winner, evaluator, TRIALS, epochs=1)
    assert (found.head, found.random_features is None) == (head, head == "")
    assert found.from_scratch is not None


@pytest.mark.slow
def test_a_time_budget_is_kept(evaluator: Evaluator) -> None:
    winner = replace(_winner(evaluator), seconds=1000.0)
    time_budget = TimeBudget(Budget(seconds=8.0), clock=Ticking())
    found = _measure(winner, evaluator, time_budget, epochs=3)
    assert found.from_scratch is not None
    assert found.epochs > 3  # what is there is used
    assert 4.0 < time_budget.spent < 8.5  # a tick or two for looking at the clock


@pytest.mark.slow
def test_a_search_that_ended_early_does_not_make_it_long(evaluator: Evaluator) -> None:
    time_budget = TimeBudget(Budget(seconds=40.0), clock=Ticking())
    found = _measure(_winner(evaluator), evaluator, time_budget, epochs=1000)
    assert found.epochs > 3
    assert time_budget.spent < 0.25 * 40 + 2


@pytest.mark.slow
def test_random_weights_get_the_epochs_of_a_candidate_at_least(evaluator: Evaluator) -> None:
    found = _measure(_winner(evaluator), evaluator, TimeBudget(Budget(seconds=1000.0), clock=Ticking()), epochs=3)
    assert found.epochs == 3  # the winner took a second, which is less than three epochs here
    long = replace(_winner(evaluator), seconds=10.0)
    more = _measure(long, evaluator, TimeBudget(Budget(seconds=1000.0), clock=Ticking()), epochs=3)
    assert more.epochs > 6


def test_without_time_nothing_is_begun(evaluator: Evaluator) -> None:
    clock = Ticking()
    time_budget = TimeBudget(Budget(seconds=5.0), clock=clock)
    clock.now += 4.5
    found = _measure(_winner(evaluator), evaluator, time_budget, epochs=3)
    assert (found.from_scratch, found.random_features, found.reason) == (None, None, "no time was left")
    assert found.score > 0.5


def test_the_time_ends_within_the_first_epoch(evaluator: Evaluator) -> None:
    class Leap(Ticking):
        def __call__(self) -> float:
            self.now += 0.9
            return self.now

    found = _measure(_winner(evaluator), evaluator, TimeBudget(Budget(seconds=5.0), clock=Leap()), epochs=3)
    assert found.from_scratch is None
    assert found.reason == "the time ran out before the first epoch ended"


def test_a_twentieth_of_the_time_is_reserved_if_it_buys_an_epoch(
    evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reserved(budget: Budget) -> float:
        return transfer_gain_seconds(budget, evaluator, "test_resnet")

    monkeypatch.setattr(evaluator, "epoch_seconds", lambda name: 12.0)
    assert reserved(Budget(seconds=300.0)) == pytest.approx(15.0)
    assert reserved(Budget(seconds=10.0)) == 0.0
    assert reserved(Budget(trials=10)) == 0.0
    monkeypatch.setattr(evaluator, "epoch_seconds", lambda name: 20.0)
    assert reserved(Budget(seconds=300.0)) == 0.0


def test_the_comparison_is_json() -> None:
    found = TransferGain(
        score=0.9, from_scratch=0.5, random_features=0.6, head="ridge", examples=40, epochs=3, seconds=1.5
    )
    row = found.to_json()
    assert row.pop("gain") == pytest.approx(0.3)
    assert row.pop("baseline") == found.baseline == 0.6
    assert TransferGain(**row) == found


@pytest.mark.filterwarnings("ignore:Mean of empty slice:RuntimeWarning")  # scikit-learn's, up to 1.7
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_a_metric_that_the_first_fold_leaves_undefined_is_said(evaluator: Evaluator) -> None:
    winner = _winner(evaluator)
    fold = replace(evaluator.folds[0], validation_rows=evaluator.folds[0].validation_rows[:0])
    blind = Evaluator(evaluator.registry, evaluator.extractor, [fold], evaluator.device, seed=0)
    found = _measure(winner, blind, TRIALS, epochs=1)
    assert (found.verdict, found.gain) == ("not_compared", None)
    assert found.reason == "the metric 'accuracy' is not defined on the first fold"
    assert found.to_json()["score"] is None


@pytest.mark.parametrize(
    ("epochs", "steps", "little"), [(1, 20, True), (12, 36, True), (4, 900, True), (5, 50, False), (1, 1000, False)]
)
def test_few_steps_or_epochs_leave_a_baseline_undertrained(epochs: int, steps: int, little: bool) -> None:
    assert is_undertrained(epochs, steps) is little


def test_one_epoch_leaves_the_baseline_undertrained(evaluator: Evaluator) -> None:
    found = _measure(_winner(evaluator), evaluator, TRIALS, epochs=1)
    assert found.gain is not None
    assert found.epochs == 1
    assert found.verdict == "undertrained_baseline"


@pytest.mark.slow
def test_with_trials_a_baseline_trains_half_of_the_search(
    evaluator: Evaluator,
) -> None:
    winner = _winner(evaluator)
    tuned = replace(LONG.records[0], epochs=24)

    def found(*records: TrialRecord) -> TransferGain:
        return _measure(winner, evaluator, TRIALS, 12, Trials(list(records)))

    # An epoch from random weights takes as long as two of the search's.
    assert found(tuned).epochs == 6
    frozen = found(replace(winner, seconds=1e6))
    assert (frozen.from_scratch, frozen.epochs) == (None, 0)
    assert "a single epoch would take more" in frozen.reason
    assert frozen.random_features is not None


def test_the_gain_is_that_of_the_model(evaluator: Evaluator) -> None:
    winner = _winner(evaluator)
    right = np.eye(3, dtype=np.float32)[evaluator.targets]
    ensemble = make_selected(right, 0, 4)
    found = measure_transfer_gain(winner, ensemble, Trials([winner]), evaluator, TRIALS, 1)
    assert found.score == 1.0
