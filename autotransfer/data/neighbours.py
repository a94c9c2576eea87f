"""Nearest neighbours in bounded memory: blocks of similar examples, and sets that are joined by pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

__all__ = ["blocks", "join", "join_near_duplicates", "join_pairs", "normalized_features"]

# Rows of the similarity matrix that are in memory at a time.
_SIMILARITY_ROWS = 128
# Steps of the power iteration that approximates the first principal component.
_POWER_ITERATIONS = 6


def normalized_features(features: np.ndarray) -> np.ndarray:
    """Centre features (N, width) and scale each row to length 1, as float32."""
    centred = (features - features.mean(0, dtype=np.float64)).astype(np.float32)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12))


def blocks(unit: np.ndarray, rows: np.ndarray, max_rows: int) -> list[np.ndarray]:
    """Divide rows into blocks of similar examples, so that only examples of one block need comparing.

    A block that is too large is halved at the median of its first principal component, which seldom separates
    near-duplicates.

    Args:
        unit: Features (N, width) of length 1.
        rows: Rows to divide.
        max_rows: Most rows of a block.
    """
    if len(rows) <= max_rows:
        return [rows]
    spread = unit[rows] - unit[rows].mean(0)
    direction = spread[int(np.square(spread).sum(1).argmax())]
    for _ in range(_POWER_ITERATIONS):
        direction = (spread @ direction) @ spread
        direction /= max(float(np.linalg.norm(direction)), 1e-12)
    order, half = np.argsort(spread @ direction, kind="stable"), len(rows) // 2
    return [part for side in (order[:half], order[half:]) for part in blocks(unit, np.sort(rows[side]), max_rows)]


def join_pairs(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Join the sets of each pair of examples (first, second), and return the number (N,) of each example's set."""
    if not len(first):
        return labels
    count = int(labels.max()) + 1
    graph = coo_matrix((np.ones(len(first), dtype=bool), (labels[first], labels[second])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1][labels])


def join(*partitions: np.ndarray) -> np.ndarray:
    """Return the finest partition (N,) that is coarser than every given partition (N,)."""
    labels = np.arange(len(partitions[0]))
    for partition in partitions:
        order = np.argsort(partition, kind="stable")
        equal = partition[order[:-1]] == partition[order[1:]]
        labels = join_pairs(labels, order[:-1][equal], order[1:][equal])
    return labels


def join_near_duplicates(unit: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """Join examples whose cosine reaches a threshold (single linkage).

    Args:
        unit: Features (N, width) of one block of examples, of length 1.
        thresholds: Cosines in ascending order.

    Returns:
        The first example of each example's set, for each threshold (thresholds, N).
    """
    labels = np.tile(np.arange(len(unit)), (len(thresholds), 1))
    for start in range(0, len(unit), _SIMILARITY_ROWS):
        rows = slice(start, start + _SIMILARITY_ROWS)
        cosine = unit[rows] @ unit[start:].T
        for level, threshold in enumerate(thresholds):
            # Pairs that an earlier chunk of rows has joined are left out.
            new = (cosine >= threshold) & (labels[level, rows, None] != labels[level, start:])
            first, second = np.nonzero(new)
            labels[level] = join_pairs(labels[level], first + start, second + start)
    return labels
