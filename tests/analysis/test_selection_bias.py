"""Selection bias on candidates whose true scores are known."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from fixtures.selected import make_selected

from autotransfer.analysis.selection_bias import SelectionBias, estimate_selection_bias
from autotransfer.data.folds import Fold
from autotransfer.search.trials import TrialRecord, Trials
from autotransfer.selection.ensemble import choose_ensemble, ensemble_candidates
from autotransfer.selection.out_of_fold import OutOfFold
from autotransfer.selection.selected_model import SelectedModel
from autotransfer.tasks.task import Task

MakeRecord = Callable[..., TrialRecord]
BINARY = Task(kind="binary", classes=("no", "yes"))


def _trials(
    make_record: MakeRecord,
    task: Task,
    targets: np.ndarray,
    skills: list[float],
    *,
    scored: int | None = None,
    seed: int = 1,
) -> Trials:
    """Return candidates that are right with a probability each; of examples of which the first so many are scored."""
    rng, trials, outputs = np.random.default_rng(seed), Trials(), task.outputs
    for number, skill in enumerate(skills):
        wrong = (targets + rng.integers(1, outputs, len(targets))) % outputs
        named = np.where(rng.random(len(targets)) < skill, targets, wrong)
        predictions = np.eye(outputs, dtype=np.float32)[named] * 0.8 + 0.1
        predictions[scored:] = np.nan if scored else predictions[scored:]
        rows = slice(scored)
        trials.add(make_record(number, task.score(targets[rows], predictions[rows]), predictions=predictions))
    return trials


def _fold(task: Task, targets: np.ndarray, units: np.ndarray | None = None) -> Fold:
    return Fold(
        task=task, targets=targets, train_rows=np.arange(0), validation_rows=np.arange(len(targets)), group_ids=units
    )


def _asked(trials: Trials, fold: Fold) -> SelectionBias | None:
    best = trials.best
    assert best is not None
    predictions = np.full((len(fold.targets), 2), np.nan) if best.predictions is None else best.predictions
    return estimate_selection_bias(make_selected(predictions, best.number), trials, fold)


def _estimate(
    trials: Trials, task: Task, targets: np.ndarray, units: np.ndarray | None = None
) -> tuple[float, SelectionBias]:
    best = trials.best
    assert best is not None
    assert best.score is not None
    found = _asked(trials, _fold(task, targets, units))
    assert found is not None
    assert found.bias == pytest.approx(best.score - found.unbiased_estimate)
    return best.score, found


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy"])
def test_the_best_of_many_coins_is_no_better_than_a_coin(make_record: MakeRecord, metric: str) -> None:
    task, targets = replace(BINARY, metric=metric), np.random.default_rng(0).integers(0, 2, 100)
    best, found = _estimate(_trials(make_record, task, targets, [0.5] * 200), task, targets)
    assert best > 0.6
    assert found.unbiased_estimate == pytest.approx(0.5, abs=0.04)
    assert (found.candidates, found.tried) == (200, 200)


def test_a_candidate_far_ahead_has_hardly_any_bias(make_record: MakeRecord) -> None:
    targets = np.random.default_rng(0).integers(0, 2, 400)
    best, found = _estimate(_trials(make_record, BINARY, targets, [0.5] * 50 + [0.9]), BINARY, targets)
    assert best > 0.85
    assert found.bias < 0.01


def test_more_candidates_have_more_bias(make_record: MakeRecord) -> None:
    targets = np.random.default_rng(0).integers(0, 2, 100)
    few, many = (
        _estimate(_trials(make_record, BINARY, targets, [0.7] * count), BINARY, targets)[1].bias for count in (3, 100)
    )
    assert many > few + 0.02


@pytest.mark.parametrize("weights", [None, np.arange(1.0, 31.0)], ids=["equal", "weighted"])
@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy"])
def test_the_fast_way_scores_as_the_metric_does(
    make_record: MakeRecord, metric: str, weights: np.ndarray | None
) -> None:
    # The vectorised scores, against scikit-learn's on the very examples, of which some classes may be missing.
    from autotransfer.analysis.selection_bias import _scores

    task = Task(kind="multiclass", classes=(0, 1, 2), metric=metric)
    rng = np.random.default_rng(2)
    targets = rng.integers(0, 3, 30)
    records = list(_trials(make_record, task, targets, [0.5, 0.6, 0.7]))
    assert records[2].predictions is not None
    records[2].predictions[20:] = np.nan  # scored on a part only
    draws = rng.multinomial(30, np.full(30, 1 / 30), size=8)
    fast = _scores(records, replace(_fold(task, targets), weights=weights), np.arange(30), draws)
    for draw, row in zip(draws, fast, strict=True):
        for record, score in zip(records, row, strict=True):
            rows = np.repeat(np.arange(30), draw)
            rows = rows[rows < 20] if record is records[2] else rows
            assert record.predictions is not None
            weighted = None if weights is None else weights[rows]
            expected = task.score(targets[rows], record.predictions[rows], weights=weighted)
            assert score == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["roc_auc", "neg_log_loss", "f1"])
def test_any_metric_will_do(make_record: MakeRecord, metric: str) -> None:
    task, targets = replace(BINARY, metric=metric), np.random.default_rng(0).integers(0, 2, 100)
    best, found = _estimate(_trials(make_record, task, targets, [0.5] * 30), task, targets)
    assert 0 < found.bias < 1
    assert found.unbiased_estimate < best
    assert found.candidates < found.tried == 30  # each score is a call of a scorer: the leaders have to do


def test_a_regression_has_an_unbiased_estimate(make_record: MakeRecord) -> None:
    task, rng = Task(kind="regression", metric="r2"), np.random.default_rng(0)
    targets, trials = rng.normal(size=(60, 1)).astype(np.float32), Trials()
    for number in range(20):
        outputs = (targets + rng.normal(size=(60, 1))).astype(np.float32)
        trials.add(make_record(number, task.score(targets, outputs), predictions=outputs))
    best, found = _estimate(trials, task, targets)
    assert 0 < found.bias < 0.5
    assert found.unbiased_estimate < best


def test_candidates_of_one_fold_keep_their_handicap(make_record: MakeRecord) -> None:
    # A lucky fold: tuned candidates are right on all of it. The search took their luck off, so they never win.
    targets = np.random.default_rng(0).integers(0, 2, 100)
    plain = _trials(make_record, BINARY, targets, [0.8] * 5)
    before = _estimate(plain, BINARY, targets)[1]
    for record in _trials(make_record, BINARY, targets, [1.0] * 5, scored=20):
        plain.add(replace(record, number=record.number + 5, objective=0.5))
    after = _estimate(plain, BINARY, targets)[1]
    assert after.candidates == 10
    assert after.bias == pytest.approx(before.bias, abs=0.03)


def test_a_winner_of_one_fold_is_estimated_on_it(make_record: MakeRecord) -> None:
    # Of forty examples one estimate errs by some points: the mean of many must not.
    targets = np.random.default_rng(0).integers(0, 2, 200)
    trials = [_trials(make_record, BINARY, targets, [0.5] * 20, scored=40, seed=seed) for seed in range(100, 130)]
    scores, found = zip(*(_estimate(each, BINARY, targets) for each in trials), strict=True)
    assert np.mean(scores) > 0.6
    assert np.mean([each.unbiased_estimate for each in found]) == pytest.approx(0.5, abs=0.03)


def test_where_there_is_no_choice_there_is_nothing_to_correct(make_record: MakeRecord) -> None:
    targets = np.array([0, 1] * 50)
    alone = _trials(make_record, BINARY, targets, [0.8])
    few = _trials(make_record, BINARY, targets[:6], [0.8, 0.7])
    forgotten = Trials([make_record(i, 0.5 + i / 10) for i in range(3)])
    for trials, truth in ((alone, targets), (few, targets[:6]), (forgotten, targets)):
        assert _asked(trials, _fold(BINARY, truth)) is None


def test_equal_seeds_give_equal_estimates_in_little_time(make_record: MakeRecord) -> None:
    task = Task(kind="multiclass", classes=tuple(range(10)))
    targets = np.random.default_rng(0).integers(0, 10, 1000)
    trials = _trials(make_record, task, targets, [0.8] * 300)
    started = time.process_time()
    first = _estimate(trials, task, targets)
    assert time.process_time() - started < 3.0  # a second where nobody shares the machine
    assert _estimate(trials, task, targets) == first


@pytest.mark.slow
def test_an_ensemble_of_lucky_coins_has_the_estimate_of_a_coin(make_record: MakeRecord) -> None:
    # Its weights are cross-fitted, but its members were chosen on all examples: the choice is repeated, too.
    scores, estimates = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        targets, trials = rng.integers(0, 2, 60), Trials()
        for number in range(150):
            sure = rng.random(60).astype(np.float32)
            outputs = np.stack([sure, 1 - sure], 1)
            trials.add(make_record(number, BINARY.score(targets, outputs), predictions=outputs, head=f"head{number}"))
        best, fold = trials.best, _fold(BINARY, targets)
        assert best is not None
        assert best.predictions is not None
        held_out = OutOfFold.of([fold], best.predictions)
        ensemble = choose_ensemble(ensemble_candidates(best, trials), held_out)
        assert ensemble is not None
        selected = SelectedModel(members=ensemble.members, predictions=ensemble.predictions)
        found = estimate_selection_bias(selected, trials, fold)
        assert found is not None
        score = BINARY.score(targets, ensemble.predictions)
        assert found.unbiased_estimate == pytest.approx(score - found.bias)
        scores.append(score)
        estimates.append(found.unbiased_estimate)
    assert np.mean(scores) > 0.6
    assert np.mean(estimates) == pytest.approx(0.5, abs=0.05)


def test_examples_of_one_group_are_drawn_together(make_record: MakeRecord) -> None:
    # Twenty groups whose examples are all right or all wrong: the best of many coins on twenty, not on two hundred.
    units = np.arange(200) // 10
    targets = np.random.default_rng(0).integers(0, 2, 20)
    few = _trials(make_record, BINARY, targets, [0.5] * 50)
    trials = Trials()
    for record in few:
        assert record.predictions is not None
        trials.add(replace(record, predictions=np.repeat(record.predictions, 10, axis=0)))
    whole = np.repeat(targets, 10)
    best, found = _estimate(trials, BINARY, whole, units)
    assert best > 0.7
    assert found.unbiased_estimate == pytest.approx(0.5, abs=0.1)
    assert _estimate(trials, BINARY, whole)[1].unbiased_estimate > 0.7  # as if there were two hundred coins
    assert _asked(trials, _fold(BINARY, whole, np.arange(200) // 40)) is None  # five are too few to draw from


def test_a_paused_winner_has_an_unbiased_estimate(make_record: MakeRecord) -> None:
    targets = np.random.default_rng(0).integers(0, 2, 100)
    trials = _trials(make_record, BINARY, targets, [0.5] * 40)
    assert trials.best is not None
    before = _estimate(trials, BINARY, targets)
    trials.add(replace(trials.best, state="paused"))
    assert _estimate(trials, BINARY, targets) == before
