"""A score with its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotransfer.tasks.bootstrap import bootstrap_samples, count_groups, effective_count, interval_quantiles
from autotransfer.tasks.task import Task

__all__ = ["Score", "format_score", "score_interval", "wilson_interval"]

# Resamples of a bootstrap of accuracy, which takes microseconds each, and of a metric that a scorer computes.
_ACCURACY_RESAMPLES, _SCORER_RESAMPLES = 1000, 200
# Scores outside of these sizes are written with a power of ten.
_MIN_FIXED, _MAX_FIXED = 1e-6, 1e7


@dataclass(frozen=True, kw_only=True)
class Score:
    """A score with its uncertainty.

    Attributes:
        metric: Name of the scikit-learn scorer.
        score: The score.
        ci95: 95% interval; see ``score_interval``. NaN where there is none.
        accuracy: Share of right predictions in a task with one label for each example; None in other tasks.
        examples: Number of examples.
        positive_class: The positive class, where the metric depends on one.
        groups: Number of groups, such as patients or copies of one example; None where each example is a group.
        effective_examples: Number of examples of equal weight with as small an error of a mean (Kish 1965); None where
            all examples weigh the same.
    """

    metric: str
    score: float
    ci95: tuple[float, float]
    accuracy: float | None
    examples: int
    positive_class: Any = None
    groups: int | None = None
    effective_examples: float | None = None

    @property
    def metric_label(self) -> str:
        """The metric with its positive class, if any: ``recall of 'defect'``."""
        return self.metric if self.positive_class is None else f"{self.metric} of {self.positive_class!r}"

    @classmethod
    def of(
        cls,
        task: Task,
        encoded: np.ndarray,
        predictions: np.ndarray,
        group_ids: np.ndarray | None = None,
        weights: np.ndarray | None = None,
    ) -> Score:
        """Score predictions against targets.

        Args:
            task: The task.
            encoded: Targets (n, ...), as ``Task.encode`` returns them.
            predictions: Predictions (n, outputs).
            group_ids: Group (n,) of each example; None makes each example a group.
            weights: Weight (n,) of each example; None weights all examples equally.
        """
        right = task.decide(predictions) == encoded if task.single_label else None
        count = count_groups(len(encoded), group_ids)
        return cls(
            metric=task.metric,
            score=task.score(encoded, predictions, weights=weights),
            ci95=score_interval(task, encoded, predictions, group_ids=group_ids, weights=weights),
            groups=count if count < len(encoded) else None,
            accuracy=None if right is None else float(np.average(right, weights=weights)),
            effective_examples=None if weights is None else effective_count(len(encoded), weights),
            examples=len(encoded),
            positive_class=task.positive_class if task.uses_positive_class else None,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the score as JSON; NaN becomes null."""
        return {
            "metric": self.metric,
            "score": _number(self.score),
            "ci95": [_number(bound) for bound in self.ci95],
            "accuracy": self.accuracy,
            "examples": self.examples,
            "positive_class": self.positive_class,
            "groups": self.groups,
            "effective_examples": self.effective_examples,
        }

    def __str__(self) -> str:
        low, high = self.ci95
        ends = f"{format_score(low, self.score)} to {format_score(high, self.score)}"
        interval = "no interval" if math.isnan(low) else f"95% interval {ends}"
        score = format_score(self.score, max(low, high, key=abs))
        units = "" if self.groups is None else f" in {self.groups} groups"
        weighed = (
            "" if self.effective_examples is None else f", which count as {self.effective_examples:.1f} equal ones"
        )
        return f"{self.metric_label} {score} ({interval}, {self.examples} examples{units}{weighed})"


def format_score(value: float, beside: float | None = None, *, places: int = 4, sign: bool = False) -> str:
    """Return a score, or a difference of scores, as text.

    Shares, such as accuracies, have fixed decimal places. Errors in the unit of a target may have any size: a small
    value, of which fewer than two digits would be left, has as many digits as places; one from 10 on has one digit
    more.

    Args:
        value: The score or the difference.
        beside: The score that the value stands beside, such as the one that a difference is from: where both are small,
            the value has as many decimal places as the larger one of them. None where it stands alone.
        places: Decimal places of a share.
        sign: Whether a positive value has a sign.
    """
    plus, size = "+" if sign else "", abs(value)
    if not math.isfinite(size):
        return f"{value:{plus}}"
    decimals = _decimals(size, places)
    if beside is not None and math.isfinite(beside) and size < 10:
        decimals = max(min(decimals, _decimals(abs(beside), places)), min(decimals, places))
        size = max(size, abs(beside))
    if size >= _MAX_FIXED or 0 < size < _MIN_FIXED:
        return f"{value:{plus}.{places}g}"
    return f"{round(float(value), decimals) + 0.0:{plus}.{decimals}f}"  # adding 0 takes the sign off a negative zero


