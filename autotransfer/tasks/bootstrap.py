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
    "sum_standard_error",
    "interval_quantiles",
    "count_groups",
    "effective_count",
    "bootstrap_samples",
    "standard_error",
]

# Resamples for a standard error, which the search computes after each trial that trains stages. A scorer takes a
# millisecond for each resample.
_STANDARD_ERROR_RESAMPLES = 12
# Resamples for the standard error of a difference.
_PAIRED_RESAMPLES = 50
# Most groups in a resample for a standard error, which is then scaled to all groups (m out of n bootstrap, Bickel et
# al. 1997).
_MAX_RESAMPLED_GROUPS = 2000


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
    count: int, group_ids: np.ndarray | None, bootstrap_samples: int, *, seed: int = 0, max_groups: int | None = None
) -> Iterator[np.ndarray]:
    """Yield positions of examples in groups that were drawn with replacement.

    Args:
        count: Number of examples.
        group_ids: Group (count,) of each example; None makes each example a group.
        bootstrap_samples: Number of resamples.
        seed: Seed of the random numbers.
        max_groups: Most groups in one resample; None draws as many as there are.
    """
    order, starts, sizes = _members(count, group_ids)
    rng, size = np.random.default_rng(seed), min(len(sizes), max_groups or len(sizes))
    for _ in range(bootstrap_samples):
        chosen = rng.integers(0, len(sizes), size)
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


def standard_error(
    task: Task,
    encoded: np.ndarray,
    predictions: np.ndarray,
    group_ids: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> float:
    """Return the standard error of the task's metric.

    Accuracies have a closed form; other metrics take a bootstrap of 12 resamples. For a classifier, the standard error
    is at least that of one wrong example in n + 2, since n right predictions do not prove that no error is possible.

    Args:
        task: The task.
        encoded: Targets (n, ...).
        predictions: Predictions (n, outputs).
        group_ids: Group (n,) of each example; None makes each example a group.
        weights: Weight (n,) of each example; None weights all examples equally.
    """
    count = count_groups(len(encoded), group_ids)
    is_share = task.kind != "regression" and task.perfect_score == 1.0
    least = 1.0 / (effective_count(len(encoded), weights) + 2) if is_share else 0.0
    if (shares := _shares_of_accuracy(task, encoded, predictions, weights)) is not None:
        return max(sum_standard_error(shares, group_ids), least)
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):  # the arrays were checked before
        drawn = [
            task.score(encoded[rows], predictions[rows], weights=_taken(weights, rows))
            for rows in bootstrap_samples(
                len(encoded), group_ids, _STANDARD_ERROR_RESAMPLES, max_groups=_MAX_RESAMPLED_GROUPS
            )
        ]
    finite = np.array(drawn)[np.isfinite(drawn)]
    if len(finite) < 2:
        return least  # the metric is not defined on the resamples, for example since each of them lacks a class
    return max(float(finite.std(ddof=1)) * math.sqrt(min(count, _MAX_RESAMPLED_GROUPS) / count), least)


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
    drawn = []
    for rows in bootstrap_samples(len(encoded), group_ids, _PAIRED_RESAMPLES):
        truth, weighted = encoded[rows], _taken(weights, rows)
        drawn.append(_score(task, truth, one[rows], weighted) - _score(task, truth, other[rows], weighted))
    finite = np.array(drawn)[np.isfinite(drawn)]
    return float(finite.std(ddof=1)) if len(finite) > 1 else math.inf


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


def _taken(weights: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    """Return the weights of some examples; None where all weigh the same."""
    return None if weights is None else weights[rows]


def _shares_of_accuracy(
    task: Task, encoded: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None
) -> np.ndarray | None:
    """Return the contribution (n,) of each example to accuracy or balanced accuracy, less the mean; else None."""
    if not task.single_label or task.metric not in ("accuracy", "balanced_accuracy"):
        return None
    right = (task.decide(predictions) == encoded).astype(np.float64)
    each = np.ones(len(right)) if weights is None else weights
    if task.metric == "accuracy":
        return np.asarray(each * (right - np.average(right, weights=weights)) / each.sum())
    _, of = np.unique(encoded, return_inverse=True)
    sizes = np.bincount(of, weights=weights)
    recalls = np.bincount(of, weights=right * each) / sizes
    return np.asarray(each * (right - recalls[of]) / (sizes[of] * len(sizes)))


def _score(task: Task, encoded: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return ``task.score``; accuracy skips the checks of a scorer, since tests call this hundreds of times."""
    if task.metric == "accuracy" and task.single_label:
        return float(np.average(task.decide(predictions) == encoded, weights=weights))
    return task.score(encoded, predictions, weights=weights)
