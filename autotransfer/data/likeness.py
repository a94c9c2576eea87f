"""Examples that belong together: exposures of one part, frames of one video, photographs of one object.

Where some of them train and others score, the score flatters. They are told by the likeness of their features and of
their names: neither alone is enough. Many images of a series look alike and are others, and names count many things.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

__all__ = ["find_alike"]

# Cosine of centred features above which two images are the same but for noise, and above which they are if they were
# named one after the other.
_SAME, _ROW = 0.97, 0.85
# Numbers of two names of one series that are no further apart.
_NEAR = 2
# A part of the names groups the examples if those that share it are so much more alike than others: in standard
# deviations of the likeness between others; and so many pairs show it.
_TELLING, _PAIRS = 0.75, 20
# No group may hold a larger share of the examples: that says more of the backbone, or of a class, than of an object.
_LARGEST, _STEP = 0.1, 0.25
# More examples than this are not compared: it would take minutes.
_MOST = 20_000
_BLOCK = 1024
_SAMPLE = 5000


def find_alike(features: np.ndarray, names: Sequence[str], classes: np.ndarray | None = None) -> list[Hashable] | None:
    """Find examples that belong together.

    Args:
        features: Features (N, width) of any pretrained backbone.
        names: What each is called: its path, or ``item 3``.
        classes: Class (N,) of each: examples are compared with others of their class. None compares all.

    Returns:
        For each example the number of its group, or None where it is alone; None where no two belong together, or
        there are too many examples to compare.
    """
    if not 2 < len(features) <= _MOST:
        return None
    unit = _unit(features)
    classes = np.zeros(len(unit), dtype=int) if classes is None else classes
    ties = [key for key in _keys(names) if _tells(key, unit, classes)]
    series, same, row = _Series(names), _SAME, _ROW
    most = max(2, _LARGEST * len(unit))
    for _ in range(4):
        groups = _parts(np.array([*_pairs(unit, series, same, row), *_ties(ties)]).reshape(-1, 2), len(unit))
        sizes = np.bincount(groups)
        if sizes.max() <= most:
            found: list[Hashable] = [int(group) if sizes[group] > 1 else None for group in groups]
            return found if sizes.max() > 1 else None
        same, row = same + _STEP * (1 - same), row + _STEP * (1 - row)
    return None


def _unit(features: np.ndarray) -> np.ndarray:
    """Centre features and bring them to length 1: what all images share says nothing."""
    centred = (features - features.mean(0)).astype(np.float32)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12))


def _keys(names: Sequence[str]) -> Iterator[np.ndarray]:
    """Yield what names may be grouped by: all but one of their numbers, or their folder; -1 for those without.

    ``exp1_num_4727.jpg`` and ``exp2_num_4727.jpg`` share all but their first number.
    """
    parts = [re.split(r"(\d+)", PurePath(name).name) for name in names]
    for position in range(1, max(map(len, parts)), 2):
        yield _numbered([None if len(p) <= position else (*p[:position], *p[position + 1 :]) for p in parts])
    yield _numbered([str(PurePath(name).parent) for name in names])


def _numbered(keys: Sequence[Hashable]) -> np.ndarray:
    """Number keys that are not rare and not common: -1 stands for the others."""
    members = defaultdict(list)
    for i, key in enumerate(keys):
        members[key].append(i)
    numbers = np.full(len(keys), -1)
    for number, (key, rows) in enumerate(members.items()):
        if key is not None and 2 <= len(rows) <= max(2, _LARGEST * len(keys)):
            numbers[rows] = number
    return numbers


def _tells(key: np.ndarray, unit: np.ndarray, classes: np.ndarray) -> bool:
    """Whether examples of equal key are much more alike than others of their class."""
    rng = np.random.default_rng(0)
    order = np.lexsort((rng.random(len(key)), key))  # equal keys side by side
    first, second = order[:-1], order[1:]
    equal = (key[first] == key[second]) & (key[first] >= 0) & (classes[first] == classes[second])
    first, second = first[equal][:_SAMPLE], second[equal][:_SAMPLE]
    if len(first) < _PAIRS:
        return False
    others = np.concatenate([rng.permutation(np.flatnonzero(classes == label)) for label in np.unique(classes)])
    apart = (classes[others[:-1]] == classes[others[1:]]) & (key[others[:-1]] != key[others[1:]])
    within = (unit[first] * unit[second]).sum(1)
    between = (unit[others[:-1][apart]] * unit[others[1:][apart]]).sum(1)
    if len(between) < _PAIRS:
        return False
    return float(within.mean() - between.mean()) > _TELLING * float(between.std())


def _ties(keys: Sequence[np.ndarray]) -> Iterator[tuple[int, int]]:
    """Yield pairs that chain the examples of equal keys."""
    for key in keys:
        order = np.argsort(key, kind="stable")
        equal = (key[order[:-1]] == key[order[1:]]) & (key[order[:-1]] >= 0)
        yield from zip(order[:-1][equal].tolist(), order[1:][equal].tolist(), strict=True)


@dataclass(init=False)
class _Series:
    """Names by their last number: ``clip7_frame031.jpg`` is number 31 of ``clip7_frame#.jpg``."""

    of: np.ndarray
    number: np.ndarray

    def __init__(self, names: Sequence[str]) -> None:
        keys: dict[str, int] = {}
        self.of, self.number = np.full(len(names), -1), np.zeros(len(names))
        for i, name in enumerate(names):
            if match := re.search(r"\d+(?=\D*$)", PurePath(name).name):
                key = match.string[: match.start()] + "#" + match.string[match.end() :]
                self.of[i], self.number[i] = keys.setdefault(key, len(keys)), float(match.group()[-15:])

    def near(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Whether two were named one after the other."""
        alike = (self.of[first] == self.of[second]) & (self.of[first] >= 0)
        return np.asarray(alike & (np.abs(self.number[first] - self.number[second]) <= _NEAR))


def _pairs(unit: np.ndarray, series: _Series, same: float, row: float) -> Iterator[tuple[int, int]]:
    """Yield the pairs that look alike, each once."""
    for start in range(0, len(unit), _BLOCK):
        likeness = unit[start : start + _BLOCK] @ unit.T
        first, second = np.nonzero(likeness >= row)
        once = first + start < second
        first, second = first[once], second[once]
        kept = (likeness[first, second] >= same) | series.near(first + start, second)
        yield from zip((first[kept] + start).tolist(), second[kept].tolist(), strict=True)


def _parts(pairs: np.ndarray, count: int) -> np.ndarray:
    """Number the sets that pairs hold together."""
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1])
