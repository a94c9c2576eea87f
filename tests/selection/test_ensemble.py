"""An ensemble is used where it is better, and only there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autotransfer.candidate import Candidate
from autotransfer.data.folds import Fold
from autotransfer.search.trials import TrialRecord
from autotransfer.selection.ensemble import choose_ensemble, ensemble_candidates
from autotransfer.selection.out_of_fold import OutOfFold
from autotransfer.tasks.task import Task

TASK = Task(kind="binary", classes=("a", "b"))
TARGETS = np.arange(200) % 2


def _record(number: int, predictions: np.ndarray | None, **names: Any) -> TrialRecord:
    candidate = Candidate(**{"backbone": "one", "head": f"head{number}", **names})
    objective = 0.9 - number / 100
    return TrialRecord(
        number=number, state="complete", candidate=candidate, objective=objective, predictions=predictions
    )


def _held_out(predictions: np.ndarray) -> OutOfFold:
    parts = np.array_split(np.arange(200), 5)
    folds = [Fold(task=TASK, targets=TARGETS, train_rows=np.arange(0), validation_rows=part) for part in parts]
    return OutOfFold.of(folds, predictions)


def _says(right: np.ndarray) -> np.ndarray:
    """Return probabilities (200, 2) that give the right class so much."""
    predictions = np.empty((200, 2), dtype=np.float32)
    predictions[np.arange(200), TARGETS], predictions[np.arange(200), 1 - TARGETS] = right, 1 - right
    return predictions


def _complementary() -> tuple[np.ndarray, np.ndarray]:
    """Return two predictors, each of which is wrong by little on fifty examples that the other knows."""
    one, two = np.full(200, 0.9), np.full(200, 0.9)
    shuffled = np.random.default_rng(0).permutation(200)
    one[shuffled[:50]], two[shuffled[50:100]] = 0.45, 0.45
    return _says(one), _says(two)


def test_two_that_complement_each_other_are_better_together() -> None:
    one, two = _complementary()
    found = choose_ensemble([_record(0, one), _record(1, two)], _held_out(one))
    assert found is not None
    assert found.is_better
    assert found.gain == pytest.approx(0.25)  # 150 of 200 become 200
    assert [member.trial for member in found.members] == [0, 1]
    assert sum(member.weight for member in found.members) == pytest.approx(1)


def test_what_a_limit_forbids_together_is_no_ensemble() -> None:
    one, two = _complementary()
    records, held_out = [_record(0, one), _record(1, one), _record(2, two)], _held_out(one)
    free = choose_ensemble(records, held_out)
    limited = choose_ensemble(records, held_out, lambda chosen: 2 not in chosen)
    assert free is not None
    assert limited is not None
    assert 2 in {member.trial for member in free.members}
    assert {member.trial for member in limited.members} <= {0, 1}
    assert not limited.is_better
    assert np.allclose(limited.predictions, one)  # the other parts chose within the limit, too


def test_copies_are_refused() -> None:
    rng = np.random.default_rng(0)
    one = _says(np.clip(rng.normal(0.6, 0.2, 200), 0.01, 0.99))
    copies = [_record(i, np.clip(one + rng.normal(0, 0.002, one.shape), 0, 1).astype(np.float32)) for i in range(1, 6)]
    found = choose_ensemble([_record(0, one), *copies], _held_out(one))
    assert found is not None
    assert not found.is_better


def test_what_luck_in_choosing_brings_is_refused() -> None:
    # Eight predictors that know nothing: weights that fit these examples do not fit others.
    draws = [_says(np.random.default_rng(seed).random(200)) for seed in range(8)]
    draws.sort(key=lambda predictions: -TASK.score(TARGETS, predictions))
    pool = [_record(i, predictions) for i, predictions in enumerate(draws)]
    found = choose_ensemble(pool, _held_out(draws[0]))
    assert found is not None
    assert len(found.members) > 1  # on the examples themselves there was something to gain
    assert not found.is_better


def test_what_a_temperature_mends_needs_no_ensemble() -> None:
    # Both are far too sure of themselves, and wrong about the same examples: together they are only less sure.
    rng = np.random.default_rng(0)
    wrong = rng.random(200) < 0.2
    one, two = (_says(np.where(wrong, 1 - sure, sure)) for sure in (0.9999, 0.9))
    found = choose_ensemble([_record(0, one), _record(1, two)], _held_out(one))
    assert found is not None
    assert len(found.members) > 1
    assert not found.is_better


@pytest.mark.parametrize(("metric", "better"), [("accuracy", True), ("f1_macro", False)])
def test_only_accuracy_may_be_given_for_much_less_loss(metric: str, better: bool) -> None:
    # Both are wrong about twenty, the first one surely; luck made it right about three more that it does not know.
    order = np.random.default_rng(0).permutation(200)
    one, two = np.full(200, 0.9), np.full(200, 0.9)
    one[order[:20]], one[order[20:23]] = 0.001, 0.51
    two[order[:20]], two[order[20:23]] = 0.45, 0.2
    task = Task(kind="binary", classes=("a", "b"), metric=metric)
    parts = np.array_split(np.arange(200), 5)
    folds = [Fold(task=task, targets=TARGETS, train_rows=np.arange(0), validation_rows=part) for part in parts]
    found = choose_ensemble([_record(0, _says(one)), _record(1, _says(two))], OutOfFold.of(folds, _says(one)))
    assert found is not None
    assert found.gain < 0 < found.loss_reduction
    assert found.is_better is better


def test_regressions_are_averaged_where_that_lowers_the_error() -> None:
    rng = np.random.default_rng(0)
    targets = rng.normal(5.0, 3.0, (200, 1)).astype(np.float32)
    task = Task(kind="regression", metric="r2")
    parts = np.array_split(np.arange(200), 5)
    folds = [Fold(task=task, targets=targets, train_rows=np.arange(0), validation_rows=part) for part in parts]
    guesses = [(targets + rng.normal(0, 1.0, targets.shape)).astype(np.float32) for _ in range(2)]
    found = choose_ensemble([_record(i, guess) for i, guess in enumerate(guesses)], OutOfFold.of(folds, guesses[0]))
    assert found is not None
    assert found.is_better
    assert 0.3 < found.loss_reduction < 0.7  # half of the variance of the errors


def test_there_are_at_most_five_members() -> None:
    rng = np.random.default_rng(0)
    predictions = [_says(np.clip(0.55 + rng.normal(0, 0.3, 200), 0.01, 0.99)) for _ in range(8)]
    found = choose_ensemble([_record(i, s) for i, s in enumerate(predictions)], _held_out(predictions[0]))
    assert found is not None
    assert 2 < len(found.members) <= 5
    assert found.is_better


def test_one_alone_is_no_ensemble() -> None:
    one, _ = _complementary()
    assert choose_ensemble([_record(0, one)], _held_out(one)) is None


def test_candidates_are_the_best_trial_of_each_setup() -> None:
    one, two = _complementary()
    partly = two.copy()
    partly[40:] = np.nan
    records = [
        _record(0, one, head="ridge"),
        _record(1, two, head="ridge"),  # a copy of the setup
        _record(2, two, head="knn"),
        _record(3, partly, head="linear"),  # has not scored all
        _record(4, None, head="ncm"),
        _record(5, one, head="knn"),
        _record(6, one, head="ridge", backbone="two"),
    ]
    assert [record.number for record in ensemble_candidates(records[0], records)] == [0, 2, 6]
    assert [record.number for record in ensemble_candidates(records[3], records)] == [3, 0, 2, 6]


def test_a_paused_trial_is_a_member_like_any() -> None:
    one, two = _complementary()
    paused = replace(_record(1, two), state="paused")
    pruned = replace(_record(2, two), state="pruned")
    pool = ensemble_candidates(_record(0, one), [_record(0, one), paused, pruned])
    assert [record.number for record in pool] == [0, 1]


def test_examples_of_one_group_count_once_in_the_error() -> None:
    one, two = _complementary()
    pool = [_record(0, one), _record(1, two)]
    plain = choose_ensemble(pool, _held_out(one))
    parts = np.array_split(np.arange(200), 5)
    order = np.argsort(one[np.arange(200), TARGETS], kind="stable")
    group_ids = np.empty(200, dtype=np.int64)
    group_ids[order] = np.arange(200) // 10  # who errs together is of one unit
    folds = [
        Fold(task=TASK, targets=TARGETS, train_rows=np.arange(0), validation_rows=part, group_ids=group_ids)
        for part in parts
    ]
    grouped = choose_ensemble(pool, OutOfFold.of(folds, one))
    assert plain is not None
    assert grouped is not None
    assert grouped.error > 2 * plain.error
