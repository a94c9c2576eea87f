"""What candidates are compared by: the log loss decides between equal scores, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autotransfer.evaluation.objective import compute_objective
from autotransfer.tasks.task import Task

TASK = Task(kind="multiclass", metric="accuracy", classes=("a", "b", "c"))


def test_log_loss_decides_between_equal_accuracies_only() -> None:
    targets = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    sure = np.where(np.eye(3)[targets] > 0, 0.9, 0.05)
    vague = np.where(np.eye(3)[targets] > 0, 0.4, 0.3)
    wrong = sure.copy()
    wrong[0] = (0.4, 0.6, 0.0)
    assert (
        compute_objective(TASK, targets, sure)
        > compute_objective(TASK, targets, vague)
        > compute_objective(TASK, targets, wrong)
    )


@pytest.mark.parametrize(
    ("task", "targets", "outputs"),
    [
        (TASK, [0, 1, 2], [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        (replace(TASK, metric="balanced_accuracy"), [0, 1, 2], [[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.6, 0.2, 0.2]]),
        (Task(kind="regression", metric="r2"), [[0.0], [1.0], [2.0]], [[0.1], [0.9], [2.2]]),
    ],
)
def test_the_objective_stays_near_the_score(task: Task, targets: Any, outputs: Any) -> None:
    encoded, predictions = np.asarray(targets), np.asarray(outputs, dtype=np.float32)
    score = task.score(encoded, predictions)
    assert score - 0.01 <= compute_objective(task, encoded, predictions) <= score
