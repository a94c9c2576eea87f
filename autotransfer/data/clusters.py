"""Hierarchical clusters of the examples of each class, at three levels from fine to coarse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autotransfer.data.neighbours import blocks

__all__ = ["Clusters", "find_clusters"]

# Most examples that are clustered at once, since time and memory grow with their square.
_MAX_CLUSTERED_EXAMPLES = 1024
# Mean number of examples in a coarse cluster, and the number of clusters that a class keeps in any case.
_COARSE_CLUSTER_SIZE, _MIN_CLUSTERS_OF_CLASS = 4, 5
# Largest ratio of the distance at which a cluster was merged to the distance at which it meets its next neighbour.
# Tuned on exposures of real photographs: below the first ratio, two of them hardly ever show two objects; below the
# second, most objects are complete.
_MAX_FINE_MERGE_RATIO, _MAX_OBJECT_MERGE_RATIO = 0.5, 0.7
# With features of few dimensions, many clusters have a small ratio by chance. The ratio of a fine cluster is therefore
# below the median ratio to this power. Tuned on the same photographs.
_FINE_MEDIAN_EXPONENT = 6
# Largest share of all examples, and of the examples of a class, in one cluster. A larger cluster reflects the backbone
# or the class rather than an object.
_MAX_CLUSTER_SHARE, _MAX_CLUSTER_CLASS_SHARE = 0.1, 0.25


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """Three partitions of the examples; each array (N,) holds the number of an example's cluster.

    A cluster holds examples of one class.

    Attributes:
        fine: Clusters with a merge ratio below 0.5, which show one object each.
        objects: Clusters with a merge ratio below 0.7, which show one object each if the examples depend on each other.
        coarse: Clusters of about four examples; each cluster of ``objects`` lies in one of them.
    """

    fine: np.ndarray
    objects: np.ndarray
    coarse: np.ndarray


def find_clusters(unit: np.ndarray, classes: np.ndarray) -> Clusters:
    """Cluster the examples of each class by average linkage on the cosine.

    Args:
        unit: Centred features (N, width) of length 1.
        classes: Class (N,) of each example.
    """
    found = np.tile(np.arange(len(unit)), (3, 1))
    for label in np.unique(classes):
        own = np.flatnonzero(classes == label)
        max_size = max(2, int(min(_MAX_CLUSTER_SHARE * len(unit), _MAX_CLUSTER_CLASS_SHARE * len(own))))
        for rows in blocks(unit, own, _MAX_CLUSTERED_EXAMPLES):
            if len(rows) > 2:
                found[:, rows] = rows[_cluster(unit[rows], max_size)]
    return Clusters(fine=found[0], objects=found[1], coarse=found[2])


def _cluster(unit: np.ndarray, max_size: int) -> np.ndarray:
    """Return the first example of each example's cluster (3, n) at the levels fine, objects and coarse."""
    from scipy.cluster.hierarchy import linkage

    count = len(unit)
    distances = np.maximum(1 - unit @ unit.T, 0)[np.triu_indices(count, 1)]
    merges = linkage(distances.astype(np.float64), "average")
    left, right = merges[:, 0].astype(int), merges[:, 1].astype(int)
    parent = np.full(2 * count - 1, -1)
    parent[left] = parent[right] = np.arange(count, 2 * count - 1)
    height = np.concatenate([np.zeros(count), merges[:, 2]])
    size = np.concatenate([np.ones(count), merges[:, 3]])
    # The last node, which holds all examples, meets no other node and is in none of the partitions.
    ratio = np.append(height[:-1] / np.maximum(height[parent[:-1]], 1e-12), np.inf)
    clusters = max(round(count / _COARSE_CLUSTER_SIZE), min(_MIN_CLUSTERS_OF_CLASS, count // 2))
    merged_early = np.arange(2 * count - 1) < 2 * count - clusters  # nodes that exist when ``clusters`` are left
    fine = ratio < min(_MAX_FINE_MERGE_RATIO, float(np.median(ratio[count:])) ** _FINE_MEDIAN_EXPONENT)
    objects = ratio < _MAX_OBJECT_MERGE_RATIO
    partitions = (fine, objects, objects | merged_early)
    return np.stack([_leaf_clusters(parent, kept & (size <= max_size), count) for kept in partitions])


def _leaf_clusters(parent: np.ndarray, kept: np.ndarray, count: int) -> np.ndarray:
    """Return for each leaf the first leaf of its cluster, which is the highest kept node above the leaf."""
    top = np.where(kept, np.arange(len(parent)), -1)
    top[:count], top[-1] = np.arange(count), -1
    for node in range(len(parent) - 2, -1, -1):
        if (above := top[parent[node]]) >= 0:
            top[node] = above
    _, first, numbers = np.unique(top[:count], return_index=True, return_inverse=True)
    return np.asarray(first[numbers])
