"""Overlap of validation or test examples with training examples: copies, and near-duplicates by their features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from autotransfer.warnings import WarningList

__all__ = ["Overlap", "count_overlap"]

# Largest distance of a near-duplicate to a training example: as a share of the distance to the nearest of another
# object, and of the median distance between training examples and their neighbours. Tuned on JPEG copies, mirror
# images, crops and other exposures of real photographs, of which most are found, and on independent photographs, of
# which less than one in a hundred is.
_MAX_NEXT_OBJECT_RATIO, _MAX_NEIGHBOUR_RATIO = 0.4, 0.4
# With features of few dimensions, many examples are close by chance. The first ratio is therefore at most the median
# ratio among training examples to this power. Tuned on the same photographs.
_MEDIAN_RATIO_EXPONENT = 8
# Number of near-duplicates, and share of all examples, up to which there is no warning.
_MAX_ACCEPTED, _MAX_ACCEPTED_SHARE = 2, 0.01
# Training examples whose neighbours are looked at for the median ratio.
_SAMPLED_EXAMPLES = 1024
# Entries of the similarity matrix that are in memory at a time: 16 MB as float32.
_MAX_SIMILARITIES = 2**22
# Width to which features are projected; distances change by a few percent (Johnson and Lindenstrauss, 1984).
_PROJECTED_WIDTH = 256


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Number of examples that repeat training examples.

    Attributes:
        copies: Number of exact copies.
        near_duplicates: Number of near-duplicates that are no copies; None where they were not counted.
        examples: Number of all examples.
    """

    copies: int
    near_duplicates: int | None
    examples: int

    def __bool__(self) -> bool:
        return self.copies > 0 or (self.near_duplicates or 0) > _MAX_ACCEPTED + _MAX_ACCEPTED_SHARE * self.examples

    def warn(self, what: Literal["validation", "test"], warnings: WarningList) -> None:
        """Warn of validation or test examples that repeat training examples, if there are more than a few."""
        if not self:
            return
        near = self.near_duplicates or 0
        warnings.warn(
            f"{what}_overlaps_training",
            f"{self.copies + near} of {self.examples} {what} examples repeat examples to train on ({self.copies} "
            f"copies, {near} near-duplicates): the {what} score is too high. Leave them out on one side.",
            copies=self.copies,
            near_duplicates=self.near_duplicates,
            examples=self.examples,
        )


def count_overlap(
    digests: Sequence[str] | np.ndarray,
    train_digests: Sequence[str] | np.ndarray,
    features: np.ndarray | None = None,
    train_features: np.ndarray | None = None,
    *,
    objects: np.ndarray | None = None,
    same_group: np.ndarray | None = None,
) -> Overlap:
    """Count the examples that are copies or near-duplicates of training examples.

    Args:
        digests: Hash of the content of each example.
        train_digests: Hash of the content of each training example.
        features: Features (N, width) of the examples; None counts copies only.
        train_features: Features (M, width) of the training examples.
        objects: Object (M,) that each training example shows; None takes each example for another object.
        same_group: Whether each example (N,) is in a group of near-duplicates with a training example.
    """
    copied = np.isin(np.array(digests), np.array(train_digests))
    near = None
    if features is not None and train_features is not None and len(train_features) > 2:
        objects = np.arange(len(train_features)) if objects is None else objects
        found = _are_near_duplicates(features, train_features, objects) | (False if same_group is None else same_group)
        near = int((found & ~copied).sum())
    return Overlap(copies=int(copied.sum()), near_duplicates=near, examples=len(digests))


def _are_near_duplicates(features: np.ndarray, train_features: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Return whether each example (N,) is a near-duplicate of a training example."""
    mean, rng = train_features.mean(0, dtype=np.float64), np.random.default_rng(0)
    project = None
    if train_features.shape[1] > _PROJECTED_WIDTH:
        project = (rng.normal(size=(train_features.shape[1], _PROJECTED_WIDTH)) / np.sqrt(_PROJECTED_WIDTH)).astype(
            np.float32
        )
    train, new = (_unit(part, mean, project) for part in (train_features, features))
    sample = np.sort(rng.permutation(len(train))[:_SAMPLED_EXAMPLES])
    usual, usual_next = _distances(train[sample], train, objects, own=objects[sample])
    if not len(usual):
        return np.zeros(len(new), dtype=bool)
    nearest, following = _distances(new, train, objects)
    share = min(
        _MAX_NEXT_OBJECT_RATIO, float(np.median(usual / np.maximum(usual_next, 1e-12))) ** _MEDIAN_RATIO_EXPONENT
    )
    return np.asarray((nearest < share * following) & (nearest < _MAX_NEIGHBOUR_RATIO * np.median(usual)))


def _unit(features: np.ndarray, mean: np.ndarray, project: np.ndarray | None) -> np.ndarray:
    centred = (features - mean).astype(np.float32)
    centred = centred if project is None else centred @ project
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12))


def _distances(
    unit: np.ndarray, train: np.ndarray, objects: np.ndarray, own: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the cosine distances to the nearest training example, and to the nearest one of another object.

    Args:
        unit: Features (N, width) of length 1.
        train: Features (M, width) of the training examples, of length 1.
        objects: Object (M,) of each training example.
        own: Object (N,) whose examples are left out, since a training example is no neighbour of itself.
    """
    nearest, following = np.empty(len(unit)), np.empty(len(unit))
    height = max(_MAX_SIMILARITIES // len(train), 1)
    for start in range(0, len(unit), height):
        rows = slice(start, start + height)
        cosine = unit[rows] @ train.T
        if own is not None:
            cosine[own[rows, None] == objects] = -np.inf
        best = cosine.argmax(1)
        nearest[rows] = 1 - cosine.max(1)
        cosine[objects[best][:, None] == objects] = -np.inf
        following[rows] = 1 - cosine.max(1)
    usable = np.isfinite(following) if own is not None else np.ones(len(unit), dtype=bool)
    return np.maximum(nearest[usable], 0), np.maximum(following[usable], 0)
