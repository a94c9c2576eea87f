"""Batches of examples of similar length, in random order: padding costs little time."""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["of_similar_length"]

# Batches of a pool, within which examples are sorted by length. On three data sets of 5,000 to 7,000 examples, random
# batches of 32 are 42 to 51% padding; those of pools of 4, 16 and 64 batches are 22 to 23%, 8 to 10% and 2 to 3%.
BATCHES_IN_POOL = 16


def of_similar_length(order: np.ndarray, lengths: np.ndarray, size: int, rng: torch.Generator) -> np.ndarray:
    """Return examples in an order whose batches hold similar lengths.

    Args:
        order: The examples in random order.
        lengths: Number of positions of each example.
        size: Examples in a batch; the last batch holds what is left.
        rng: Draws the order of the batches.
    """
    full = len(order) // size * size
    batches = list[np.ndarray]()
    for start in range(0, full, size * BATCHES_IN_POOL):
        rows = order[start : min(start + size * BATCHES_IN_POOL, full)]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches += np.split(rows, range(size, len(rows), size))
    places = torch.randperm(len(batches), generator=rng).tolist()
    return np.concatenate([*(batches[place] for place in places), order[full:]])
