"""Examples that belong together: exposures of one part, frames of one video, photographs of one object.

Where some of them train and others score, the score flatters. They are told by the likeness of their features and of
their names: neither alone is enough. Many images of a series look alike and are others, and names count many things.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from autotransfer.data.clusters import Clusters, find_clusters
from autotransfer.data.neighbours import blocks, join, join_near_duplicates, join_pairs, normalized_features
from autotransfer.data.series import keys_from_names, neighbours_by_name, reading_order

__all__ = ["NearDuplicates", "find_near_duplicates"]

# Cosine of centred features above which two images are the same but for noise, and above which they are if they were
# named one after the other.
_SAME, _ROW = 0.97, 0.85
# A part of the names groups the examples if those that share it are so much more alike than others: in standard
# deviations of the likeness between others; and so many pairs show it.
_TELLING, _PAIRS = 0.75, 20
# A group that holds a larger share of the examples is looked at more strictly, so many times: it may say more of the
# backbone, or of a class, than of an object. One that is left stays whole up to the shares of all examples and of a
# class that still leave something to train on.
_LARGE_SHARE, _STEP, _LEVELS = 0.1, 0.25, 4
_WHOLE_SHARE, _WHOLE_CLASS_SHARE = 1 / 3, 2 / 3
# Runs that a group is cut into where it cannot stay whole, at least.
_RUNS = 5
# Examples that are compared all with all; of more, those of blocks that are near each other.
_COMPARED = 2048
_SAMPLE = 5000


@dataclass(frozen=True, kw_only=True)
class NearDuplicates:
    """What belongs together: partitions of the examples, the number of its set for each (N,).

    Attributes:
        groups: What names and near-duplicates show.
        objects: The same, and what is closer than the second tier: objects, where examples depend on each other.
        whole: The same, and clusters of about four, whatever the examples are.
        cut: Number of groups that were too large to stay whole, and are cut into runs of neighbours by name.
        largest: Examples of the largest of these; 0 where there is none.
    """

    groups: np.ndarray
    objects: np.ndarray
    whole: np.ndarray
    cut: int = 0
    largest: int = 0


def find_near_duplicates(
    features: np.ndarray,
    names: Sequence[str],
    classes: np.ndarray | None = None,
    *,
    step: Callable[[str], None] = lambda text: None,
) -> NearDuplicates | None:
    """Find examples that belong together, in time and memory that grow with their number and not with its square.

    Args:
        features: Features (N, width) of any pretrained backbone.
        names: What each is called: its path, or ``item 3``.
        classes: Class (N,) of each: clusters hold one class only. None takes all for one.
        step: Is told what is looked at.

    Returns:
        What belongs together; None where there are fewer than three examples.
    """
    if len(features) < 3:
        return None
    unit = normalized_features(features)
    classes = np.zeros(len(unit), dtype=int) if classes is None else classes
    step(f"comparing the names of {len(unit)} examples")
    tied = [key for key in keys_from_names(names) if _tells(key, unit, classes)]
    step(f"clustering {len(unit)} examples")
    clusters = find_clusters(unit, classes)
    named = join(*(np.where(key < 0, -1 - np.arange(len(key)), key) for key in tied), clusters.tight)
    groups = _near_duplicates(unit, names, named, step)
    return _fitted(groups, clusters, classes, names)


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
    between = (unit[others[:-1][apart][:_SAMPLE]] * unit[others[1:][apart][:_SAMPLE]]).sum(1)
    if len(between) < _PAIRS:
        return False
    return float(within.mean() - between.mean()) > _TELLING * float(between.std())


def _near_duplicates(
    unit: np.ndarray, names: Sequence[str], named: np.ndarray, step: Callable[[str], None]
) -> np.ndarray:
    """Join what looks the same to what is tied by other signs, more strictly until no group is large."""
    first, second = neighbours_by_name(names)
    cosine = np.concatenate(
        [(unit[i] * unit[j]).sum(1) for i, j in zip(_strips(first), _strips(second), strict=True)] or [np.empty(0)]
    )
    strict = 1 - (1 - _STEP) ** np.arange(_LEVELS)
    same, done = np.empty((_LEVELS, len(unit)), dtype=np.int64), 0
    for block in blocks(unit, np.arange(len(unit)), _COMPARED):
        step(f"looking for near-duplicates: {done} of {len(unit)} examples")
        same[:, block] = block[join_near_duplicates(unit[block], (_SAME + strict * (1 - _SAME)).tolist())]
        done += len(block)
    most = max(2, _LARGE_SHARE * len(unit))
    for level in range(_LEVELS):
        near = cosine >= _ROW + strict[level] * (1 - _ROW)
        groups = join_pairs(join(named, same[level]), first[near], second[near])
        if np.bincount(groups).max() <= most:
            break
    return groups


def _strips(rows: np.ndarray) -> list[np.ndarray]:
    """Divide rows into strips whose features fit into memory once more."""
    return np.array_split(rows, len(rows) // _SAMPLE + 1) if len(rows) else []


def _fitted(groups: np.ndarray, clusters: Clusters, classes: np.ndarray, names: Sequence[str]) -> NearDuplicates:
    """Cut groups that leave nothing to train on, or nothing to score, into runs of neighbours by name."""
    objects, whole = (_joined(groups, partition, classes) for partition in (clusters.objects, clusters.whole))
    too_large = _too_large(groups, classes)
    if not len(too_large):
        return NearDuplicates(groups=groups, objects=objects, whole=whole)
    place, sizes = np.empty(len(groups), dtype=np.int64), np.bincount(groups)
    place[reading_order(names)] = np.arange(len(groups))
    runs, following = np.full(len(groups), -1), 0
    for group in too_large:
        rows = np.flatnonzero(groups == group)
        count = max(_RUNS, round(2 * len(rows) / (_LARGE_SHARE * len(groups))))
        for run in np.array_split(rows[np.argsort(place[rows])], count):
            runs[run] = following
            following += 1
    groups, objects, whole = (
        np.unique(np.where(runs < 0, following + kept, runs), return_inverse=True)[1]
        for kept in (groups, objects, whole)
    )
    return NearDuplicates(
        groups=groups, objects=objects, whole=whole, cut=len(too_large), largest=int(sizes[too_large].max())
    )


def _joined(groups: np.ndarray, clusters: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Join groups and clusters; within each class only, where groups of several would chain too many together."""
    joined = join(groups, clusters)
    if np.bincount(joined).max() <= max(2, _LARGE_SHARE * len(groups), np.bincount(groups).max()):
        return joined
    return join(np.unique(np.stack([groups, classes]), axis=1, return_inverse=True)[1].ravel(), clusters)


def _too_large(groups: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the groups that hold too large a share of the examples, or of a class of several."""
    sizes = np.bincount(groups)
    found = sizes > max(2, _WHOLE_SHARE * len(groups))
    if len(labels := np.unique(classes)) > 1:
        for label in labels:
            own = np.bincount(groups[classes == label], minlength=len(sizes))
            found |= (own > 1) & (own > _WHOLE_CLASS_SHARE * own.sum())
    return np.flatnonzero(found)
