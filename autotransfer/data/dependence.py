"""Whether examples depend on each other: folds of whole clusters against folds at random of the same sizes.

Where several examples show one object, one that was trained answers for another that is scored. FoldRunner that keep
clusters whole take these answers away, and errors grow many times; of independent examples they grow less than twofold.
Two probes ask it on the features of one backbone: a ridge regression, and the nearest neighbour, which remembers best.
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

__all__ = ["GROWTH", "Dependence", "compare_folds"]

# Growth of the errors, less two standard errors of its logarithm, from which examples depend on each other. Calibrated
# with ImageNet features on 22 independent sets of 50 to 5,000 images (at most 1.8) and 15 sets of exposures, frames
# and slices (at least 3.2). A smaller fall of the score than this is not worth a word.
GROWTH, _LEAST_FALL = 2.4, 0.02
# Examples that are compared at most, by whole sets, and examples of a class at least.
_COMPARED, _EACH = 2048, 40
_FOLDS = 5
# Numbers of one matrix of likeness that is held at a time: 16 MB.
_HELD = 2**22


@dataclass(frozen=True, kw_only=True)
class Dependence:
    """How folds of whole sets compare to folds at random.

    Attributes:
        random: Score of a ridge probe over folds at random: sets of the same sizes, filled at random within a class.
        clustered: Its score over folds of the whole sets.
        growth: Factor by which the errors grow, the geometric mean of both probes.
        least: The same less two standard errors of its logarithm.
    """

    random: float
    clustered: float
    growth: float
    least: float

    @property
    def falls_far(self) -> bool:
        """Whether the score falls far beyond its error."""
        return self.least > GROWTH and not self.random - self.clustered < _LEAST_FALL * max(abs(self.random), 1e-12)


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
    """Score probes over folds at random and over folds of whole sets.

    Args:
        features: Features (N, width) of any pretrained backbone.
        encoded: Targets (N, ...), as ``Task.encode`` returns them.
        task: What is predicted.
        sets: Number (N,) of the set of each example.
        digests: Hash of each image's content: of copies, one is looked at.
        base: Number (N,) of finer sets, folds of which take the place of folds at random.
        seed: Seed of the folds.

    Returns:
        The comparison; None where the examples are too few to be dealt into folds.
    """
    rng = np.random.default_rng(seed)
    rows = _chosen(sets, encoded, task, np.unique(np.array(digests), return_index=True)[1], rng)
    if len(rows) < 2 * _FOLDS:
        return None
    sets = np.unique(sets[rows], return_inverse=True)[1]
    task, y = _reduced(task, encoded[rows])
    classes = y if task.single_label else np.zeros(len(rows), dtype=int)
    random = _shuffled_within(classes, sets, rng) if base is None else np.unique(base[rows], return_inverse=True)[1]
    x = _standardised(features[rows])
    wanted, weights = _wanted(y, task)
    found = []
    try:
        for partition in (random, sets):
            fold = _split_once(y, task, partition, seed)
            found.append(_ridge(x, wanted, weights, fold))
    except DataError:
        return None
    nearest = _nearest(normalized_features(features[rows]), [np.arange(len(rows)) if base is None else random, sets])
    errors = [[_errors(answers, wanted, task) for answers in probe] for probe in (found, [wanted[i] for i in nearest])]
    growth, deviation = _growth(errors, weights, sets)
    at_random, clustered = (_score(task, y, answers, wanted) for answers in found)
    return Dependence(
        random=at_random,
        clustered=clustered,
        growth=math.exp(growth),
        least=math.exp(growth - 2 * deviation),
    )


def _chosen(
    sets: np.ndarray, encoded: np.ndarray, task: Task, rows: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Choose rows by whole sets, in proportion to the classes; of very many classes, some are left out."""
    if len(rows) <= _COMPARED:
        return np.sort(rows)
    classes = encoded[rows] if task.single_label else np.zeros(len(rows), dtype=int)
    chosen, left = list[np.ndarray](), _COMPARED
    for label in rng.permutation(np.unique(classes)):
        own = rows[classes == label]
        wanted = min(max(_COMPARED * len(own) // len(rows), _EACH), len(own), left)
        _, number = np.unique(sets[own], return_inverse=True)
        rank = rng.permutation(number.max() + 1)[number]
        own = own[np.argsort(rank, kind="stable")][:wanted]
        chosen.append(own)
        left -= len(own)
        if left < _EACH:
            break
    return np.sort(np.concatenate(chosen))


def _reduced(task: Task, encoded: np.ndarray) -> tuple[Task, np.ndarray]:
    """Leave out classes that no example has."""
    if not task.single_label:
        return task, encoded
    present, encoded = np.unique(encoded, return_inverse=True)
    return replace(task, classes=tuple(task.classes[i] for i in present)), encoded


def _shuffled_within(classes: np.ndarray, sets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return sets of the same sizes that hold examples of a class at random."""
    order = np.arange(len(sets))
    for label in np.unique(classes):
        own = np.flatnonzero(classes == label)
        order[own] = rng.permutation(own)
    return np.asarray(sets[order])


def _standardised(features: np.ndarray) -> np.ndarray:
    """Bring features (N, width) to mean 0 and variance 1, float32; constant columns are 0."""
    centred = features - features.mean(0, dtype=np.float64)
    scale = centred.std(0)
    return np.asarray(centred / np.where(scale > 1e-5 * scale.max(initial=0.0), scale, np.inf), dtype=np.float32)


def _wanted(encoded: np.ndarray, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return what a regression is to give, float32 (N, outputs), and weights (N,) that make classes equal."""
    if task.single_label:
        present, number, counts = np.unique(encoded, return_inverse=True, return_counts=True)
        weights = len(encoded) / (len(present) * counts[number])
        return np.eye(task.outputs, dtype=np.float32)[encoded], weights.astype(np.float32)
    values = encoded.reshape(len(encoded), -1).astype(np.float64)
    spread = values.std(0)
    scaled = (values - values.mean(0)) / np.where(spread > 0, spread, np.inf)
    return scaled.astype(np.float32), np.ones(len(encoded), dtype=np.float32)


def _split_once(encoded: np.ndarray, task: Task, sets: np.ndarray, seed: int) -> np.ndarray:
    """Return the fold (N,) of each example.

    Raises:
        DataError: The sets cannot be dealt.
    """
    groups, own = sets.tolist(), [str(i) for i in range(len(sets))]
    count = possible_folds(_FOLDS, encoded, task, groups)
    fold = np.empty(len(sets), dtype=np.int64)
    for number, (_, validation) in enumerate(split_folds(encoded, task, own, count=count, seed=seed, groups=groups)):
        fold[validation] = number
    return fold


def _ridge(x: np.ndarray, y: np.ndarray, weights: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Return what a weighted ridge regression (penalty: the width) says of each fold that it was not fitted on."""
    from scipy.linalg import cho_factor, cho_solve

    x = np.column_stack([x, np.ones(len(x), dtype=np.float32)])
    penalty = np.full(x.shape[1], x.shape[1] - 1.0, dtype=np.float32)
    penalty[-1] = 1e-3  # of the intercept
    answers = np.empty_like(y)
    parts = [np.flatnonzero(fold == number) for number in range(int(fold.max()) + 1)]
    if len(x) > x.shape[1]:
        weighted = [x[rows] * weights[rows, None] for rows in parts]
        grams = [x[rows].T @ part for rows, part in zip(parts, weighted, strict=True)]
        sides = [part.T @ y[rows] for rows, part in zip(parts, weighted, strict=True)]
        gram, side = sum(grams) + np.diag(penalty), sum(sides)
        for rows, own, own_side in zip(parts, grams, sides, strict=True):
            answers[rows] = x[rows] @ cho_solve(cho_factor(gram - own), side - own_side)
        return answers
    kernel = (x / penalty) @ x.T
    for rows in parts:
        train = np.setdiff1d(np.arange(len(x)), rows)
        inner = kernel[np.ix_(train, train)] + np.diag(1 / weights[train])
        answers[rows] = kernel[np.ix_(rows, train)] @ cho_solve(cho_factor(inner), y[train])
    return answers


def _nearest(unit: np.ndarray, partitions: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return for each partition the most alike example (N,) of another set."""
    found = [np.zeros(len(unit), dtype=np.int64) for _ in partitions]
    height = max(_HELD // len(unit), 1)
    for start in range(0, len(unit), height):
        rows = slice(start, start + height)
        cosine = unit[rows] @ unit.T
        for nearest, partition in zip(found, partitions, strict=True):
            nearest[rows] = np.where(partition[rows, None] == partition, -2.0, cosine).argmax(1)
    return found


def _errors(answers: np.ndarray, wanted: np.ndarray, task: Task) -> np.ndarray:
    """Return the error (N,) of each answer: 0 or 1 of a class, else squared, 1 where the mean is answered."""
    if task.single_label:
        return np.asarray(answers.argmax(1) != wanted.argmax(1), dtype=np.float64)
    return np.asarray(np.square(answers - wanted).mean(1), dtype=np.float64)


def _growth(errors: Sequence[Sequence[np.ndarray]], weights: np.ndarray, sets: np.ndarray) -> tuple[float, float]:
    """Return by how much the logarithm of the errors grows, the mean of the probes, and its standard error.

    One error more than was seen counts on either side, so that none is no certainty. The examples of a set err
    together: what each adds to the growth is summed up over its set first.
    """
    count, share = len(weights), weights / weights.sum()
    growth, doubt, parts = 0.0, 0.0, np.zeros(int(sets.max()) + 1)
    for random, whole in errors:
        few, many = ((share @ e * count + 1) / (count + 1) for e in (random, whole))
        growth += math.log(many / few) / len(errors)
        parts += np.bincount(sets, share * (whole / many - random / few)) / len(errors)
        doubt += ((few * count) ** -2 + (many * count) ** -2) / len(errors)
    return growth, math.sqrt(float(np.square(parts).sum()) + doubt)


def _score(task: Task, encoded: np.ndarray, answers: np.ndarray, wanted: np.ndarray) -> float:
    """Return the task's score of a probe's answers."""
    if task.single_label:
        answers = np.clip(answers, 1e-6, 1.0)
        return task.score(encoded, answers / answers.sum(1, keepdims=True))
    values = encoded.reshape(len(encoded), -1).astype(np.float64)
    answers = answers * values.std(0) + values.mean(0)
    return task.score(encoded, np.clip(answers, 1e-6, 1.0 - 1e-6) if task.kind == "multilabel" else answers)
