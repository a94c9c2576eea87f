"""A score with its uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotransfer.task import Task

__all__ = ["Score", "score_interval"]


@dataclass(frozen=True, kw_only=True)
class Score:
    """A score with its uncertainty.

    Attributes:
        metric: Name of the scikit-learn scorer.
        score: Its value.
        ci95: 95% interval: Wilson's for accuracy, a bootstrap over examples otherwise.
        accuracy: Share of right predictions, for tasks with one label; None for the others.
        examples: Number of examples.
        positive_class: Which of two classes is the positive one, where the metric depends on that.
    """

    metric: str
    score: float
    ci95: tuple[float, float]
    accuracy: float | None
    examples: int
    positive_class: Any = None

    @property
    def metric_in_words(self) -> str:
        """The metric, and its positive class where it has one: ``recall of 'defect'``."""
        return self.metric if self.positive_class is None else f"{self.metric} of {self.positive_class!r}"

    @classmethod
    def of(cls, task: Task, encoded: np.ndarray, scores: np.ndarray) -> Score:
        """Score outputs against targets, both as ``Task.score`` takes them."""
        return cls(
            metric=task.metric,
            score=task.score(encoded, scores),
            ci95=score_interval(task, encoded, scores),
            accuracy=float((scores.argmax(1) == encoded).mean()) if task.single_label else None,
            examples=len(encoded),
            positive_class=task.positive_class if task.asks_for_positive else None,
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
        }

    def __str__(self) -> str:
        low, high = self.ci95
        interval = f"95% interval {low:.4f} to {high:.4f}"
        return f"{self.metric_in_words} {self.score:.4f} ({interval}, {self.examples} examples)"


def score_interval(
    task: Task, encoded: np.ndarray, scores: np.ndarray, metric: str | None = None, seed: int = 0
) -> tuple[float, float]:
    """Return the 95% interval of a score: Wilson's for accuracy, a bootstrap over examples for every other metric."""
    name = metric or task.metric
    if name == "accuracy" and task.single_label:
        return _wilson(int((scores.argmax(1) == encoded).sum()), len(encoded))
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(200):
        rows = rng.integers(0, len(encoded), len(encoded))
        if task.single_label and len(np.unique(encoded[rows])) < len(np.unique(encoded)):
            continue  # a resample that lost a class scores another task
        draws.append(task.score(encoded[rows], scores[rows], name))
    finite = [d for d in draws if math.isfinite(d)]
    if not finite:
        return (math.nan, math.nan)
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)


def _wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927)."""
    p, q = hits / n, z * z / n
    middle, half = p + q / 2, z * math.sqrt(p * (1 - p) / n + q / (4 * n))
    low, high = (middle - half) / (1 + q), (middle + half) / (1 + q)
    return max(0.0, min(low, p)), min(1.0, max(high, p))  # rounding must not leave a perfect score outside


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
