"""Near-duplicates: exposures of one part, frames of one video, photographs of one object.

If some near-duplicates train and others score, the score is too high. The search compares the similarity of features
and names together. Features alone are not enough, since different examples of a series look similar, and neither are
names, since numbers in names can count anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from autotransfer.data.clusters import Clusters, find_clusters
from autotransfer.data.neighbours import blocks, join, join_near_duplicates, join_pairs, normalized_features
from autotransfer.data.series import join_over_classes, keys_from_names, neighbours_by_name, reading_order

__all__ = ["NearDuplicates", "find_near_duplicates"]

# Cosine of centred features from which two examples are near-duplicates, and from which they are if their names follow
# each other. Both, like all numbers here, were tuned on exposures and frames of real photographs.
_MIN_COSINE, _MIN_COSINE_OF_NEIGHBOURS = 0.97, 0.85
# A part of the names marks groups if the cosine within its groups exceeds the cosine between them by this many standard
# deviations, over at least this many pairs.
_MIN_KEY_EFFECT, _MIN_KEY_PAIRS = 0.75, 20
# While a group holds more than this share of the examples, the distances to the thresholds shrink by the second factor,
# this many times: a large group may reflect the backbone or a class rather than an object.
_MAX_GROUP_SHARE, _THRESHOLD_STEP, _THRESHOLD_LEVELS = 0.1, 0.25, 4
# Largest share of all examples, and of a class, of a group that is not divided: the rest must be enough to train on.
_MAX_UNDIVIDED_SHARE, _MAX_UNDIVIDED_CLASS_SHARE = 1 / 3, 2 / 3
# Fewest parts of a group that is divided.
_MIN_PARTS_OF_GROUP = 5
# Most examples of a block, within which every pair is compared.
_MAX_BLOCK_EXAMPLES = 2048
# Most pairs on which the effect of a part of the names is measured, and rows of features that are copied at a time.
_MAX_SAMPLED_PAIRS = 5000


@dataclass(frozen=True, kw_only=True)
class NearDuplicates:
    """Three partitions of the examples, from fine to coarse; each array (N,) holds the number of an example's set.

    Attributes:
        groups: Sets of near-duplicates.
        objects: Unions of ``groups`` and of clusters of the level ``objects``.
        clusters: Unions of ``groups`` and of clusters of about four examples.
        divided: Number of groups that were too large and were divided into runs of neighbours by name.
        largest_divided: Number of examples of the largest divided group; 0 where no group was divided.
    """

    groups: np.ndarray
    objects: np.ndarray
    clusters: np.ndarray
    divided: int = 0
    largest_divided: int = 0


def find_near_duplicates(
    features: np.ndarray,
    names: Sequence[str],
    classes: np.ndarray | None = None,
    *,
    report: Callable[[str], None] = lambda text: None,
) -> NearDuplicates | None:
    """Find near-duplicates in time and memory that grow linearly with the number of examples.

    Args:
        features: Features (N, width) of any pretrained backbone.
        names: Path of each example; empty for one that is no file, since numbers of rows count no series.
        classes: Class (N,) of each example; a cluster holds one class. None takes all examples for one class.
        report: Called with a line of text when a step begins.

    Returns:
        The partitions; None with fewer than three examples.
    """
    if len(features) < 3:
        return None
    unit = normalized_features(features)
    classes = np.zeros(len(unit), dtype=int) if classes is None else classes
    report(f"comparing the names of {len(unit)} examples")
    marking = (key for key in keys_from_names(names) if _marks_groups(key, unit, classes))
    keys = [join_over_classes(key, names, classes) for key in marking]
    report(f"clustering {len(unit)} examples")
    clusters = find_clusters(unit, classes)
    known = join(*(np.where(key < 0, -1 - np.arange(len(key)), key) for key in keys), clusters.fine)
    groups = _join_similar(unit, names, known, report)
    return _divide_large_groups(groups, clusters, classes, names)


def _marks_groups(key: np.ndarray, unit: np.ndarray, classes: np.ndarray) -> bool:
    """Whether examples of equal key are more similar than other examples of their class."""
    rng = np.random.default_rng(0)
    order = np.lexsort((rng.random(len(key)), key))  # equal keys side by side
    first, second = order[:-1], order[1:]
    equal = (key[first] == key[second]) & (key[first] >= 0) & (classes[first] == classes[second])
    first, second = first[equal][:_MAX_SAMPLED_PAIRS], second[equal][:_MAX_SAMPLED_PAIRS]
    if len(first) < _MIN_KEY_PAIRS:
        return False
    others = np.concatenate([rng.permutation(np.flatnonzero(classes == label)) for label in np.unique(classes)])
    apart = (classes[others[:-1]] == classes[others[1:]]) & (key[others[:-1]] != key[others[1:]])
    within = (unit[first] * unit[second]).sum(1)
    between = (unit[others[:-1][apart][:_MAX_SAMPLED_PAIRS]] * unit[others[1:][apart][:_MAX_SAMPLED_PAIRS]]).sum(1)
    if len(between) < _MIN_KEY_PAIRS:
        return False
    return float(within.mean() - between.mean()) > _MIN_KEY_EFFECT * float(between.std())


def _join_similar(
    unit: np.ndarray, names: Sequence[str], known: np.ndarray, report: Callable[[str], None]
) -> np.ndarray:
    """Join similar examples; raise the thresholds until no group holds more than a tenth of the examples."""
    first, second = neighbours_by_name(names)
    cosine = np.concatenate(
        [(unit[i] * unit[j]).sum(1) for i, j in zip(_chunks(first), _chunks(second), strict=True)] or [np.empty(0)]
    )
    raised = 1 - (1 - _THRESHOLD_STEP) ** np.arange(_THRESHOLD_LEVELS)
    same, done = np.empty((_THRESHOLD_LEVELS, len(unit)), dtype=np.int64), 0
    for block in blocks(unit, np.arange(len(unit)), _MAX_BLOCK_EXAMPLES):
        report(f"looking for near-duplicates: {done} of {len(unit)} examples")
        same[:, block] = block[join_near_duplicates(unit[block], (_MIN_COSINE + raised * (1 - _MIN_COSINE)).tolist())]
        done += len(block)
    max_size = max(2, _MAX_GROUP_SHARE * len(unit))
    for level in range(_THRESHOLD_LEVELS):
        near = cosine >= _MIN_COSINE_OF_NEIGHBOURS + raised[level] * (1 - _MIN_COSINE_OF_NEIGHBOURS)
        groups = join_pairs(join(known, same[level]), first[near], second[near])
        if np.bincount(groups).max() <= max_size:
            break
    return groups


def _chunks(rows: np.ndarray) -> list[np.ndarray]:
    """Divide rows into chunks of at most 5,000, since the features of a chunk are copied."""
    return np.array_split(rows, len(rows) // _MAX_SAMPLED_PAIRS + 1) if len(rows) else []


def _divide_large_groups(
    groups: np.ndarray, clusters: Clusters, classes: np.ndarray, names: Sequence[str]
) -> NearDuplicates:
    """Divide groups that leave too few examples to train on or to score into runs of neighbours by name."""
    objects, coarse = (_joined(groups, partition, classes) for partition in (clusters.objects, clusters.coarse))
    too_large = _too_large(groups, classes)
    if not len(too_large):
        return NearDuplicates(groups=groups, objects=objects, clusters=coarse)
    position, sizes = np.empty(len(groups), dtype=np.int64), np.bincount(groups)
    position[reading_order(names)] = np.arange(len(groups))
    runs, next_run = np.full(len(groups), -1), 0
    for group in too_large:
        rows = np.flatnonzero(groups == group)
        count = max(_MIN_PARTS_OF_GROUP, round(2 * len(rows) / (_MAX_GROUP_SHARE * len(groups))))
        for run in np.array_split(rows[np.argsort(position[rows])], count):
            runs[run] = next_run
            next_run += 1
    groups, objects, coarse = (
        np.unique(np.where(runs < 0, next_run + partition, runs), return_inverse=True)[1]
        for partition in (groups, objects, coarse)
    )
    return NearDuplicates(
        groups=groups,
        objects=objects,
        clusters=coarse,
        divided=len(too_large),
        largest_divided=int(sizes[too_large].max()),
    )


def _joined(groups: np.ndarray, clusters: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Join groups and clusters; join them within each class only, where the union would make a set too large."""
    joined = join(groups, clusters)
    if np.bincount(joined).max() <= max(2, _MAX_GROUP_SHARE * len(groups), np.bincount(groups).max()):
        return joined
    return join(np.unique(np.stack([groups, classes]), axis=1, return_inverse=True)[1].ravel(), clusters)


def _too_large(groups: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the groups that hold more than a third of the examples, or two thirds of one of several classes."""
    sizes = np.bincount(groups)
    found = sizes > max(2, _MAX_UNDIVIDED_SHARE * len(groups))
    if len(labels := np.unique(classes)) > 1:
        for label in labels:
            own = np.bincount(groups[classes == label], minlength=len(sizes))
            found |= (own > 1) & (own > _MAX_UNDIVIDED_CLASS_SHARE * own.sum())
    return np.flatnonzero(found)
