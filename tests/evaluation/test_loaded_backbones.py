"""Backbones of a search: which of their stages are alike."""

from __future__ import annotations

import pytest
from torch import nn

from autotransfer.contract.backbone import SequentialBackbone
from autotransfer.evaluation.loaded_backbones import count_blocks
from autotransfer_plugins.modalities.image.formats import Preprocessing


def _backbone(*stages: nn.Module) -> SequentialBackbone:
    named = {f"stage{number}": stage for number, stage in enumerate(stages)}
    return SequentialBackbone(named, preprocessing=Preprocessing(size=(8, 8)), width=64)


def _blocks(count: int) -> list[nn.Module]:
    return [nn.Linear(64, 64) for _ in range(count)]


@pytest.mark.parametrize(
    ("stages", "count"),
    [
        pytest.param([nn.Embedding(1000, 64), *_blocks(6)], 6, id="blocks behind an embedding"),
        pytest.param([nn.Linear(3, 64), *_blocks(4), nn.LayerNorm(16)], 5, id="a norm behind them trains with them"),
        pytest.param([nn.Linear(3, 64), *_blocks(2)], 0, id="two are no stack"),
        pytest.param([nn.Linear(64, width) for width in (16, 32, 64, 128)], 0, id="stages that grow"),
        pytest.param([nn.Embedding(1000, 64)], 0, id="a single stage"),
    ],
)
def test_last_stages_that_are_alike_are_counted(stages: list[nn.Module], count: int) -> None:
    assert count_blocks(_backbone(*stages)) == count
