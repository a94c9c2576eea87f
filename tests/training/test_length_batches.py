"""Training on examples of unequal length: batches of similar length, and outputs in the order of the rows."""

from __future__ import annotations

import numpy as np
import torch

from autotransfer.training.length_batches import of_similar_length


def test_batches_hold_similar_lengths_in_random_order() -> None:
    rng = np.random.default_rng(0)
    lengths, order = rng.integers(1, 100, 330), rng.permutation(330)
    found = of_similar_length(order, lengths, 10, torch.Generator().manual_seed(0))
    assert sorted(found) == list(range(330))
    batches = [lengths[found[start : start + 10]] for start in range(0, 330, 10)]
    padding = 1 - lengths.sum() / sum(10 * batch.max() for batch in batches)
    assert padding < 0.12, "random batches have 45%"
    longest = [int(batch.max()) for batch in batches]
    assert longest != sorted(longest)


def test_what_is_left_of_a_batch_is_drawn_from_all_lengths() -> None:
    order = np.random.default_rng(0).permutation(25)
    found = of_similar_length(order, np.arange(25), 10, torch.Generator().manual_seed(0))
    assert found[20:].tolist() == order[20:].tolist()


def test_equal_seeds_give_equal_batches() -> None:
    first, second = (
        of_similar_length(np.arange(64), np.arange(64) % 7, 8, torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert first.tolist() == second.tolist()
