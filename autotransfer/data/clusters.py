"""Clusters of examples of one class: those far closer to each other than to the next, and small ones of any kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autotransfer.data.neighbours import blocks

__all__ = ["Clusters", "find_clusters"]

# Examples of one class that are clustered together at most: time and memory grow with the square.
_LARGEST_BLOCK = 1024
# Examples of a whole cluster, on average, as long as a class then has so many clusters.
_CLUSTER_SIZE, _FEWEST_CLUSTERS = 4, 5
# A cluster stands apart if it came about at such a share of the distance at which it meets the next one. Judged on
# exposures of real photographs: below the first hardly any two of them show two objects; below the second most
# objects are whole.
_TIGHT, _OBJECT = 0.5, 0.7
# Where features have few dimensions, many clusters stand apart by chance: tight ones lie below this power of the
# median.
_RARE = 6
# No cluster may hold a larger share of the examples, or of a class: that says more of the backbone, or of the class,
# than of an object.
_LARGEST_SHARE, _LARGEST_CLASS_SHARE = 0.1, 0.25


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """Partitions of the examples, the number of its set for each (N,); no set holds two classes.

    Attributes:
        tight: Sets far closer than the second tier: they belong together.
        objects: Sets closer than the second tier: each is an object, where examples turn out to depend on each other.
        whole: Sets of about four and at least what ``objects`` holds, whatever the examples are.
    """

    tight: np.ndarray
    objects: np.ndarray
    whole: np.ndarray


def find_clusters(unit: np.ndarray, classes: np.ndarray) -> Clusters:
    """Cluster the examples of each class by average linkage on the cosine.

    Args:
        unit: Centred features (N, width) of length 1.
        classes: Class (N,) of each.
    """
    found = np.tile(np.arange(len(unit)), (3, 1))
    for label in np.unique(classes):
        own = np.flatnonzero(classes == label)
        most = max(2, int(min(_LARGEST_SHARE * len(unit), _LARGEST_CLASS_SHARE * len(own))))
        for rows in blocks(unit, own, _LARGEST_BLOCK):
            if len(rows) > 2:
                found[:, rows] = rows[_cluster(unit[rows], most)]
    return Clusters(tight=found[0], objects=found[1], whole=found[2])


def _cluster(unit: np.ndarray, most: int) -> np.ndarray:
    """Return for each example (3, n) the first one of its set: tight, object, whole."""
    from scipy.cluster.hierarchy import linkage

    count = len(unit)
    distances = np.maximum(1 - unit @ unit.T, 0)[np.triu_indices(count, 1)]
    merges = linkage(distances.astype(np.float64), "average")
    left, right = merges[:, 0].astype(int), merges[:, 1].astype(int)
    parent = np.full(2 * count - 1, -1)
    parent[left] = parent[right] = np.arange(count, 2 * count - 1)
    height = np.concatenate([np.zeros(count), merges[:, 2]])
    size = np.concatenate([np.ones(count), merges[:, 3]])
    # Of the last node, which holds them all, nothing stands apart: it is in none of the partitions.
    apart = np.append(height[:-1] / np.maximum(height[parent[:-1]], 1e-12), np.inf)
    wanted = max(round(count / _CLUSTER_SIZE), min(_FEWEST_CLUSTERS, count // 2))
    cut = np.arange(2 * count - 1) < 2 * count - wanted  # what came about before so many clusters were left
    tight = apart < min(_TIGHT, float(np.median(apart[count:])) ** _RARE)
    objects = apart < _OBJECT
    partitions = (tight, objects, objects | cut)
    return np.stack([_sets(parent, kept & (size <= most), count) for kept in partitions])


def _sets(parent: np.ndarray, kept: np.ndarray, count: int) -> np.ndarray:
    """Return for each leaf the first leaf under the highest node above it that is kept; the last node never is."""
    top = np.where(kept, np.arange(len(parent)), -1)
    top[:count], top[-1] = np.arange(count), -1
    for node in range(len(parent) - 2, -1, -1):
        if (above := top[parent[node]]) >= 0:
            top[node] = above
    _, first, numbers = np.unique(top[:count], return_index=True, return_inverse=True)
    return np.asarray(first[numbers])
