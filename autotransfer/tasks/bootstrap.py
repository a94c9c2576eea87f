"""What chance does to scores: examples are drawn again, and those of one unit always together.

A unit is the set that an example cannot leave: a patient, a burst, copies of one image. Examples of one unit err
together, so that a hundred of them may say no more than ten.
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
    "bootstrap_samples",
    "standard_error",
]

# Draws for a standard error: a scorer takes a millisecond, and one is asked for after each trial that trains stages.
_DRAWS = 12
# Draws for the standard error of a difference.
_PAIRED_DRAWS = 50
# Units that are drawn at most for a standard error: of more it is scaled (m out of n bootstrap, Bickel et al. 1997).
_MOST_UNITS = 2000


def count_groups(examples: int, group_ids: np.ndarray | None) -> int:
    """Return how many units so many examples are of; see ``bootstrap_samples``."""
    return examples if group_ids is None else len(np.unique(group_ids))


def bootstrap_samples(
    examples: int, group_ids: np.ndarray | None, draws: int, *, seed: int = 0, most: int | None = None
) -> Iterator[np.ndarray]:
    """Yield positions of examples that were drawn with replacement, those of a unit together.

    Args:
        examples: Number of examples.
        group_ids: Number (examples,) of the group of each; None means that each is its own.
        draws: Number of resamples.
        seed: Seed of the draws.
        most: Most units of one resample; None draws as many as there are.
    """
    order, starts, sizes = _members(examples, group_ids)
    rng, size = np.random.default_rng(seed), min(len(sizes), most or len(sizes))
    for _ in range(draws):
        chosen = rng.integers(0, len(sizes), size)
        yield order[_ranges(starts[chosen], sizes[chosen])]


def interval_quantiles(group_ids: int) -> tuple[float, float]:
    """Return the quantiles of a bootstrap that make a 95% interval.

    The plain 2.5% and 97.5% are too narrow where units are few; they are expanded by what Student's interval is wider
    (Hesterberg 2015, section 4.3).
    """
    level = float(norm.cdf(-math.sqrt(group_ids / (group_ids - 1)) * t.ppf(0.975, group_ids - 1)))
    return level, 1 - level


def standard_error(
    task: Task, encoded: np.ndarray, predictions: np.ndarray, group_ids: np.ndarray | None = None
) -> float:
    """Return the standard error of a score of the task's metric.

    It is exact for accuracies, and a small bootstrap of the metric otherwise. A few examples without any error are not
    beyond doubt: of a classifier it is that of one wrong example at least.

    Args:
        task: The task.
        encoded: Targets (n, ...).
        predictions: Predictions (n, outputs).
        group_ids: Number (n,) of the unit of each example; None means that each is its own.
    """
    count = count_groups(len(encoded), group_ids)
    least = 1.0 / (len(encoded) + 2) if task.kind != "regression" and task.perfect_score == 1.0 else 0.0
    if (shares := _shares_of_accuracy(task, encoded, predictions)) is not None:
        return max(sum_standard_error(shares, group_ids), least)
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):  # predictions were checked before
        drawn = [
            task.score(encoded[rows], predictions[rows])
            for rows in bootstrap_samples(len(encoded), group_ids, _DRAWS, most=_MOST_UNITS)
        ]
    finite = np.array(drawn)[np.isfinite(drawn)]
    if len(finite) < 2:
        return least  # classes are missing in every draw: nothing can be said
    return max(float(finite.std(ddof=1)) * math.sqrt(min(count, _MOST_UNITS) / count), least)


def sum_standard_error(shares: np.ndarray, group_ids: np.ndarray | None = None) -> float:
    """Return the standard error of what examples add up to.

    Args:
        shares: What each example (n,) adds, less the mean of that.
        group_ids: Number (n,) of the unit of each example; None means that each is its own.
    """
    sums = shares if group_ids is None else np.bincount(np.unique(group_ids, return_inverse=True)[1], weights=shares)
    return float(np.sqrt((sums**2).sum()))


def paired_standard_error(
    task: Task, encoded: np.ndarray, one: np.ndarray, other: np.ndarray, group_ids: np.ndarray | None = None
) -> float:
    """Return the standard error of the difference of two predictions' scores on the same examples (n, outputs).

    Infinite where the metric is not defined on any resample.
    """
    drawn = [
        _score(task, encoded[rows], one[rows]) - _score(task, encoded[rows], other[rows])
        for rows in bootstrap_samples(len(encoded), group_ids, _PAIRED_DRAWS)
    ]
    finite = np.array(drawn)[np.isfinite(drawn)]
    return float(finite.std(ddof=1)) if len(finite) > 1 else math.inf


def significantly_better(
    task: Task,
    encoded: np.ndarray,
    one: np.ndarray,
    other: np.ndarray,
    group_ids: np.ndarray | None = None,
    *,
    level: float = 0.025,
) -> bool:
    """Whether the first predictions score better than the second by more than chance, on the same examples.

    A paired permutation test (Fisher 1935): where the two are equally good, the predictions of a unit may be swapped.
    It needs no distribution, and knows that three examples are too few to say anything.

    Args:
        task: The task.
        encoded: Targets (n, ...).
        one: Predictions (n, outputs).
        other: Predictions (n, outputs).
        group_ids: Number (n,) of the unit of each example; None means that each is its own.
        level: Probability of a yes where there is no difference.
    """
    found = _score(task, encoded, one) - _score(task, encoded, other)
    if not found > 0:
        return False
    of = np.arange(len(encoded)) if group_ids is None else np.unique(group_ids, return_inverse=True)[1]
    swaps, rng, as_large = math.ceil(4 / level) - 1, np.random.default_rng(0), 0
    for _ in range(swaps):
        swapped = rng.integers(0, 2, of.max() + 1).astype(bool)[of][:, None]
        first, second = np.where(swapped, other, one), np.where(swapped, one, other)
        as_large += not _score(task, encoded, first) - _score(task, encoded, second) < found - 1e-12
        if (as_large + 1) / (swaps + 1) > level:
            return False
    return True


def _members(examples: int, group_ids: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the positions of the examples unit by unit, where each unit starts there, and its size."""
    if group_ids is None:
        return np.arange(examples), np.arange(examples), np.ones(examples, dtype=np.int64)
    _, of, sizes = np.unique(group_ids, return_inverse=True, return_counts=True)
    return np.argsort(of, kind="stable"), np.cumsum(sizes) - sizes, sizes


def _ranges(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the whole numbers from each start on, so many of each."""
    ends = np.cumsum(sizes)
    return np.asarray(np.repeat(starts - (ends - sizes), sizes) + np.arange(ends[-1]))


def _shares_of_accuracy(task: Task, encoded: np.ndarray, predictions: np.ndarray) -> np.ndarray | None:
    """Return what each example (n,) adds to the error of an accuracy, plain or balanced; None for other metrics."""
    if not task.single_label or task.metric not in ("accuracy", "balanced_accuracy"):
        return None
    right = (predictions.argmax(1) == encoded).astype(np.float64)
    if task.metric == "accuracy":
        return np.asarray((right - right.mean()) / len(right))
    _, of, sizes = np.unique(encoded, return_inverse=True, return_counts=True)
    recalls = np.bincount(of, weights=right) / sizes
    return np.asarray((right - recalls[of]) / (sizes[of] * len(sizes)))


def _score(task: Task, encoded: np.ndarray, predictions: np.ndarray) -> float:
    """Return ``task.score``, of accuracy without a scorer's checks: it is asked for hundreds of times."""
    if task.metric == "accuracy" and task.single_label:
        return float((predictions.argmax(1) == encoded).mean())
    return task.score(encoded, predictions)
