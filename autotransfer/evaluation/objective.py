"""The objective, which the search maximises: the score, and between equal scores the log loss."""

from __future__ import annotations

import numpy as np

from autotransfer.tasks.task import Task

__all__ = ["compute_objective"]

# Weight of the log loss: small enough that it only decides between equal scores.
LOG_LOSS_WEIGHT = 1e-3
# Greatest log loss that counts, in nats: one prediction that is sure and wrong must not outweigh a score.
MAX_LOG_LOSS = 10.0


def compute_objective(
    task: Task, targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Return the score less a small share of the log loss; NaN where the metric is not defined.

    Args:
        task: The task.
        targets: Encoded targets (n, ...).
        predictions: Probabilities or values (n, outputs).
        weights: Weight (n,) of each example; None weights all examples equally.
    """
    loss = min(task.log_loss(targets, predictions, weights), MAX_LOG_LOSS)
    return task.score(targets, predictions, weights=weights) - LOG_LOSS_WEIGHT * loss