def _decimals(size: float, places: int) -> int:
    """Return the decimal places of a number of a size that stands alone."""
    exponent = math.floor(math.log10(size)) if size > 0 else 0
    if size >= 10:
        return max(places - exponent, 0)
    return places if exponent > -places else places - 1 - exponent


def score_interval(
    task: Task,
    encoded: np.ndarray,
    predictions: np.ndarray,
    metric: str | None = None,
    seed: int = 0,
    group_ids: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> tuple[float, float]:
    """Return the 95% interval of a score.

    Accuracy on independent examples has Wilson's interval. Other scores have the interval of a bootstrap over groups.
    Where every resample has the same score, for example since there is no error, the interval is Wilson's with the
    number of groups.

    Args:
        task: The task.
        encoded: Targets (n, ...).
        predictions: Predictions (n, outputs).
        metric: Name of a scikit-learn scorer; None takes the metric of the task.
        seed: Seed of the bootstrap.
        group_ids: Group (n,) of each example; None makes each example a group.
        weights: Weight (n,) of each example; None weights all examples equally.

    Returns:
        The ends of the interval; NaN with fewer than two groups, or where the metric is defined on no resample.
    """
    name, count = metric or task.metric, count_groups(len(encoded), group_ids)
    is_accuracy = name == "accuracy" and task.single_label
    found = task.score(encoded, predictions, name, weights=weights)
    if is_accuracy and count == len(encoded):
        return wilson_interval(found, effective_count(count, weights))
    if count < 2:
        return math.nan, math.nan
    samples = bootstrap_samples(len(encoded), group_ids, _resamples(is_accuracy), seed=seed)
    drawn = _drawn_scores(task, encoded, predictions, name, samples, weights)
    if not len(drawn):
        return math.nan, math.nan
    low, high = np.quantile(drawn, interval_quantiles(count))
    if high - low < 1e-12 and task.kind != "regression" and task.perfect_score == 1.0 and 0.0 <= found <= 1.0:
        return wilson_interval(found, min(count, effective_count(len(encoded), weights)))
    return float(low), float(high)


def _resamples(is_accuracy: bool) -> int:
    return _ACCURACY_RESAMPLES if is_accuracy else _SCORER_RESAMPLES


def _drawn_scores(
    task: Task,
    encoded: np.ndarray,
    predictions: np.ndarray,
    metric: str,
    drawn: Iterable[np.ndarray],
    weights: np.ndarray | None,
) -> np.ndarray:
    """Return the finite scores of resamples.

    Resamples that lack a class score another task and are left out, unless more than half of all resamples lack one.
    """
    if metric == "accuracy" and task.single_label:
        right = task.decide(predictions) == encoded
        each = np.ones(len(right)) if weights is None else weights
        return np.array([np.average(right[rows], weights=each[rows]) for rows in drawn])
    classes = len(np.unique(encoded)) if task.single_label else 0
    found, complete = list[float](), list[bool]()
    for rows in drawn:
        weighted = None if weights is None else weights[rows]
        found.append(task.score(encoded[rows], predictions[rows], metric, weights=weighted))
        complete.append(not task.single_label or len(np.unique(encoded[rows])) == classes)
    values = np.array(found)
    finite = np.isfinite(values)
    kept = finite & np.array(complete)
    return np.asarray(values[kept if 2 * kept.sum() >= len(values) else finite])


def wilson_interval(p: float, n: float, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion p of n (Wilson 1927)."""
    q = z * z / n
    middle, half = p + q / 2, z * math.sqrt(p * (1 - p) / n + q / (4 * n))
    low, high = (middle - half) / (1 + q), (middle + half) / (1 + q)
    return max(0.0, min(low, p)), min(1.0, max(high, p))  # rounding must not leave p outside of its interval


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
