"""Examples to score on that repeat examples to train on: copies, and near-duplicates, which features tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from autotransfer.warnings import WarningList

__all__ = ["Overlap", "count_overlap"]

# A near-duplicate is closer to an image that was trained than such a share of the distance to the next other object,
# and of the median distance between neighbours that were trained. Judged on JPEG copies, mirror images, crops and other
# exposures of real photographs, of which it finds most, and on independent ones, of which it finds none in a hundred.
_NEXT, _NEIGHBOURS = 0.4, 0.4
# Where features have few dimensions, many images are close by chance: the first share is at most this power of the one
# that is usual among images that were trained.
_RARE = 8
# Number of images, and share of all, up to which near-duplicates are no news: some pictures look the same.
_FEW, _FEW_SHARE = 2, 0.01
# Examples whose neighbours say what is usual, numbers of one matrix that is held at a time, and the width to which
# features are projected: distances stay the same within a few percent (Johnson and Lindenstrauss, 1984).
_SAMPLE, _HELD, _WIDTH = 1024, 2**22, 256


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """How many examples repeat others.

    Attributes:
        copies: Exact copies.
        near_duplicates: Others that look the same; None where that was not asked.
        examples: Number of examples that were looked at.
    """

    copies: int
    near_duplicates: int | None
    examples: int

    def __bool__(self) -> bool:
        return self.copies > 0 or (self.near_duplicates or 0) > _FEW + _FEW_SHARE * self.examples

    def warn(self, what: Literal["validation", "test"], warnings: WarningList) -> None:
        """Say how many examples to score on repeat examples to train on, if any do."""
        if not self:
            return
        near = self.near_duplicates or 0
        warnings.warn(
            f"{what}_repeats_training",
            f"{self.copies + near} of {self.examples} {what} images repeat images to train on ({self.copies} copies, "
            f"{near} near-duplicates): the {what} score flatters. Leave them out on one side.",
            copies=self.copies,
            near_duplicates=self.near_duplicates,
            examples=self.examples,
        )


def count_overlap(
    digests: Sequence[str] | np.ndarray,
    seen_digests: Sequence[str] | np.ndarray,
    features: np.ndarray | None = None,
    seen: np.ndarray | None = None,
    *,
    objects: np.ndarray | None = None,
    tied: np.ndarray | None = None,
) -> Overlap:
    """Count how many examples repeat some that were seen.

    Args:
        digests: Hash of the content of each example.
        seen_digests: Of each that was seen.
        features: Features (N, width) of the examples; None asks for copies only.
        seen: Features (M, width) of those that were seen.
        objects: Number (M,) of the object that each of these shows; None takes each for another one.
        tied: Whether each example (N,) is known to belong to one that was seen, by its name or otherwise.
    """
    copied = np.isin(np.array(digests), np.array(seen_digests))
    near = None
    if features is not None and seen is not None and len(seen) > 2:
        objects = np.arange(len(seen)) if objects is None else objects
        found = _near(features, seen, objects) | (False if tied is None else tied)
        near = int((found & ~copied).sum())
    return Overlap(copies=int(copied.sum()), near_duplicates=near, examples=len(digests))


def _near(features: np.ndarray, seen: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Return whether each example (N,) is a near-duplicate of one that was seen."""
    mean, rng = seen.mean(0, dtype=np.float64), np.random.default_rng(0)
    project = None
    if seen.shape[1] > _WIDTH:
        project = (rng.normal(size=(seen.shape[1], _WIDTH)) / np.sqrt(_WIDTH)).astype(np.float32)
    old, new = (_unit(part, mean, project) for part in (seen, features))
    sample = np.sort(rng.permutation(len(old))[:_SAMPLE])
    usual, usual_next = _distances(old[sample], old, objects, own=objects[sample])
    if not len(usual):
        return np.zeros(len(new), dtype=bool)
    nearest, following = _distances(new, old, objects)
    share = min(_NEXT, float(np.median(usual / np.maximum(usual_next, 1e-12))) ** _RARE)
    return np.asarray((nearest < share * following) & (nearest < _NEIGHBOURS * np.median(usual)))


def _unit(features: np.ndarray, mean: np.ndarray, project: np.ndarray | None) -> np.ndarray:
    centred = (features - mean).astype(np.float32)
    centred = centred if project is None else centred @ project
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12))


def _distances(
    unit: np.ndarray, old: np.ndarray, objects: np.ndarray, own: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the cosine distance to the nearest example that was seen, and to the nearest of another object.

    Args:
        unit: Features (N, width) of length 1.
        old: Those that were seen (M, width).
        objects: Number (M,) of the object of each.
        own: Number (N,) of the object whose examples do not count, as an example is no neighbour of itself.
    """
    nearest, following = np.empty(len(unit)), np.empty(len(unit))
    height = max(_HELD // len(old), 1)
    for start in range(0, len(unit), height):
        rows = slice(start, start + height)
        cosine = unit[rows] @ old.T
        if own is not None:
            cosine[own[rows, None] == objects] = -np.inf
        best = cosine.argmax(1)
        nearest[rows] = 1 - cosine.max(1)
        cosine[objects[best][:, None] == objects] = -np.inf
        following[rows] = 1 - cosine.max(1)
    usable = np.isfinite(following) if own is not None else np.ones(len(unit), dtype=bool)
    return np.maximum(nearest[usable], 0), np.maximum(following[usable], 0)
