"""What a score is worth where examples are few: the log loss of the same predictions says more than who is right.

One of sixty images more or less is chance, and the best of many candidates is the one that had it. Over random parts of
three data sets, what had the best accuracy on 30 to 600 images was 0.2 points worse on others, on average, than what
had the best of what is computed here.
"""

from __future__ import annotations

import numpy as np

from autotransfer.task import Task
from autotransfer.temperature import least_losses

__all__ = ["tied", "worth", "worths"]

# Log loss of a classifier for each share of its answers that is wrong: about this over 44 probes on three data sets.
_LOSS_PER_ERROR = 3.0
# Examples whose accuracy says as much as their log loss does.
_EVEN = 500
# Weight of the log loss where it only decides between equal scores.
_TIE = 1e-3


def worth(task: Task, targets: np.ndarray, scores: np.ndarray, examples: int) -> float:
    """Return the score; of an accuracy, drawn towards the one that the log loss stands for; NaN where it has none.

    It is the log loss at the best temperature: a model gets one in the end.

    Args:
        task: The task.
        targets: Encoded targets (n, ...).
        scores: Predictions (n, outputs).
        examples: Number of examples that candidates are compared on: the fewer, the more the loss counts.
    """
    if not _is_accuracy(task):
        return tied(task, targets, scores)
    return float(_drawn(targets, scores, least_losses(task, targets, scores), examples).mean())


def tied(task: Task, targets: np.ndarray, scores: np.ndarray) -> float:
    """Return the score less a trace of the log loss, which decides between equal ones."""
    return task.score(targets, scores) - _TIE * min(task.log_loss(targets, scores), 10.0)


def worths(task: Task, targets: np.ndarray, scores: np.ndarray, examples: int) -> np.ndarray | None:
    """Return what each example (n,) adds to the worth of an accuracy, about; None of other metrics.

    About, since at no temperature: one that was fitted to all of the examples would know of all in each of them.
    """
    if not _is_accuracy(task):
        return None
    losses = -np.log(np.clip(scores[np.arange(len(targets)), targets], 1e-7, 1.0))
    return _drawn(targets, scores, losses, examples)


def _is_accuracy(task: Task) -> bool:
    return task.metric == "accuracy" and task.single_label


def _drawn(targets: np.ndarray, scores: np.ndarray, losses: np.ndarray, examples: int) -> np.ndarray:
    right, said = scores.argmax(1) == targets, 1 - losses / _LOSS_PER_ERROR
    return np.asarray(right + _EVEN / (_EVEN + examples) * (said - right))
