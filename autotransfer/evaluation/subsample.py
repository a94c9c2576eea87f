"""A sample of the examples, which passes through a backbone first: a poor score on it saves the pass of the others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.contract.specs import Takes
from autotransfer.data.folds import Fold

__all__ = ["SAMPLE_SCORE_MARGIN", "Features", "Sample", "draw", "own_folds"]

# Examples of a sample that are scored.
SAMPLE_EXAMPLES = 256
# Two standard errors, at most, of a score that is a share of so many examples: a score on a sample may be off by that.
SAMPLE_SCORE_MARGIN = 2 * math.sqrt(0.25 / SAMPLE_EXAMPLES)
# Times that the examples have to be more than the sample: else it saves little.
MIN_EXAMPLES_PER_SAMPLE = 2
# Folds of a sample where the examples have a single split.
SAMPLE_FOLDS = 5
# Examples of each class in a sample: on average, and at least where the class has them.
MEAN_EXAMPLES_PER_CLASS, MIN_EXAMPLES_PER_CLASS = 8, 5


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A part of the examples.

    Attributes:
        rows: The positions of its examples, sorted.
        folds: The folds, cut down to the sample, or folds of its own; their rows count within the sample.
    """

    rows: np.ndarray
    folds: tuple[Fold, ...]


@dataclass(frozen=True)
class Features:
    """The features that one head takes, of a sample or of all examples, in place of an extractor.

    Attributes:
        values: By view, the plain one first, float32 (rows, width).
    """

    values: Mapping[str, np.ndarray]

    def taken(self, loaded: LoadedBackbone, takes: Takes = "pooled", view: str | None = None) -> np.ndarray:
        """Return the features of a view; None means the plain one."""
        return self.values[view or next(iter(self.values))]


def draw(folds: Sequence[Fold], seed: int) -> Sample | None:
    """Draw a sample with the class shares of all examples; None where it would save little.

    All of the sample is scored. Where there is a single split, it is drawn from the training rows, and has folds of its
    own.

    Args:
        folds: The folds.
        seed: Seed of the draw.
    """
    task, targets, single = folds[0].task, folds[0].targets, len(folds) == 1
    size = max(SAMPLE_EXAMPLES, MEAN_EXAMPLES_PER_CLASS * len(task.classes) if task.single_label else 0)
    if task.kind == "regression" or task.perfect_score != 1.0 or len(targets) < MIN_EXAMPLES_PER_SAMPLE * size:
        return None
    order = np.random.default_rng(seed).permutation(folds[0].train_rows if single else len(targets))
    rows = np.sort(_in_proportion(order, targets, size) if task.single_label else order[:size])
    if not single:
        return Sample(rows=rows, folds=tuple(_cut(fold, rows) for fold in folds))
    return Sample(rows=rows, folds=own_folds(folds[0], rows, seed))


def _in_proportion(order: np.ndarray, targets: np.ndarray, size: int) -> np.ndarray:
    """Return the first rows of each class, as many as it has of all, and a few at least."""
    labels = targets[order]
    classes = (order[labels == label] for label in np.unique(labels))
    return np.concatenate(
        [rows[: max(round(size * len(rows) / len(order)), MIN_EXAMPLES_PER_CLASS)] for rows in classes]
    )


def own_folds(fold: Fold, rows: np.ndarray, seed: int) -> tuple[Fold, ...]:
    """Return folds of a sample alone, the classes spread over them; a group falls into one fold."""
    fold, targets = _of(fold, rows), fold.targets[rows]
    order = np.random.default_rng(seed).permutation(len(rows))
    if fold.task.single_label:
        order = order[np.argsort(targets[order], kind="stable")]
    everything = np.arange(len(rows))
    group_ids = everything if fold.group_ids is None else fold.group_ids
    _, first, of = np.unique(group_ids[order], return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))[of]  # of its group, in the order in which groups come
    scored = (np.sort(order[place % SAMPLE_FOLDS == number]) for number in range(SAMPLE_FOLDS))
    return tuple(replace(fold, train_rows=np.setdiff1d(everything, rows), validation_rows=rows) for rows in scored)


def _cut(fold: Fold, rows: np.ndarray) -> Fold:
    train, validation = (
        np.searchsorted(rows, np.intersect1d(part, rows)) for part in (fold.train_rows, fold.validation_rows)
    )
    return replace(_of(fold, rows), train_rows=train, validation_rows=validation)


def _of(fold: Fold, rows: np.ndarray) -> Fold:
    weights = fold.weights_of(rows)
    return replace(fold, targets=fold.targets[rows], group_ids=fold.group_ids_of(rows), weights=weights)
