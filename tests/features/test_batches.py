"""Batch by batch: a last one of fewer rows can be filled up, where other sizes cost more than rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from autotransfer.features.batches import collect


@pytest.mark.parametrize(
    ("fill", "room", "sizes"),
    [(False, 4, [4, 4, 2]), (True, 4, [4, 4, 4]), (True, 3, [2, 2, 2, 2, 2]), (True, 99, [4, 4, 4])],
)
def test_every_row_is_computed(fill: bool, room: int, sizes: list[int]) -> None:
    seen: list[int] = []

    def doubled(rows: slice) -> tuple[Tensor, ...]:
        if rows.stop - rows.start > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        seen.append(rows.stop - rows.start)
        return (2 * torch.arange(rows.start, rows.stop),)

    (found,) = collect(doubled, 10, np.empty, (4,), half=False, lower=lambda: False, fill=fill)
    np.testing.assert_array_equal(found, 2 * np.arange(10))
    assert seen == sizes


def test_what_fits_into_one_batch_is_one() -> None:
    seen: list[slice] = []

    def ones(rows: slice) -> tuple[Tensor, ...]:
        seen.append(rows)
        return (torch.ones(rows.stop - rows.start),)

    collect(ones, 3, np.empty, (4,), half=False, lower=lambda: False, fill=True)
    assert seen == [slice(0, 3)]
