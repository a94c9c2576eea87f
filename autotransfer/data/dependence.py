"""Dependence between examples, measured by cross-validation on random folds and on folds of whole clusters.

If several examples show one object, training examples give validation examples away on random folds. On folds that keep
clusters whole, errors are then many times as large; with independent examples they are less than twice as large. Two
probes on the features of one backbone measure this: a ridge regression and the nearest neighbour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from autotransfer.data.neighbours import normalized_features
from autotransfer.data.split import possible_folds, split_folds
from autotransfer.errors import DataError
from autotransfer.tasks.task import Task

__all__ = ["MIN_ERROR_RATIO", "Dependence", "compare_folds"]

# Ratio of the errors on clustered and random folds, less two standard errors of its logarithm, from which examples
# depend on each other. Tuned with ImageNet features on 22 independent sets of 50 to 5,000 images (ratios up to 1.8) and
# 15 sets of exposures, frames and slices (ratios from 3.2 on).
MIN_ERROR_RATIO = 2.4
# Smallest relative fall of the score that is reported.
_MIN_RELATIVE_FALL = 0.02
# Most examples that are compared, and fewest examples of a class among them.
_MAX_COMPARED_EXAMPLES, _MIN_EXAMPLES_OF_CLASS = 2048, 40
_FOLDS = 5
# Entries of the similarity matrix that are in memory at a time: 16 MB as float32.
_MAX_SIMILARITIES = 2**22


@dataclass(frozen=True, kw_only=True)
class Dependence:
    """Comparison of random folds with folds of whole sets.

    Attributes:
        random: Score of a ridge probe on random folds, made of sets of the same sizes with random examples of a class.
        clustered: Score of the same probe on folds of whole sets.
        error_ratio: Errors on folds of whole sets divided by errors on random folds; geometric mean of both probes.
        lowest_error_ratio: ``error_ratio`` less two standard errors of its logarithm.
    """

    random: float
    clustered: float
    error_ratio: float
    lowest_error_ratio: float

    @property
    def random_is_higher(self) -> bool:
        """Whether errors on folds of whole sets are significantly more than those on random folds."""
        return self.lowest_error_ratio > 1

    @property
    def falls_far(self) -> bool:
        """Whether the score falls significantly on folds of whole sets."""
        fall = self.random - self.clustered
        return self.lowest_error_ratio > MIN_ERROR_RATIO and not fall < _MIN_RELATIVE_FALL * max(
            abs(self.random), 1e-12
        )


def compare_folds(
    features: np.ndarray,
    encoded: np.ndarray,
    task: Task,
    sets: np.ndarray,
    digests: Sequence[str],
    *,
    base: np.ndarray | None = None,
    seed: int = 0,
) -> Dependence | None:
    """Score probes on random folds and on folds of whole sets.

    Args:
        features: Features (N, width) of any pretrained backbone.
        encoded: Targets (N, ...), as ``Task.encode`` returns them.
        task: The task.
        sets: Set (N,) of each example.
        digests: Hash of the content of each example; of equal ones, one example is used.
        base: Finer set (N,) of each example; folds of these take the place of random folds.
        seed: Seed of the folds.

    Returns:
        The comparison; None with too few examples for folds.
    """
    rng = np.random.default_rng(seed)
    rows = _sample_sets(sets, encoded, task, np.unique(np.array(digests), return_index=True)[1], rng)
    if len(rows) < 2 * _FOLDS:
        return None
    sets = np.unique(sets[rows], return_inverse=True)[1]
    task, y = _without_missing_classes(task, encoded[rows])
    classes = y if task.single_label else np.zeros(len(rows), dtype=int)
    random = _shuffled_within(classes, sets, rng) if base is None else np.unique(base[rows], return_inverse=True)[1]
    x = _standardised(features[rows])
    goals, weights = _ridge_targets(y, task)
    found = []
    try:
        for partition in (random, sets):
            fold = _fold_numbers(y, task, partition, seed)
            found.append(_ridge(x, goals, weights, fold))
    except DataError:
        return None
    nearest = _nearest(normalized_features(features[rows]), [np.arange(len(rows)) if base is None else random, sets])
    errors = [
        [_errors(predicted, goals, task) for predicted in probe] for probe in (found, [goals[i] for i in nearest])
    ]
    log_ratio, deviation = _log_error_ratio(errors, weights, sets)
    at_random, clustered = (_score(task, y, predicted) for predicted in found)
    return Dependence(
        random=at_random,
        clustered=clustered,
        error_ratio=math.exp(log_ratio),
        lowest_error_ratio=math.exp(log_ratio - 2 * deviation),
    )


def _sample_sets(
    sets: np.ndarray, encoded: np.ndarray, task: Task, rows: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Sample up to 2,048 rows by whole sets, in proportion to the classes; with very many classes, some get no row."""
    if len(rows) <= _MAX_COMPARED_EXAMPLES:
        return np.sort(rows)
    classes = encoded[rows] if task.single_label else np.zeros(len(rows), dtype=int)
    chosen, left = list[np.ndarray](), _MAX_COMPARED_EXAMPLES
    for label in rng.permutation(np.unique(classes)):
        own = rows[classes == label]
        size = min(max(_MAX_COMPARED_EXAMPLES * len(own) // len(rows), _MIN_EXAMPLES_OF_CLASS), len(own), left)
        _, number = np.unique(sets[own], return_inverse=True)
        rank = rng.permutation(number.max() + 1)[number]
        own = own[np.argsort(rank, kind="stable")][:size]
        chosen.append(own)
        left -= len(own)
        if left < _MIN_EXAMPLES_OF_CLASS:
            break
    return np.sort(np.concatenate(chosen))


def _without_missing_classes(task: Task, encoded: np.ndarray) -> tuple[Task, np.ndarray]:
    """Drop the classes that no example has."""
    if not task.single_label:
        return task, encoded
    present, encoded = np.unique(encoded, return_inverse=True)
    return replace(task, classes=tuple(task.classes[i] for i in present)), encoded


def _shuffled_within(classes: np.ndarray, sets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return sets of the same sizes with random examples of each class."""
    order = np.arange(len(sets))
    for label in np.unique(classes):
        own = np.flatnonzero(classes == label)
        order[own] = rng.permutation(own)
    return np.asarray(sets[order])


def _standardised(features: np.ndarray) -> np.ndarray:
    """Standardise features (N, width), as float32; constant columns are 0."""
    centred = features - features.mean(0, dtype=np.float64)
    scale = centred.std(0)
    return np.asarray(centred / np.where(scale > 1e-5 * scale.max(initial=0.0), scale, np.inf), dtype=np.float32)


def _ridge_targets(encoded: np.ndarray, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return the targets of the ridge regression, float32 (N, outputs), and weights (N,) that balance the classes."""
    if task.single_label:
        present, number, counts = np.unique(encoded, return_inverse=True, return_counts=True)
        weights = len(encoded) / (len(present) * counts[number])
        return np.eye(task.outputs, dtype=np.float32)[encoded], weights.astype(np.float32)
    values = encoded.reshape(len(encoded), -1).astype(np.float64)
    spread = values.std(0)
    scaled = (values - values.mean(0)) / np.where(spread > 0, spread, np.inf)
    return scaled.astype(np.float32), np.ones(len(encoded), dtype=np.float32)


def _fold_numbers(encoded: np.ndarray, task: Task, sets: np.ndarray, seed: int) -> np.ndarray:
    """Return the fold (N,) of each example.

    Raises:
        DataError: The sets cannot be divided into folds.
    """
    groups, own = sets.tolist(), [str(i) for i in range(len(sets))]
    count = possible_folds(_FOLDS, encoded, task, groups)
    fold = np.empty(len(sets), dtype=np.int64)
    for number, (_, validation) in enumerate(split_folds(encoded, task, own, count=count, seed=seed, groups=groups)):
        fold[validation] = number
    return fold


def _ridge(x: np.ndarray, y: np.ndarray, weights: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Return out-of-fold predictions of a weighted ridge regression whose penalty is the number of features."""
    from scipy.linalg import cho_factor, cho_solve

    x = np.column_stack([x, np.ones(len(x), dtype=np.float32)])
    penalty = np.full(x.shape[1], x.shape[1] - 1.0, dtype=np.float32)
    penalty[-1] = 1e-3  # of the intercept
    predicted = np.empty_like(y)
    parts = [np.flatnonzero(fold == number) for number in range(int(fold.max()) + 1)]
    if len(x) > x.shape[1]:
        weighted = [x[rows] * weights[rows, None] for rows in parts]
        grams = [x[rows].T @ part for rows, part in zip(parts, weighted, strict=True)]
        sides = [part.T @ y[rows] for rows, part in zip(parts, weighted, strict=True)]
        gram, side = sum(grams) + np.diag(penalty), sum(sides)
        for rows, own, own_side in zip(parts, grams, sides, strict=True):
            predicted[rows] = x[rows] @ cho_solve(cho_factor(gram - own), side - own_side)
        return predicted
    kernel = (x / penalty) @ x.T
    for rows in parts:
        train = np.setdiff1d(np.arange(len(x)), rows)
        inner = kernel[np.ix_(train, train)] + np.diag(1 / weights[train])
        predicted[rows] = kernel[np.ix_(rows, train)] @ cho_solve(cho_factor(inner), y[train])
    return predicted


def _nearest(unit: np.ndarray, partitions: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return, for each partition, the nearest neighbour (N,) of each example in another set."""
    found = [np.zeros(len(unit), dtype=np.int64) for _ in partitions]
    height = max(_MAX_SIMILARITIES // len(unit), 1)
    for start in range(0, len(unit), height):
        rows = slice(start, start + height)
        cosine = unit[rows] @ unit.T
        for nearest, partition in zip(found, partitions, strict=True):
            nearest[rows] = np.where(partition[rows, None] == partition, -2.0, cosine).argmax(1)
    return found


def _errors(predicted: np.ndarray, goals: np.ndarray, task: Task) -> np.ndarray:
    """Return the error (N,) of each prediction: 0 or 1 for a class, else the squared error in variances of a target."""
    if task.single_label:
        return np.asarray(predicted.argmax(1) != goals.argmax(1), dtype=np.float64)
    return np.asarray(np.square(predicted - goals).mean(1), dtype=np.float64)


def _log_error_ratio(
    errors: Sequence[Sequence[np.ndarray]], weights: np.ndarray, sets: np.ndarray
) -> tuple[float, float]:
    """Return the logarithm of the error ratio, averaged over the probes, and its standard error.

    One error is added on either side, so that zero errors have a finite logarithm. The contributions of the examples of
    a set are summed first, since these examples err together.
    """
    count, share = len(weights), weights / weights.sum()
    ratio, variance, parts = 0.0, 0.0, np.zeros(int(sets.max()) + 1)
    for random, clustered in errors:
        lower, higher = ((share @ e * count + 1) / (count + 1) for e in (random, clustered))
        ratio += math.log(higher / lower) / len(errors)
        parts += np.bincount(sets, share * (clustered / higher - random / lower)) / len(errors)
        variance += ((lower * count) ** -2 + (higher * count) ** -2) / len(errors)
    return ratio, math.sqrt(float(np.square(parts).sum()) + variance)


def _score(task: Task, encoded: np.ndarray, predicted: np.ndarray) -> float:
    """Return the score of a probe's predictions."""
    if task.single_label:
        predicted = np.clip(predicted, 1e-6, 1.0)
        return task.score(encoded, predicted / predicted.sum(1, keepdims=True))
    values = encoded.reshape(len(encoded), -1).astype(np.float64)
    predicted = predicted * values.std(0) + values.mean(0)
    return task.score(encoded, np.clip(predicted, 1e-6, 1.0 - 1e-6) if task.kind == "multilabel" else predicted)
