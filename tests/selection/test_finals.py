"""Finals on tiny networks and handwritten digits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotransfer.candidate import Candidate
from autotransfer.contract.registry import Registry
from autotransfer.data.sources import load_examples
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.evaluation.setup import Setup
from autotransfer.evaluation.training_cost import TrainingCost
from autotransfer.pipeline.prepare import Prepared, prepare_data
from autotransfer.runtime.device import resolve_device
from autotransfer.search.budget import Step, TimeBudget
from autotransfer.search.trials import TrialRecord, Trials
from autotransfer.selection.costs import finals_seconds, refit_seconds, seconds_for_finals
from autotransfer.selection.finals import Finalist, Finals, hold_finals
from autotransfer.selection.finals_plan import choose_finalists, plan_finals
from autotransfer.selection.fold_runner import FoldRunner
from autotransfer.settings import Budget, Compute, Settings


@pytest.fixture(scope="module")
def data(tiny_zoo: Path, digits: tuple[np.ndarray, np.ndarray]) -> Prepared:
    registry = Registry.load((tiny_zoo,))
    examples = load_examples(digits[0][:90], digits[1][:90])
    return prepare_data(examples, [registry.backbone("test_resnet")], Settings(compute=Compute(cache=False)))


@pytest.fixture
def evaluator(tiny_zoo: Path, data: Prepared) -> Evaluator:
    return Evaluator(Registry.load((tiny_zoo,)), data.extractor, data.folds, resolve_device("cpu"), seed=0)


def _record(evaluator: Evaluator, number: int, objective: float | None = None, **names: Any) -> TrialRecord:
    candidate = Candidate(backbone="test_resnet", **names)
    done = evaluator(candidate, lambda epoch, score: False, lambda: False)
    return TrialRecord(
        number=number,
        state="complete",
        candidate=candidate,
        score=done.score,
        objective=done.objective if objective is None else objective,
        depth=done.depth,
        best_epoch=done.best_epoch,
        epochs=len(done.curve),
        predictions=done.predictions,
    )


def _lucky(evaluator: Evaluator) -> TrialRecord:
    """A candidate that learns nothing, but by some luck was right about all examples of the first fold."""
    record = _record(evaluator, 0, 1.1, freeze="depth", training={"epochs": 1, "lr": 1e-9, "start": ""})
    rows = evaluator.folds[0].validation_rows
    assert record.predictions is not None
    record.predictions[rows] = np.eye(3, dtype=np.float32)[evaluator.targets[rows]]
    return record


def _trials(records: Sequence[TrialRecord]) -> Trials:
    trials = Trials()
    for record in records:
        trials.add(record)
    return trials


def _hold(
    trials: Trials,
    evaluator: Evaluator,
    data: Prepared,
    *,
    seconds: float = math.inf,
    training_cost: TrainingCost | None = None,
    expired: Callable[[], bool] = lambda: False,
) -> Finals | None:
    runner = FoldRunner(evaluator, data.resplit)
    cost, most = (runner.seconds, seconds) if training_cost is None else (training_cost.of_fold, training_cost.total)
    plan = plan_finals(trials, runner, cost, most)
    found = None if plan is None else hold_finals(plan, runner, expired=expired)
    assert plan is None or found is None or found.fits <= plan.fits
    return found


@pytest.mark.slow
def test_a_lucky_leader_is_turned_down(evaluator: Evaluator, data: Prepared) -> None:
    trials = _trials([_lucky(evaluator), _record(evaluator, 1, head="logistic")])
    assert trials.best is not None
    assert trials.best.number == 0
    found = _hold(trials, evaluator, data)
    assert found is not None
    lucky, honest = found.rows
    assert (lucky.state, honest.state, found.winner.number) == ("complete", "won", 1)
    assert lucky.score is not None
    assert honest.score is not None
    assert lucky.score < 0.7 < honest.score
    assert lucky.folds == honest.folds == 5 + 2  # the folds of the search, and the first of each of two more seeds
    assert str(found).startswith("trial 1 ")
    assert "trial 0 " in str(found)


@pytest.mark.slow
def test_a_tuned_finalist_is_scored_on_all_folds(evaluator: Evaluator, data: Prepared) -> None:
    tuned = _record(evaluator, 0, 1.1, freeze="depth", training={"epochs": 2, "start": "ridge"})
    before = tuned.predictions
    assert before is not None
    found = _hold(_trials([tuned, _record(evaluator, 1, head="ncm")]), evaluator, data)
    assert found is not None
    after = found.records[0].predictions
    assert after is not None
    assert not np.isnan(after).any()
    rows = evaluator.folds[0].validation_rows
    np.testing.assert_array_equal(after[rows], before[rows])  # what the search knew is not trained again
    assert found.records[0].score == evaluator.task.score(evaluator.targets, after)
    assert np.isnan(before).any()  # the record of the search is as it was


@pytest.mark.slow
def test_frozen_finalists_are_compared_on_further_splits(evaluator: Evaluator, data: Prepared) -> None:
    trials = _trials([_record(evaluator, i, head=head) for i, head in enumerate(("logistic", "ridge", "ncm"))])
    found = _hold(trials, evaluator, data)
    assert found is not None
    assert {row.folds for row in found.rows} == {15}
    assert all(row.spread is not None and row.spread >= 0 for row in found.rows)
    assert sum(row.state == "won" for row in found.rows) == 1
    best = max(found.rows, key=lambda row: row.score or 0.0)
    assert found.winner.number == best.number
    assert found == _hold(trials, evaluator, data)  # and once more, the same
    splits = [data.resplit(further)[0].validation_rows.tolist() for further in (0, 1, 2)]
    assert splits[0] == data.folds[0].validation_rows.tolist()
    assert len(set(map(tuple, splits))) == 3


def test_a_finalist_behind_on_every_fold_is_pruned(evaluator: Evaluator, data: Prepared) -> None:
    hopeless = _record(evaluator, 1, 0.1, head="linear", training={"epochs": 1, "lr": 1e-9, "start": ""})
    found = _hold(_trials([_record(evaluator, 0, head="logistic"), hopeless]), evaluator, data)
    assert found is not None
    assert [row.state for row in found.rows] == ["won", "pruned"]
    assert found.rows[1].folds == 5  # those of the search said enough: it was not trained again
    assert "(pruned)" in str(found)


def test_an_error_costs_its_finalist_only(
    evaluator: Evaluator, data: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [_record(evaluator, 0, 1.1, head="ridge"), _record(evaluator, 1, head="ncm")]
    known = evaluator.setup

    def setup(candidate: Candidate) -> Setup:
        if candidate.head == "ridge":
            raise RuntimeError("gone")
        return known(candidate)

    monkeypatch.setattr(evaluator, "predicted_seconds", lambda candidate: 0.0)
    monkeypatch.setattr(evaluator, "setup", setup)
    found = _hold(_trials(records), evaluator, data)
    assert found is not None
    assert [row.state for row in found.rows] == ["failed", "won"]
    assert "gone" in found.rows[0].reason


def test_the_third_finalist_is_left_out_where_time_is_short(
    evaluator: Evaluator, data: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = ("logistic", "ridge", "ncm")
    trials = _trials([_record(evaluator, i, 0.9 - i / 10, head=head) for i, head in enumerate(heads)])
    # Five folds of the search have taken what is predicted; one more fold takes a fifth of it.
    monkeypatch.setattr(evaluator, "predicted_seconds", lambda candidate: 5.0)
    for seconds, count in ((30.0, 3), (3.0, 3), (2.0, 2)):
        found = _hold(trials, evaluator, data, seconds=seconds)
        assert found is not None
        assert len(found.rows) == count
    assert _hold(trials, evaluator, data, seconds=1.9) is None
    assert _hold(_trials(trials.records[:1]), evaluator, data) is None  # no rival


@pytest.mark.parametrize(("each", "expected"), [(0.1, 1.5 * 2.0), (0.5, 6.0), (20.0, 0.0)])
def test_a_search_reserves_what_finals_need_if_they_fit(
    evaluator: Evaluator, data: Prepared, monkeypatch: pytest.MonkeyPatch, each: float, expected: float
) -> None:
    trials = _trials([_record(evaluator, i, head=head) for i, head in enumerate(("ridge", "ncm"))])
    # Both run on five folds of two more seeds; six of 100 seconds are the most that finals may take.
    monkeypatch.setattr(evaluator, "predicted_seconds", lambda candidate: 5 * each)
    folds = FoldRunner(evaluator, data.resplit)
    assert finals_seconds(trials, folds, Budget(seconds=100.0)) == pytest.approx(expected)
    assert finals_seconds(trials, folds, Budget(trials=3)) == 0.0
    assert finals_seconds(_trials(trials.records[:1]), folds, Budget(seconds=100.0)) == 0.0


def test_with_trials_finals_train_no_more_than_the_search(
    evaluator: Evaluator, data: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = ("logistic", "ridge", "ncm")
    trials = _trials([_record(evaluator, i, 0.9 - i / 10, head=head) for i, head in enumerate(heads)])
    training_cost = TrainingCost(trials, evaluator)
    monkeypatch.setattr(evaluator, "predicted_seconds", lambda candidate: 1e6)  # which nobody asks for
    fold = training_cost.of_fold(trials.records[0])
    for most, count, folds in ((9.5, 3, 3), (2.5, 2, 1)):
        training_cost.total = most * fold
        found = _hold(trials, evaluator, data, training_cost=training_cost)
        assert found is not None
        assert (len(found.rows), found.fits) == (count, count * folds)
        assert [row.fits for row in found.rows] == [folds] * count
        assert {row.folds for row in found.rows} == {5 + folds}
    training_cost.total = 1.5 * fold
    assert _hold(trials, evaluator, data, training_cost=training_cost) is None


def test_a_finalist_within_the_standard_error_is_level() -> None:
    def row(number: int, score: float, behind: float | None, **more: Any) -> Finalist:
        candidate = Candidate(backbone="one", head=f"head{number}")
        given = {"state": "complete", "spread": None, "error": 0.01, "fits": 2, **more}
        return Finalist(number=number, candidate=candidate, score=score, folds=7, behind=behind, **given)

    rows = (row(0, 0.95, None, state="won", error=None), row(1, 0.945, 0.005), row(2, 0.9, 0.05), row(3, 0.96, -0.01))
    record = TrialRecord(number=0, state="complete", candidate=rows[0].candidate)
    text = str(Finals(rows=rows, records=(), winner=record))
    assert text == (
        "trial 0 0.9500 on 7 folds; trial 1 0.9450 (within the standard error), trial 2 0.9000, "
        "trial 3 0.9600 (within the standard error)"
    )
    assert rows[1].to_json()["behind"] == 0.005


def test_the_gap_between_finalists_comes_with_its_error(evaluator: Evaluator, data: Prepared) -> None:
    trials = _trials([_record(evaluator, i, head=head) for i, head in enumerate(("logistic", "ncm"))])
    found = _hold(trials, evaluator, data)
    assert found is not None
    won, other = sorted(found.rows, key=lambda row: row.state != "won")
    assert (won.behind, won.error) == (None, None)
    assert won.score is not None
    assert other.score is not None
    assert other.behind == pytest.approx(won.score - other.score)
    assert other.error is not None
    assert other.error > 0


@pytest.mark.parametrize("metric", ["accuracy", "f1_macro"])
def test_on_few_folds_the_error_is_that_of_a_paired_bootstrap(
    evaluator: Evaluator, data: Prepared, metric: str
) -> None:
    folds = [replace(fold, task=replace(fold.task, metric=metric)) for fold in data.folds[:1]]
    single = Evaluator(evaluator.registry, data.extractor, folds, evaluator.device, seed=0)
    trials = _trials([_record(single, i, head=head) for i, head in enumerate(("ncm", "knn"))])
    runner = FoldRunner(single, lambda split: folds if split < 2 else ())
    plan = plan_finals(trials, runner, lambda record: 1.0, 9.0)
    assert plan is not None
    assert len(plan.folds) == 2
    found = hold_finals(plan, runner)
    assert found is not None
    (other,) = [row for row in found.rows if row.state != "won"]
    assert other.behind is not None
    assert other.error is not None
    assert 0 < other.error < 0.2


def test_finals_without_time_decide_nothing(evaluator: Evaluator, data: Prepared) -> None:
    trials = _trials([_record(evaluator, i, head=head) for i, head in enumerate(("logistic", "ridge"))])
    assert _hold(trials, evaluator, data, expired=lambda: True) is None


def _written(number: int, head: str, seconds: float = 0.0) -> TrialRecord:
    return TrialRecord(
        number=number,
        state="complete",
        candidate=Candidate(backbone="one", head=head, head_params={"C": number}),
        objective=1 - number / 9,
        seconds=seconds,
        predictions=np.zeros((1, 2), dtype=np.float32),
    )


def test_finalists_are_of_different_setups() -> None:
    copies = [_written(i, "logistic") for i in range(4)]
    assert [r.number for r in choose_finalists(_trials(copies))] == [0, 1, 2]
    more = [*copies, _written(4, "ridge")]
    assert [r.number for r in choose_finalists(_trials(more))] == [0, 1, 4]
    assert [r.number for r in choose_finalists(_trials([*more, _written(5, "knn")]))] == [0, 4, 5]


def test_finals_leave_later_steps_what_they_reserved(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    refits = {0: 4.0, 1: 9.0, 2: 26.0}  # the last one takes more than a quarter of the budget: it does not happen
    monkeypatch.setattr("autotransfer.selection.costs.refit_seconds", lambda record, evaluator: refits[record.number])
    trials = _trials([_written(i, head, seconds=30.0) for i, head in enumerate(("logistic", "ridge", "ncm"))])
    time_budget = TimeBudget(Budget(seconds=100.0), clock=lambda: 0.0)
    time_budget.count_earlier(20.0)
    assert seconds_for_finals(trials, evaluator, time_budget) == 80.0 - 9.0
    reserved: dict[Step, float] = {"finals": 6.0, "ensemble": 5.0, "test_views": 3.0, "refit": 4.0, "test": 2.0}
    for step, seconds in reserved.items():
        time_budget.reserve(step, seconds)
    assert seconds_for_finals(trials, evaluator, time_budget) == 80.0 - (5.0 + 3.0 + 9.0 + 2.0)
    time_budget.reserve("refit", 10.0)
    assert seconds_for_finals(trials, evaluator, time_budget) == 80.0 - (5.0 + 3.0 + 10.0 + 2.0)
    assert seconds_for_finals(trials, evaluator, time_budget, workers=3) == 30.0, "no longer than the search"


def test_a_refit_takes_its_share_of_epochs_and_all_examples(
    evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = Candidate(backbone="test_resnet", freeze="depth")
    record = TrialRecord(number=0, state="complete", candidate=candidate, best_epoch=3, epochs=12, seconds=16.0)
    monkeypatch.setattr(evaluator, "predicted_seconds", lambda candidate: 8.0)
    factor = len(evaluator.targets) / len(evaluator.folds[0].train_rows)
    assert refit_seconds(record, evaluator) == pytest.approx(16.0 / 4 * factor)
    paused = replace(record, state="paused", best_epoch=2, epochs=2, seconds=1.0)  # of twelve that it is planned for
    assert refit_seconds(paused, evaluator) == pytest.approx(8.0 / 12 * 2 * factor)
