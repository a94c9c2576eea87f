"""Objectives on one fold are those that the whole has, as far as a reference can say; no epoch is chosen by luck."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autotransfer.data.folds import Fold
from autotransfer.evaluation.checkpoints import Checkpoints
from autotransfer.evaluation.context import EvaluationContext
from autotransfer.evaluation.objective import compute_objective
from autotransfer.evaluation.objective_estimator import EpochObjectives, ObjectiveEstimator
from autotransfer.runtime.device import resolve_device
from autotransfer.tasks.task import Task

BINARY = Task(kind="binary", classes=("a", "b"))


def _context(count: int, folds: int = 5, task: Task = BINARY, group_ids: np.ndarray | None = None) -> EvaluationContext:
    rows, targets = np.arange(count), np.zeros(count, dtype=np.int64)
    if task.kind == "regression":
        targets = np.random.default_rng(0).normal(size=(count, 1))
    parts = np.array_split(rows, folds)
    made = [
        Fold(task=task, targets=targets, train_rows=np.setdiff1d(rows, part), validation_rows=part, group_ids=group_ids)
        for part in parts
    ]
    extractor: Any = None  # nothing is computed here
    return EvaluationContext(
        extractor=extractor, folds=made, device=resolve_device("cpu"), seed=0, checkpoints=Checkpoints()
    )


def _says(right: np.ndarray) -> np.ndarray:
    """Return probabilities (n, 2) of predictions of the first class that are right or not."""
    return np.where(right[:, None], [0.9, 0.1], [0.1, 0.9]).astype(np.float32)


def _on_first(context: EvaluationContext, predictions: np.ndarray) -> np.ndarray:
    whole = np.full((len(context.targets), predictions.shape[1]), np.nan, dtype=np.float32)
    rows = context.folds[0].validation_rows
    whole[rows] = predictions[rows]
    return whole


def _unasked(backbone: str) -> np.ndarray:
    raise AssertionError("nobody needs a reference")


def _fixed(predictions: np.ndarray) -> Callable[[str], np.ndarray]:
    return lambda backbone: predictions


def test_an_objective_on_all_folds_is_that_of_the_score() -> None:
    context, predictions = _context(50), _says(np.arange(50) % 5 > 0)
    found = ObjectiveEstimator(context, _unasked).objective("one", predictions)
    assert found == compute_objective(BINARY, context.targets, predictions)


def test_on_a_single_fold_no_reference_is_asked() -> None:
    context = _context(50, folds=2)
    context.folds = context.folds[:1]
    predictions = _says(np.arange(50) % 5 > 0)
    found = ObjectiveEstimator(context, _unasked).objective("one", _on_first(context, predictions))
    assert found == compute_objective(BINARY, context.targets[:25], predictions[:25])


@pytest.mark.parametrize("wrong_in_first", [0, 5, 15])
def test_what_equals_the_reference_has_its_objective(wrong_in_first: int) -> None:
    context, right = _context(500), np.arange(500) % 10 > 0
    right[:100] = np.arange(100) >= wrong_in_first
    reference = _says(right)
    estimator = ObjectiveEstimator(context, _fixed(reference))
    whole = estimator.objective("one", reference)
    assert estimator.objective("one", _on_first(context, reference)) == pytest.approx(whole, abs=1e-6)


def test_a_hard_fold_raises_an_objective_as_far_as_errors_agree() -> None:
    # an X-ray data set: 5 errors of 43 against 8, where the reference has 22 of 215; the difference alone says 0.97
    context, right = _context(215), np.ones(215, dtype=bool)
    right[:8] = right[43:57] = False
    candidate = np.arange(215) >= 5
    found = ObjectiveEstimator(context, _fixed(_says(right))).objective("one", _on_first(context, _says(candidate)))
    assert 38 / 43 + 0.01 < found < 0.96


def test_errors_that_are_unlike_those_of_the_reference_stay() -> None:
    context, right = _context(500), np.ones(500, dtype=bool)
    right[:20] = False
    candidate = np.ones(500, dtype=bool)
    candidate[50:60] = False
    found = ObjectiveEstimator(context, _fixed(_says(right))).objective("one", _on_first(context, _says(candidate)))
    assert found == pytest.approx(0.9, abs=0.01)


def test_nothing_is_better_than_perfect() -> None:
    context, right = _context(500), np.ones(500, dtype=bool)
    right[:90] = False
    candidate = np.arange(500) > 2
    reference = _fixed(_says(right))
    assert ObjectiveEstimator(context, reference).objective("one", _on_first(context, _says(candidate))) <= 1.0


@pytest.mark.parametrize("metric", ["r2", "neg_mean_absolute_error"])
def test_errors_in_units_are_carried_over_in_units(metric: str) -> None:
    context = _context(200, task=Task(kind="regression", metric=metric))
    noise = np.random.default_rng(1).normal(0, 0.1, (200, 1))
    noise[:40] *= 2  # a hard fold
    reference = (context.targets + noise).astype(np.float32)
    estimator = ObjectiveEstimator(context, _fixed(reference))
    whole = estimator.objective("one", reference)
    first = replace(context, folds=context.folds[:1])
    on_first = ObjectiveEstimator(first, _unasked).objective("one", _on_first(context, reference))
    assert on_first < whole
    assert estimator.objective("one", _on_first(context, reference)) == pytest.approx(whole)


def test_the_best_of_equal_epochs_is_no_better() -> None:
    context = _context(400, folds=2)
    context.folds = context.folds[:1]
    rng, found = np.random.default_rng(0), []
    for _ in range(30):
        epochs = [_says(rng.random(200) < 0.8) for _ in range(10)]
        objectives = EpochObjectives(context, ObjectiveEstimator(context, _unasked), "one", keeps_best=True)
        found.append([objectives.add(epoch) for epoch in epochs][-1])
        assert len(objectives.values) == 10
    best = np.mean([max(np.random.default_rng(i).binomial(200, 0.8, 10)) / 200 for i in range(30)])
    assert best > 0.83
    assert np.mean(found) == pytest.approx(0.8, abs=0.01)


def test_a_far_better_epoch_is_the_one_that_counts() -> None:
    context = _context(200, folds=2)
    context.folds = context.folds[:1]
    poor, good = _says(np.arange(100) % 2 > 0), _says(np.arange(100) % 20 > 0)
    estimator = ObjectiveEstimator(context, _unasked)
    best, last = (EpochObjectives(context, estimator, "one", keeps_best=keeps) for keeps in (True, False))
    for epoch in (poor, good, poor):
        best.add(epoch)
        last.add(epoch)
    assert best.values == pytest.approx([0.5, 0.95, 0.95], abs=0.01)
    assert last.values == pytest.approx([0.5, 0.95, 0.5], abs=0.01)


def test_a_single_group_is_not_divided() -> None:
    context = _context(20, folds=2, group_ids=np.zeros(20, dtype=np.int64))
    context.folds = context.folds[:1]
    objectives = EpochObjectives(context, ObjectiveEstimator(context, _unasked), "one", keeps_best=True)
    for share in (2, 10):
        objectives.add(_says(np.arange(10) % share > 0))
    assert objectives.values == pytest.approx([0.5, 0.9], abs=0.01)
