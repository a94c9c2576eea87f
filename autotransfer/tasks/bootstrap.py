"""Standard errors and tests of scores, by resampling whole groups of examples.

A group holds examples that depend on each other, such as those of a patient, the frames of a burst or the copies of an
example. Examples of one group err together, so a resample draws groups.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import sklearn
from scipy.stats import norm, t

from autotransfer.tasks.task import Task

__all__ = [
    "significantly_better",
    "paired_standard_error",
    "score_slope",
    "sum_standard_error",
    "interval_quantiles",
    "count_groups",
    "effective_count",
    "bootstrap_samples",
]

# Resamples for the standard error of a difference, and for a slope. A scorer takes a millisecond for each resample.
_PAIRED_RESAMPLES = 50


def count_groups(count: int, group_ids: np.ndarray | None) -> int:
    """Return the number of groups; without ``group_ids``, each example is a group."""
    return count if group_ids is None else len(np.unique(group_ids))


def effective_count(count: int, weights: np.ndarray | None) -> float:
    """Return the number of examples of equal weight with as small an error of a mean (Kish 1965).

    Args:
        count: Number of examples.
        weights: Weight (count,) of each example; None weights all examples equally.
    """
    return float(count) if weights is None else float(weights.sum() ** 2 / (weights**2).sum())


def bootstrap_samples(
    count: int, group_ids: np.ndarray | None, bootstrap_samples: int, *, seed: int = 0
) -> Iterator[np.ndarray]:
    """Yield positions of examples in groups that were drawn with replacement.

    Args:
        count: Number of examples.
        group_ids: Group (count,) of each example; None makes each example a group.
        bootstrap_samples: Number of resamples.
        seed: Seed of the random numbers.
    """
    order, starts, sizes = _members(count, group_ids)
    rng = np.random.default_rng(seed)
    for _ in range(bootstrap_samples):
        chosen = rng.integers(0, len(sizes), len(sizes))
        yield order[_ranges(starts[chosen], sizes[chosen])]


def interval_quantiles(groups: int) -> tuple[float, float]:
    """Return the quantiles of a bootstrap that make a 95% interval.

    With few groups, the interval from 2.5% to 97.5% is too narrow. The quantiles returned here widen it as Student's t
    widens an interval of a mean (Hesterberg 2015, section 4.3).

    Args:
        groups: Number of groups.
    """
    level = float(norm.cdf(-math.sqrt(groups / (groups - 1)) * t.ppf(0.975, groups - 1)))
    return level, 1 - level


def sum_standard_error(shares: np.ndarray, group_ids: np.ndarray | None = None) -> float:
    """Return the standard error of a sum over examples.

    Args:
        shares: Contribution (n,) of each example, less the mean contribution.
        group_ids: Group (n,) of each example; None makes each example a group.
    """
    sums = shares if group_ids is None else np.bincount(np.unique(group_ids, return_inverse=True)[1], weights=shares)
    return float(np.sqrt((sums**2).sum()))


def paired_standard_error(
    task: Task,
    encoded: np.ndarray,
    one: np.ndarray,
    other: np.ndarray,
    group_ids: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> float:
    """Return the standard error of the difference of two scores on the same examples.

    Args:
        task: The task.
        encoded: Targets (n, ...).
        one: Predictions (n, outputs) of the first model.
        other: Predictions (n, outputs) of the second model.
        group_ids: Group (n,) of each example; None makes each example a group.
        weights: Weight (n,) of each example; None weights all examples equally.

    Returns:
        The standard error; infinite where fewer than two resamples have a finite difference.
    """
    drawn = _paired_scores(task, encoded, one, other, group_ids, weights)
    return float((drawn[:, 0] - drawn[:, 1]).std(ddof=1)) if len(drawn) > 1 else math.inf


def score_slope(
    task: Task,
    encoded: np.ndarray,
    one: np.ndarray,
    other: np.ndarray,
    group_ids: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> float:
    """Return by how much the first score rises where the second one rises by 1, over resamples of the examples.

    Args:
        task: The task.
        encoded: Targets (n, ...).
        one: Predictions (n, outputs) of the first model.
        other: Predictions (n, outputs) of the second model.
        group_ids: Group (n,) of each example; None makes each example a group.
        weights: Weight (n,) of each example; None weights all examples equally.

    Returns:
        The slope, from 0 to 1: errors that have nothing in common give 0, equal errors give 1. It is 1, too, where the
        second score is the same on all resamples.
    """
    drawn = _paired_scores(task, encoded, one, other, group_ids, weights)
    if len(drawn) < 2 or not (variance := drawn[:, 1].var(ddof=1)) > 0:
        return 1.0
    return float(np.clip(np.cov(drawn.T)[0, 1] / variance, 0.0, 1.0))


def significantly_better(
    task: Task,
    encoded: np.ndarray,
    one: np.ndarray,
    other: np.ndarray,
    group_ids: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    *,
    level: float = 0.025,
) -> bool:
    """Whether the first predictions score significantly better than the second on the same examples.

    This is a paired permutation test (Fisher 1935). If both models are equally good, swapping their predictions for a
    group changes nothing on average.

    Args:
        task: The task.
        encoded: Targets (n, ...).
        one: Predictions (n, outputs) of the first model.
        other: Predictions (n, outputs) of the second model.
        group_ids: Group (n,) of each example; None makes each example a group.
        weights: Weight (n,) of each example; None weights all examples equally.
        level: Probability of a false positive.
    """
    difference = _score(task, encoded, one, weights) - _score(task, encoded, other, weights)
    if not difference > 0:
        return False
    of = np.arange(len(encoded)) if group_ids is None else np.unique(group_ids, return_inverse=True)[1]
    swaps, rng, as_large = math.ceil(4 / level) - 1, np.random.default_rng(0), 0
    for _ in range(swaps):
        swapped = rng.integers(0, 2, of.max() + 1).astype(bool)[of][:, None]
        first, second = np.where(swapped, other, one), np.where(swapped, one, other)
        found = _score(task, encoded, first, weights) - _score(task, encoded, second, weights)
        as_large += not found < difference - 1e-12
        if (as_large + 1) / (swaps + 1) > level:
            return False
    return True


def _members(count: int, group_ids: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the positions of the examples sorted by group, the first place of each group, and the sizes of groups."""
    if group_ids is None:
        return np.arange(count), np.arange(count), np.ones(count, dtype=np.int64)
    _, of, sizes = np.unique(group_ids, return_inverse=True, return_counts=True)
    return np.argsort(of, kind="stable"), np.cumsum(sizes) - sizes, sizes


