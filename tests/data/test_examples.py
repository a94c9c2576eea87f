"""Examples with others behind them that candidates are scored on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autotransfer.contract.modality import Skipped
from autotransfer.data.examples import Examples


class Lazy(Sequence[Any]):
    """Items that say when they are asked for."""

    def __init__(self, count: int) -> None:
        self.count, self.asked = count, list[int]()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: Any) -> Any:
        self.asked.append(i)
        return np.full((2, 2, 3), i, dtype=np.uint8)


def test_held_out_examples_come_last_and_are_fetched_lazily() -> None:
    first, second = Lazy(3), Lazy(2)
    train = Examples(items=first, names=("item 0", "item 1", "item 2"), targets=["a", "b", "a"])
    gone = Skipped(name="x.png", reason="not found")
    both = train.holding_out(Examples(items=second, names=("item 0", "y.png"), targets=["b", "b"], skipped=(gone,)))
    assert (first.asked, second.asked) == ([], []), "a data set may take long, or hold more than memory"
    assert len(both) == len(both.items) == 5
    assert [both.items[i][0, 0, 0] for i in (2, 3, 4)] == [2, 0, 1]
    assert both.held_out == (False, False, False, True, True)
    assert both.targets == ["a", "b", "a", "b", "b"]
    assert both.names == ("item 0", "item 1", "item 2", "validation item 0", "y.png")
    assert both.skipped == (gone,)


def test_lists_stay_lists() -> None:
    # Those may be asked for their sizes before anything is decoded.
    images = [np.zeros((2, 2, 3), dtype=np.uint8)] * 2
    one = Examples(items=images, names=("a", "b"), targets=[0, 1])
    assert isinstance(one.holding_out(one).items, list)
