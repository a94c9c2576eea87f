"""What candidates are compared by: their score, and between equal ones the log loss."""

from __future__ import annotations

import numpy as np

from autotransfer.tasks.task import Task

__all__ = ["worth"]

# Weight of the log loss: it only decides between equal scores.
_TIE = 1e-3


def worth(task: Task, targets: np.ndarray, scores: np.ndarray) -> float:
    """Return the score less a trace of the log loss; NaN where the metric has none.

    Args:
        task: The task.
        targets: Encoded targets (n, ...).
        scores: Predictions (n, outputs).
    """
    return task.score(targets, scores) - _TIE * min(task.log_loss(targets, scores), 10.0)
