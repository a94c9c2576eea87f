"""The score of the predictor that knows the training targets alone: the scale on which errors are measured."""

from __future__ import annotations

import math

import numpy as np

from autotransfer.data.folds import Fold

__all__ = ["trivial_score"]


def trivial_score(fold: Fold) -> float:
    """Return the score of predicting the shares of the training classes, or the mean of the training values.

    Where the metric is not defined for such predictions, or they are perfect, one less than the perfect score.

    Args:
        fold: Its training rows are what the predictor knows, its validation rows score it.
    """
    task, train, rows = fold.task, fold.targets[fold.train_rows], fold.validation_rows
    if task.single_label:
        constant = np.bincount(train, minlength=task.outputs) / len(train)
    else:
        constant = np.asarray(train, dtype=float).mean(axis=0)
    predictions = np.broadcast_to(constant, (len(rows), task.outputs))
    try:
        score = task.score(fold.targets[rows], predictions, weights=fold.weights_of(rows))
    except Exception:  # a metric of the user's may refuse predictions that are all equal
        score = math.nan
    perfect = task.perfect_score
    if math.isfinite(score) and (score < perfect):
        return score
    return 0.0 if math.isinf(perfect) else perfect - 1.0
