"""Arrays of examples of unequal length: packed, padded again, cached and counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from autotransfer.features.cache import ActivationCache
from autotransfer.features.ragged import Packed, Ragged, by_length


@pytest.fixture
def ragged() -> Ragged:
    """Three examples of 2, 0 and 3 positions with two values each."""
    return Ragged(np.arange(10.0, dtype=np.float32).reshape(5, 2), np.array([0, 2, 2, 5]))


def test_padded_rows_have_zeros_where_nothing_is_there(ragged: Ragged) -> None:
    padded = ragged.padded(np.array([2, 0]))
    assert padded.tolist() == [[[4, 5], [6, 7], [8, 9]], [[0, 1], [2, 3], [0, 0]]]
    assert ragged.padded(slice(1, 2)).shape == (1, 0, 2)
    assert len(ragged) == 3


def test_put_writes_what_packed_leaves_over(ragged: Ragged) -> None:
    empty = Ragged.empty(ragged.lengths, (2,), np.dtype(np.float32), lambda shape, dtype: np.zeros(shape, dtype))
    rows = np.array([2, 0, 1])
    mask = torch.arange(3) < torch.from_numpy(ragged.lengths[rows])[:, None]
    empty.put(rows, Packed.of(torch.from_numpy(ragged.padded(rows)), mask).values.numpy())
    assert empty.values.tolist() == ragged.values.tolist()


@pytest.mark.parametrize("memory_limit", [10**6, 30])
def test_ragged_arrays_stay_what_they_are_in_the_cache(ragged: Ragged, memory_limit: int, tmp_path: Path) -> None:
    plain = np.ones((3, 2), np.float32)
    ActivationCache(tmp_path, memory_limit=memory_limit).put("key", "about", (plain, ragged, plain))
    first, second, third = ActivationCache(tmp_path, memory_limit=memory_limit).get("key") or ()
    assert isinstance(second, Ragged)
    assert second.padded(slice(None)).tolist() == ragged.padded(slice(None)).tolist()
    assert isinstance(second.values, np.memmap) == (memory_limit < ragged.nbytes)
    for array in (first, third):
        assert isinstance(array, np.ndarray)
        assert array.tolist() == plain.tolist()


def test_ragged_bytes_in_memory_are_counted(ragged: Ragged) -> None:
    cache = ActivationCache(None, memory_limit=10**6)
    cache.put("key", "about", (ragged,))
    assert cache.held == ragged.nbytes == 5 * 2 * 4 + 4 * 8


def test_damaged_offsets_are_computed_again(ragged: Ragged, tmp_path: Path) -> None:
    ActivationCache(tmp_path, memory_limit=10**6).put("key", "about", (ragged,))
    file = tmp_path / "key" / "1.npy"
    file.write_bytes(file.read_bytes()[:-8] + b"\x09" + bytes(7))
    assert ActivationCache(tmp_path, memory_limit=10**6).get("key") is None


def test_longest_rows_come_first() -> None:
    lengths = np.array([3, 9, 1, 9])
    assert by_length(lengths).tolist() == [1, 3, 0, 2]
    assert by_length(lengths, np.array([2, 0, 1])).tolist() == [2, 1, 0]
