"""A score with its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotransfer.tasks.bootstrap import bootstrap_samples, count_groups, interval_quantiles
from autotransfer.tasks.task import Task

__all__ = ["Score", "score_interval"]

# Resamples of a bootstrap: of accuracy, which costs next to nothing, and of a metric that a scorer computes.
_DRAWS, _SLOW_DRAWS = 1000, 200


@dataclass(frozen=True, kw_only=True)
class Score:
    """A score with its uncertainty.

    Attributes:
        metric: Name of the scikit-learn scorer.
        score: Its value.
        ci95: 95% interval; see ``score_interval``. NaN where nothing can be said.
        accuracy: Share of right predictions, for tasks with one label; None for the others.
        examples: Number of examples.
        positive_class: Which of two classes is the positive one, where the metric depends on that.
        groups: Number of sets of examples that belong together, such as groups and copies; None where each example is
            by itself.
    """

    metric: str
    score: float
    ci95: tuple[float, float]
    accuracy: float | None
    examples: int
    positive_class: Any = None
    groups: int | None = None

    @property
    def metric_label(self) -> str:
        """The metric, and its positive class where it has one: ``recall of 'defect'``."""
        return self.metric if self.positive_class is None else f"{self.metric} of {self.positive_class!r}"

    @classmethod
    def of(cls, task: Task, encoded: np.ndarray, predictions: np.ndarray, group_ids: np.ndarray | None = None) -> Score:
        """Score outputs against targets, both as ``Task.score`` takes them.

        Args:
            task: The task.
            encoded: Targets (n, ...).
            predictions: Predictions (n, outputs).
            group_ids: Number (n,) of the set that each example belongs to; None means that each is by itself.
        """
        count = count_groups(len(encoded), group_ids)
        return cls(
            metric=task.metric,
            score=task.score(encoded, predictions),
            ci95=score_interval(task, encoded, predictions, group_ids=group_ids),
            groups=count if count < len(encoded) else None,
            accuracy=float((predictions.argmax(1) == encoded).mean()) if task.single_label else None,
            examples=len(encoded),
            positive_class=task.positive_class if task.uses_positive_class else None,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the score as JSON; null where it is not defined, since JSON has no NaN."""
        return {
            "metric": self.metric,
            "score": _number(self.score),
            "ci95": [_number(bound) for bound in self.ci95],
            "accuracy": self.accuracy,
            "examples": self.examples,
            "positive_class": self.positive_class,
            "groups": self.groups,
        }

    def __str__(self) -> str:
        low, high = self.ci95
        interval = "no interval can be told" if math.isnan(low) else f"95% interval {low:.4f} to {high:.4f}"
        units = "" if self.groups is None else f" in {self.groups} groups"
        return f"{self.metric_label} {self.score:.4f} ({interval}, {self.examples} examples{units})"


def score_interval(
    task: Task,
    encoded: np.ndarray,
    predictions: np.ndarray,
    metric: str | None = None,
    seed: int = 0,
    group_ids: np.ndarray | None = None,
) -> tuple[float, float]:
    """Return the 95% interval of a score.

    It is Wilson's for accuracy where examples are independent, and a bootstrap otherwise: over examples, or over units
    where some examples belong together. Where every resample scores the same, as without any error, it is Wilson's of
    the number of units: no few examples are beyond doubt.

    Args:
        task: The task.
        encoded: Targets (n, ...).
        predictions: Predictions (n, outputs).
        metric: Name of a scikit-learn scorer; None means the task's.
        seed: Seed of the bootstrap.
        group_ids: Number (n,) of the set that each example belongs to; None means that each is by itself.

    Returns:
        Its ends; NaN where fewer than two units, or no defined resample, say nothing.
    """
    name, count = metric or task.metric, count_groups(len(encoded), group_ids)
    plain, found = name == "accuracy" and task.single_label, task.score(encoded, predictions, name)
    if plain and count == len(encoded):
        return _wilson(found, count)
    if count < 2:
        return math.nan, math.nan
    drawn = _drawn_scores(
        task, encoded, predictions, name, bootstrap_samples(len(encoded), group_ids, _draws(plain), seed=seed)
    )
    if not len(drawn):
        return math.nan, math.nan
    low, high = np.quantile(drawn, interval_quantiles(count))
    if high - low < 1e-12 and task.kind != "regression" and task.perfect_score == 1.0 and 0.0 <= found <= 1.0:
        return _wilson(found, count)
    return float(low), float(high)


def _draws(plain: bool) -> int:
    return _DRAWS if plain else _SLOW_DRAWS


def _drawn_scores(
    task: Task, encoded: np.ndarray, predictions: np.ndarray, metric: str, drawn: Iterable[np.ndarray]
) -> np.ndarray:
    """Return the finite scores of resamples: of those that hold all classes, where half of them do.

    A resample that lost a class scores another task; but where classes are small, hardly any has all of them.
    """
    if metric == "accuracy" and task.single_label:
        right = predictions.argmax(1) == encoded
        return np.array([right[rows].mean() for rows in drawn])
    kinds = len(np.unique(encoded)) if task.single_label else 0
    found, whole = list[float](), list[bool]()
    for rows in drawn:
        found.append(task.score(encoded[rows], predictions[rows], metric))
        whole.append(not task.single_label or len(np.unique(encoded[rows])) == kinds)
    values, holds_all = np.array(found), np.array(whole)
    finite = np.isfinite(values)
    kept = finite & holds_all
    return np.asarray(values[kept if 2 * kept.sum() >= len(values) else finite])


def _wilson(p: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a proportion of n (Wilson 1927)."""
    q = z * z / n
    middle, half = p + q / 2, z * math.sqrt(p * (1 - p) / n + q / (4 * n))
    low, high = (middle - half) / (1 + q), (middle + half) / (1 + q)
    return max(0.0, min(low, p)), min(1.0, max(high, p))  # rounding must not leave a perfect score outside


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
