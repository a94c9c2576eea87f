"""Precision, recall and F1 of each class or label, with intervals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np

from autotransfer.tasks.bootstrap import bootstrap_samples, count_groups, interval_quantiles
from autotransfer.tasks.score import wilson_interval
from autotransfer.tasks.task import Task

__all__ = ["ClassScore", "Estimate", "score_classes"]

# Resamples of a bootstrap, and the number of drawn examples in all of them: where examples are many, fewer resamples
# say as much.
MAX_RESAMPLES, MIN_RESAMPLES, MAX_DRAWN_EXAMPLES = 200, 20, 4_000_000
# Weightings of all examples that are in memory at a time: resamples are many.
WEIGHTINGS_AT_A_TIME = 16
# Width of an interval below which all resamples count as equal.
MIN_WIDTH = 1e-12


class Estimate(NamedTuple):
    """A share with its 95% interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """How well one class is found.

    Attributes:
        label: The class.
        examples: Number of examples that have it, whatever they weigh.
        predicted: Number of examples that it is predicted for, whatever they weigh.
        precision: Share of the predicted ones that have it; like the others, by the weights of the examples.
        recall: Share of those that have it for which it is predicted.
        f1: Harmonic mean of the two.
    """

    label: Any
    examples: int
    predicted: int
    precision: Estimate
    recall: Estimate
    f1: Estimate

    def to_json(self) -> dict[str, Any]:
        """Return the scores as JSON."""
        return asdict(self)


class _Counts(NamedTuple):
    """Sums (..., classes) of the weights of right predictions, of predictions, and of examples."""

    right: np.ndarray
    predicted: np.ndarray
    examples: np.ndarray

    def shares(self) -> np.ndarray:
        """Return precision, recall and F1 (..., 3, classes); NaN where one is not defined."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.stack(
                [
                    self.right / self.predicted,
                    self.right / self.examples,
                    2 * self.right / (self.predicted + self.examples),
                ],
                axis=-2,
            )


def score_classes(
    task: Task,
    encoded: np.ndarray,
    predictions: np.ndarray,
    group_ids: np.ndarray | None = None,
    *,
    weights: np.ndarray | None = None,
    seed: int = 0,
) -> tuple[ClassScore, ...]:
    """Score each class, in the order of the classes; a regression has none.

    Precision and recall of independent examples have Wilson's interval. F1 has that of a bootstrap, and so have all
    three where examples come in groups. Where all resamples are equal, since there is no error, the interval is
    Wilson's. Where examples have weights, Wilson's interval is that of as many equal ones (Kish 1965).

    Args:
        task: The task, with the thresholds by which it decides.
        encoded: Targets (n, ...).
        predictions: Probabilities (n, classes).
        group_ids: Group (n,) of each example; None makes each example a group.
        weights: Weight (n,) of each example; None weights all examples equally.
        seed: Seed of the bootstrap.
    """
    if task.kind == "regression":
        return ()
    ones, groups = np.ones(len(encoded)), count_groups(len(encoded), group_ids)
    each = ones if weights is None else weights
    resamples = int(np.clip(MAX_DRAWN_EXAMPLES // len(encoded), MIN_RESAMPLES, MAX_RESAMPLES)) if groups > 1 else 0
    samples = bootstrap_samples(len(encoded), group_ids, resamples, seed=seed)
    drawn = (each * np.bincount(rows, minlength=len(encoded)) for rows in samples)
    counts = _count_each(task, encoded, task.decide(predictions), chain([each, each**2, ones], drawn))
    sums, squares, numbers = (_Counts(*(part[i] for part in counts)) for i in range(3))
    found, low, high = sums.shares(), *_wilson(sums, squares)
    if resamples:
        ends = _quantiles(counts.shares()[3:], interval_quantiles(groups))
        replaced = (ends[1] - ends[0] > MIN_WIDTH) & np.array([[groups < len(encoded)]] * 2 + [[True]])
        low, high = np.where(replaced, ends[0], low), np.where(replaced, ends[1], high)
    low, high = np.fmin(low, found), np.fmax(high, found)
    rows = []
    for number, label in enumerate(task.classes):
        estimates = [_estimate(found[kind, number], low[kind, number], high[kind, number]) for kind in range(3)]
        rows.append(
            ClassScore(
                label=label,
                examples=int(numbers.examples[number]),
                predicted=int(numbers.predicted[number]),
                precision=estimates[0],
                recall=estimates[1],
                f1=estimates[2],
            )
        )
    return tuple(rows)


def _count_each(task: Task, encoded: np.ndarray, decided: np.ndarray, weightings: Iterator[np.ndarray]) -> _Counts:
    """Return sums (k, classes), one for each of k weightings (n,) of the examples."""
    parts = list[_Counts]()
    while some := list(islice(weightings, WEIGHTINGS_AT_A_TIME)):
        parts.append(_count(task, encoded, decided, np.stack(some)))
    return _Counts(*map(np.concatenate, zip(*parts, strict=True)))


def _count(task: Task, encoded: np.ndarray, decided: np.ndarray, weights: np.ndarray) -> _Counts:
    """Return sums (k, classes), one for each of k weightings (k, n) of the examples."""
    if task.single_label:
        classes = len(task.classes)
        pairs = ((encoded, weights * (decided == encoded)), (decided, weights), (encoded, weights))
        return _Counts(
            *(np.stack([np.bincount(labels, one, classes) for one in weightings]) for labels, weightings in pairs)
        )
    there = encoded > 0
    return _Counts(*(weights @ labels.astype(np.float64) for labels in (there & decided, decided, there)))


def _wilson(sums: _Counts, squares: _Counts) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends (3, classes) of Wilson's intervals; F1 takes the number of examples that have the class.

    Args:
        sums: Sums of the weights.
        squares: Sums of their squares: with these, they say as how many equal examples the weighted ones count.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        predicted, examples = sums.predicted**2 / squares.predicted, sums.examples**2 / squares.examples
    ends = np.full((2, 3, len(sums.right)), np.nan)
    for kind, (shares, sizes) in enumerate(zip(sums.shares(), (predicted, examples, examples), strict=True)):
        for position in np.flatnonzero(np.isfinite(shares) & (sizes > 0)):
            ends[:, kind, position] = wilson_interval(float(shares[position]), float(sizes[position]))
    return ends[0], ends[1]


def _quantiles(drawn: np.ndarray, levels: tuple[float, float]) -> np.ndarray:
    """Return the quantiles (2, 3, classes) of what resamples gave, those left out where it is not defined."""
    ends = np.full((2, *drawn.shape[1:]), np.nan)
    for kind, position in zip(*np.nonzero(np.isfinite(drawn).any(0)), strict=True):
        values = drawn[:, kind, position]
        ends[:, kind, position] = np.quantile(values[np.isfinite(values)], levels)
    return ends


def _estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(*(float(each) if np.isfinite(each) else None for each in (value, low, high)))
