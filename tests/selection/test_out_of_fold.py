"""Held-out examples keep the folds of the search."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autotransfer.data.folds import Fold
from autotransfer.selection.out_of_fold import OutOfFold
from autotransfer.tasks.task import Task

TASK = Task(kind="binary", classes=("a", "b"))
TARGETS = np.arange(60) % 2
PARTS = np.array_split(np.random.default_rng(0).permutation(60), 3)
FOLDS = [Fold(task=TASK, targets=TARGETS, train_rows=np.arange(0), validation_rows=part) for part in PARTS]


def test_examples_of_one_fold_are_judged_together() -> None:
    held_out = OutOfFold.of(FOLDS, np.full((60, 2), 0.5))
    assert held_out.rows.tolist() == list(range(60))
    assert [part.tolist() for part in held_out.parts] == [sorted(part.tolist()) for part in PARTS]
    assert sorted([*held_out.outside(held_out.parts[1]), *held_out.parts[1]]) == list(range(60))


def test_a_single_fold_is_dealt_into_parts() -> None:
    predictions = np.full((60, 2), np.nan)
    predictions[PARTS[1]] = 0.5
    held_out = OutOfFold.of(FOLDS, predictions)
    assert held_out.rows.tolist() == sorted(PARTS[1].tolist())
    assert held_out.targets.tolist() == TARGETS[held_out.rows].tolist()
    assert len(held_out.parts) == 5
    assert sorted(np.concatenate(held_out.parts).tolist()) == list(range(20))


def test_the_log_loss_decides_between_equal_scores_only() -> None:
    held_out = OutOfFold.of(FOLDS, np.full((60, 2), 0.5))
    sure, unsure = (np.where(np.eye(2)[TARGETS] > 0, p, 1 - p) for p in (0.9, 0.6))
    assert held_out.score(sure) == held_out.score(unsure) == 1
    assert held_out.objective(unsure) < held_out.objective(sure) < 1
    worse = sure.copy()
    worse[0] = 1 - worse[0]
    assert held_out.objective(worse) < held_out.objective(unsure)
    assert held_out.objective(sure) == pytest.approx(1 - 1e-3 * TASK.log_loss(TARGETS, sure))


def test_a_single_fold_is_dealt_by_units() -> None:
    predictions, group_ids = np.full((60, 2), np.nan), np.arange(60) // 4
    predictions[PARTS[1]] = 0.5
    folds = [replace(fold, group_ids=group_ids) for fold in FOLDS]
    held_out = OutOfFold.of(folds, predictions)
    assert held_out.group_ids is not None
    assert held_out.group_ids.tolist() == group_ids[held_out.rows].tolist()
    of = [set(held_out.group_ids[part].tolist()) for part in held_out.parts]
    assert sum(map(len, of)) == len(set.union(*of))  # none is in two parts
    assert sorted(np.concatenate(held_out.parts).tolist()) == list(range(20))
    some = held_out.take(np.array([3, 3, 5]))
    assert some.group_ids is not None
    assert some.group_ids.tolist() == held_out.group_ids[[3, 3, 5]].tolist()


def test_examples_of_one_unit_cannot_be_dealt() -> None:
    predictions = np.full((60, 2), np.nan)
    predictions[PARTS[1]] = 0.5
    held_out = OutOfFold.of([replace(fold, group_ids=np.zeros(60, dtype=int)) for fold in FOLDS], predictions)
    assert len(held_out.parts) == 1  # so that nothing is cross-fitted on it


@pytest.mark.parametrize("kind", ["binary", "multilabel", "regression"])
def test_what_a_loss_takes_averages_as_predictions_do(kind: Any) -> None:
    rng = np.random.default_rng(0)
    task = Task(kind=kind, classes=() if kind == "regression" else ("a", "b"), width=2)
    targets = {"binary": TARGETS, "multilabel": np.eye(2, dtype=np.float32)[TARGETS]}.get(kind, rng.random((60, 2)))
    held_out = OutOfFold(task=task, rows=np.arange(60), targets=targets, parts=())
    one, two = (rng.dirichlet((1, 1), 60) for _ in range(2))
    mixed = held_out.loss_terms(np.stack([one, two])).mean(0)
    assert held_out.loss_of_terms(mixed) == pytest.approx(held_out.loss((one + two) / 2))
    if kind != "regression":
        assert held_out.loss(one) == pytest.approx(task.log_loss(targets, one))
