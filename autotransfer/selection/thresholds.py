"""Thresholds of decisions, for metrics that judge decisions and not probabilities, such as F1.

The probability of one half is the best threshold for accuracy alone. Where positives are rare, F1, Jaccard's index,
balanced accuracy, Matthews' coefficient and Cohen's kappa want a lower one. As scikit-learn's
``TunedThresholdClassifierCV`` does, thresholds are chosen on out-of-fold probabilities. What they bring is measured on
examples that did not choose them. Precision and recall have no best threshold: one that predicts nearly nothing, or
everything, would win.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from autotransfer.selection.decision_scores import Counts, DecisionMetric
from autotransfer.selection.out_of_fold import OutOfFold
from autotransfer.tasks.bootstrap import paired_standard_error
from autotransfer.tasks.task import Task

__all__ = ["Thresholds", "choose_thresholds", "shifted"]

# Thresholds that are tried for a label.
MAX_CUTS = 200
# Range of thresholds: beyond it, a model would answer the same for nearly all examples.
MIN_THRESHOLD, MAX_THRESHOLD = 0.01, 0.99
# What a label counts against its probability. Labels alone are noisy, probabilities alone may be too low or too high:
# with both, F1 on new examples was 0.005 to 0.02 higher for calibrated probabilities, and 0.015 lower for others. Tuned
# on drawn tasks of two classes with 200 to 2,000 examples.
LABEL_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What thresholds change, on examples that they were not chosen on.

    Attributes:
        thresholds: As in ``Task``; empty where one half is as good.
        score_before: Score by the threshold of one half.
        score_after: Score by the chosen thresholds, each part of the examples by those of the other parts; that before
            where one half is as good.
        error: Standard error of the difference between the two scores; 0 where one half is as good.
        predictions: Probabilities (n, outputs), shifted so that a decision at one half is the decision by the
            thresholds of the other parts.
    """

    thresholds: tuple[float, ...]
    score_before: float
    score_after: float
    error: float
    predictions: np.ndarray = field(repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return the thresholds as JSON, without predictions."""
        return {
            "thresholds": list(self.thresholds),
            "score_before": self.score_before,
            "score_after": self.score_after,
            "error": self.error,
        }


def choose_thresholds(held_out: OutOfFold, probabilities: np.ndarray) -> Thresholds | None:
    """Choose thresholds on out-of-fold probabilities, and judge them by cross-fitting.

    Several labels get one threshold in common; or one each, where these score higher by more than the standard error.

    Args:
        held_out: The examples.
        probabilities: Their probabilities (n, outputs), at the temperature of the model.

    Returns:
        The thresholds; None where no threshold can improve on one half: the metric does not depend on decisions, or
        examples have one of many classes.
    """
    metric, before = DecisionMetric.of(held_out.task), held_out.score(probabilities)
    if metric is None or len(held_out.parts) < 2:
        return None
    choose, *others = _choices(held_out.task, metric)
    predictions = _cross_fitted(held_out, probabilities, choose)
    for other in others:
        found = _cross_fitted(held_out, probabilities, other)
        if held_out.score(found) - held_out.score(predictions) > _error(held_out, found, predictions):
            choose, predictions = other, found
    if not (after := held_out.score(predictions)) > before:
        return Thresholds(thresholds=(), score_before=before, score_after=before, error=0.0, predictions=probabilities)
    return Thresholds(
        thresholds=choose(held_out.targets, probabilities, held_out.weights),
        score_before=before,
        score_after=after,
        error=_error(held_out, predictions, probabilities),
        predictions=predictions,
    )


def _error(held_out: OutOfFold, one: np.ndarray, other: np.ndarray) -> float:
    """Return the standard error of the difference of two scores."""
    return paired_standard_error(held_out.task, held_out.targets, one, other, held_out.group_ids, held_out.weights)


def shifted(task: Task, probabilities: np.ndarray, thresholds: tuple[float, ...]) -> np.ndarray:
    """Return probabilities (n, outputs) whose decisions at one half are those of the given ones by thresholds."""
    if not thresholds:
        return probabilities
    given, cuts = probabilities.astype(np.float64), np.array(thresholds)
    above: np.ndarray = given > cuts
    moved: np.ndarray = np.where(above, 1 - (1 - given) * 0.5 / (1 - cuts), given * 0.5 / cuts).astype(np.float32)
    half = np.float32(0.5)
    moved = np.where(above, np.maximum(moved, np.nextafter(half, np.float32(1))), np.minimum(moved, half))
    return np.stack([1 - moved[:, 1], moved[:, 1]], axis=1) if task.kind == "binary" else moved


Choose = Callable[["np.ndarray", "np.ndarray", "np.ndarray | None"], tuple[float, ...]]
"""Chooses thresholds for targets (n, ...) and probabilities (n, outputs) of examples with weights (n,)."""


def _choices(task: Task, metric: DecisionMetric) -> tuple[Choose, ...]:
    """Return the ways to choose thresholds, the one with the fewest first."""
    if task.kind == "binary":
        return (partial(_of_two_classes, task, metric),)
    return partial(_in_common, metric), partial(_of_each_label, metric)


def _cross_fitted(held_out: OutOfFold, probabilities: np.ndarray, choose: Choose) -> np.ndarray:
    """Return probabilities that are shifted, each part by the thresholds that the other parts choose."""
    found = np.array(probabilities)
    for part in held_out.parts:
        outside = held_out.outside(part)
        weights = None if held_out.weights is None else held_out.weights[outside]
        thresholds = choose(held_out.targets[outside], probabilities[outside], weights)
        found[part] = shifted(held_out.task, probabilities[part], thresholds)
    return found


def _of_two_classes(
    task: Task, metric: DecisionMetric, targets: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None
) -> tuple[float, ...]:
    """Return the thresholds of two classes, which sum to 1."""
    positive = 1 if task.positive_class is None else task.classes.index(task.positive_class)
    truth, of_positive = (targets == positive).astype(np.float64), probabilities[:, positive]
    cuts = _cuts(of_positive)
    found = cuts[metric.values(_counts(truth, of_positive, cuts, weights)).argmax()].item()
    return (1.0 - found, found) if positive else (found, 1.0 - found)


def _of_each_label(
    metric: DecisionMetric, targets: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None
) -> tuple[float, ...]:
    """Return the threshold of each label by itself."""
    found = []
    for truth, of_label in zip(targets.T, probabilities.T, strict=True):
        cuts = _cuts(of_label)
        found.append(cuts[metric.function(_counts(truth, of_label, cuts, weights)).argmax()].item())
    return tuple(found)


def _in_common(
    metric: DecisionMetric, targets: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None
) -> tuple[float, ...]:
    """Return one threshold for all labels: that of all decisions, or the best mean over the labels."""
    cuts = _cuts(probabilities.ravel())
    if metric.average == "macro":
        labels = zip(targets.T, probabilities.T, strict=True)
        values = np.mean([metric.function(_counts(truth, one, cuts, weights)) for truth, one in labels], axis=0)
    else:
        each = None if weights is None else np.repeat(weights, targets.shape[1])
        values = metric.function(_counts(targets.ravel(), probabilities.ravel(), cuts, each))
    return tuple([cuts[values.argmax()].item()] * len(targets.T))


def _counts(truth: np.ndarray, probabilities: np.ndarray, cuts: np.ndarray, weights: np.ndarray | None) -> Counts:
    return Counts.of(LABEL_SHARE * truth + (1 - LABEL_SHARE) * probabilities, probabilities, cuts, weights)


def _cuts(probabilities: np.ndarray) -> np.ndarray:
    """Return thresholds to try: quantiles of the probabilities."""
    quantiles = np.quantile(probabilities.astype(np.float64), np.linspace(0, 1, MAX_CUTS))
    return np.unique(np.clip(quantiles, MIN_THRESHOLD, MAX_THRESHOLD))
