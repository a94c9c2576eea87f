"""Held-out examples keep the folds of the search."""

from __future__ import annotations

import numpy as np
import pytest

from autotransfer.ending.held_out import HeldOut
from autotransfer.task import Task
from autotransfer.transfer.training import Lesson

TASK = Task(kind="binary", classes=("a", "b"))
TARGETS = np.arange(60) % 2
PARTS = np.array_split(np.random.default_rng(0).permutation(60), 3)
LESSONS = [Lesson(task=TASK, targets=TARGETS, train=np.arange(0), validation=part) for part in PARTS]


def test_examples_of_one_fold_are_judged_together() -> None:
    held_out = HeldOut.of(LESSONS, np.full((60, 2), 0.5))
    assert held_out.rows.tolist() == list(range(60))
    assert [part.tolist() for part in held_out.parts] == [sorted(part.tolist()) for part in PARTS]
    assert sorted([*held_out.but(held_out.parts[1]), *held_out.parts[1]]) == list(range(60))


def test_a_single_fold_is_dealt_into_parts() -> None:
    scores = np.full((60, 2), np.nan)
    scores[PARTS[1]] = 0.5
    held_out = HeldOut.of(LESSONS, scores)
    assert held_out.rows.tolist() == sorted(PARTS[1].tolist())
    assert held_out.targets.tolist() == TARGETS[held_out.rows].tolist()
    assert len(held_out.parts) == 5
    assert sorted(np.concatenate(held_out.parts).tolist()) == list(range(20))


def test_the_log_loss_decides_between_equal_scores_only() -> None:
    held_out = HeldOut.of(LESSONS, np.full((60, 2), 0.5))
    sure, unsure = (np.where(np.eye(2)[TARGETS] > 0, p, 1 - p) for p in (0.9, 0.6))
    assert held_out.score(sure) == held_out.score(unsure) == 1
    assert held_out.worth(unsure) < held_out.worth(sure) < 1
    worse = sure.copy()
    worse[0] = 1 - worse[0]
    assert held_out.worth(worse) < held_out.worth(unsure)
    assert held_out.worth(sure) == pytest.approx(1 - 1e-3 * TASK.log_loss(TARGETS, sure))