def _ranges(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Concatenate the ranges of ``size`` whole numbers from each ``start`` on."""
    ends = np.cumsum(sizes)
    return np.asarray(np.repeat(starts - (ends - sizes), sizes) + np.arange(ends[-1]))


def _paired_scores(
    task: Task,
    encoded: np.ndarray,
    one: np.ndarray,
    other: np.ndarray,
    group_ids: np.ndarray | None,
    weights: np.ndarray | None,
) -> np.ndarray:
    """Return the scores (resamples, 2) of two models on the resamples where both are defined."""
    drawn = []
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):  # the arrays were checked before
        for rows in bootstrap_samples(len(encoded), group_ids, _PAIRED_RESAMPLES):
            truth, weighted = encoded[rows], _taken(weights, rows)
            drawn.append([_score(task, truth, found[rows], weighted) for found in (one, other)])
    scores = np.array(drawn)
    return np.asarray(scores[np.isfinite(scores).all(1)])


def _taken(weights: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    """Return the weights of some examples; None where all weigh the same."""
    return None if weights is None else weights[rows]


def _score(task: Task, encoded: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return ``task.score``; accuracy skips the checks of a scorer, since tests call this hundreds of times."""
    if task.metric == "accuracy" and task.single_label:
        return float(np.average(task.decide(predictions) == encoded, weights=weights))
    return task.score(encoded, predictions, weights=weights)
