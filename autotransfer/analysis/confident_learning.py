"""Confident learning: which labels disagree with what networks say that did not train on these examples.

Source: Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels" (JAIR 2021). What is
here follows the paper: thresholds of self-confidence by class, and examples that are counted off the diagonal of the
confident joint. A regression has no classes: there, an outlier among the residuals is suspected.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import erfc

from autotransfer.tasks.task import Task

__all__ = ["Suspicion", "suspect"]

# Residuals beyond this many robust standard deviations are suspected: of normal ones, none among 10^8.
MAX_ROBUST_Z = 6.0
# Factor from the median absolute deviation to the standard deviation of normal values.
_MAD_TO_DEVIATION = 1.4826
# Probabilities that differ by less are equal.
_ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class Suspicion:
    """How well labels fit to predictions.

    Attributes:
        scores: How well the label fits, from 0 to 1 (n, k): k is 1 for tasks of one label, else the number of labels or
            targets. The lower, the more it is suspected.
        disagrees: Whether the label is counted as wrong (n, k).
        order: Positions in the flattened ``scores``, the most suspected first.
    """

    scores: np.ndarray
    disagrees: np.ndarray
    order: np.ndarray

    @property
    def estimated(self) -> int:
        """How many labels are estimated to be wrong."""
        return int(self.disagrees.sum())


def suspect(task: Task, targets: np.ndarray, predictions: np.ndarray) -> Suspicion:
    """Judge each label by what networks predict that did not train on it.

    Args:
        task: The task.
        targets: Encoded targets (n, ...).
        predictions: Out-of-fold predictions (n, outputs).
    """
    if task.kind == "regression":
        residuals = predictions - targets
        residuals = np.abs(residuals - np.median(residuals, 0))
        spread = _MAD_TO_DEVIATION * np.median(residuals, 0)
        z = residuals / np.where(spread > 0, spread, np.inf)
        return Suspicion(scores=erfc(z / np.sqrt(2)), disagrees=z > MAX_ROBUST_Z, order=_ascending(-z))
    if task.single_label:
        disagrees = (_confident_classes(targets, predictions) != targets)[:, None]
        scores = predictions[np.arange(len(targets)), targets][:, None]
    else:
        given = (targets > 0.5).astype(np.int64)
        pairs = [np.stack([1 - column, column], 1) for column in predictions.T]
        found = [_confident_classes(own, pair) != own for own, pair in zip(given.T, pairs, strict=True)]
        disagrees = np.stack(found, 1)
        scores = np.where(given > 0, predictions, 1 - predictions)
    scores = scores.astype(np.float64)
    return Suspicion(scores=scores, disagrees=disagrees, order=_ascending(scores))


def _confident_classes(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the class (n,) that each example is confidently counted as; the given one where that is none.

    It is the most probable one of the classes whose probability reaches their threshold, which is the mean probability
    of the class over the examples that are labelled so.
    """
    classes = probabilities.shape[1]
    counts = np.bincount(targets, minlength=classes)
    own = probabilities[np.arange(len(targets)), targets]
    sums = np.bincount(targets, weights=own, minlength=classes)
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    able = np.where(probabilities >= thresholds - _ROUNDING, probabilities, -1.0)
    able[np.arange(len(targets)), targets] += _ROUNDING  # of equal classes, the given one
    return np.where(able.max(1) >= 0, able.argmax(1), targets)


def _ascending(values: np.ndarray) -> np.ndarray:
    return np.argsort(values, axis=None, kind="stable")
