"""Near-duplicates by their features, in bounded memory: blocks of near examples, and sets joined by pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

__all__ = ["blocks", "join", "join_near_duplicates", "join_pairs", "normalized_features"]

# Rows of the matrix of likeness that are held at a time.
_STRIP = 128
# Steps of the power iteration that finds the direction in which examples spread most.
_ITERATIONS = 6


def normalized_features(features: np.ndarray) -> np.ndarray:
    """Centre features (N, width) and bring them to length 1, float32: what all images share says nothing."""
    centred = (features - features.mean(0, dtype=np.float64)).astype(np.float32)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12))


def blocks(unit: np.ndarray, rows: np.ndarray, most: int) -> list[np.ndarray]:
    """Divide rows into blocks of examples that are near each other, so that only these need be compared.

    Each block is halved at its median along the direction in which it spreads most: two that are much alike part
    seldom.

    Args:
        unit: Features (N, width) of length 1.
        rows: Which of them.
        most: Rows of a block at most.
    """
    if len(rows) <= most:
        return [rows]
    spread = unit[rows] - unit[rows].mean(0)
    direction = spread[int(np.square(spread).sum(1).argmax())]
    for _ in range(_ITERATIONS):
        direction = (spread @ direction) @ spread
        direction /= max(float(np.linalg.norm(direction)), 1e-12)
    order, half = np.argsort(spread @ direction, kind="stable"), len(rows) // 2
    return [part for side in (order[:half], order[half:]) for part in blocks(unit, np.sort(rows[side]), most)]


def join_pairs(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the number (N,) of the set of each example after the sets of the pairs (first, second) are made one."""
    if not len(first):
        return labels
    count = int(labels.max()) + 1
    graph = coo_matrix((np.ones(len(first), dtype=bool), (labels[first], labels[second])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1][labels])


def join(*partitions: np.ndarray) -> np.ndarray:
    """Return the number (N,) of the smallest sets that hold every set of each partition (N,) whole."""
    labels = np.arange(len(partitions[0]))
    for partition in partitions:
        order = np.argsort(partition, kind="stable")
        equal = partition[order[:-1]] == partition[order[1:]]
        labels = join_pairs(labels, order[:-1][equal], order[1:][equal])
    return labels


def join_near_duplicates(unit: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """Return for each threshold and example (thresholds, N) the first of those that cosines above it chain it to.

    Args:
        unit: The features (N, width) of one block of examples, of length 1.
        thresholds: The cosines, ascending.
    """
    labels = np.tile(np.arange(len(unit)), (len(thresholds), 1))
    for start in range(0, len(unit), _STRIP):
        rows = slice(start, start + _STRIP)
        cosine = unit[rows] @ unit[start:].T
        for level, least in enumerate(thresholds):
            # Of many pairs of one scene, the first ones join them all.
            news = (cosine >= least) & (labels[level, rows, None] != labels[level, start:])
            first, second = np.nonzero(news)
            labels[level] = join_pairs(labels[level], first + start, second + start)
    return labels
