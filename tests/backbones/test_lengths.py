"""Cuts of backbones whose inputs have a mask: exact for inputs of other lengths than the recorded ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fixtures.lengths import WIDTH, SequenceFormat, SequenceNet
from torch import Tensor, nn

from autotransfer.backbones.cut import Cut
from autotransfer.backbones.inputs import cells, shortened, without_padding
from autotransfer.backbones.stage_features import StageFeatures
from autotransfer.contract.backbone import Backbone


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 5, 19])
def test_cut_is_exact_at_another_length_than_recorded(sequence_net: SequenceNet, depth: int, length: int) -> None:
    cut = Cut(sequence_net, depth, SequenceFormat().probe(3), SequenceFormat().probe(3, seed=1))
    assert cut.reason == ""
    assert cut.follows == (True,)
    inputs = SequenceFormat(length=length).probe(6, seed=2)
    with torch.no_grad():
        (cached,) = cut.prefix(sequence_net, inputs)
        assert cached.shape == (6, length, WIDTH)
        packed = without_padding(cached, inputs["mask"])
        torch.testing.assert_close(cut.suffix(sequence_net, (packed,), inputs=inputs), sequence_net(inputs))


def test_numbers_that_cross_grow_with_the_length(sequence_net: SequenceNet) -> None:
    cut = Cut(sequence_net, 2, SequenceFormat(length=12).probe(3))
    assert cut.numbers == 12 * WIDTH
    assert cut.numbers_of(7.5) == 7.5 * WIDTH


class Unmasked(SequenceNet):
    """A net whose layers look at positions that are not there."""

    def forward_map(self, inputs: Any) -> Tensor:
        """Return positions (N, L, WIDTH)."""
        return super().forward_map({**inputs, "mask": torch.ones_like(inputs["mask"])})


class Transposed(SequenceNet):
    """A net whose positions lie in the last axis at the boundary."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv1d(WIDTH, WIDTH, 1)

    def stage_of(self, parameter: str) -> int:
        """Return the stage of a parameter."""
        return 3 if parameter.startswith("mix") else min(super().stage_of(parameter), 2)

    def forward_map(self, inputs: Any) -> Tensor:
        """Return positions (N, L, WIDTH)."""
        return self.mix(super().forward_map(inputs).transpose(1, 2)).transpose(1, 2)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("net", "depth", "reason"), [(Unmasked, 1, "the outputs differ"), (Transposed, 3, "follows the length along")]
)
def test_net_that_lengths_do_not_suit_is_not_cut(net: type[Backbone], depth: int, reason: str) -> None:
    torch.manual_seed(0)
    cut = Cut(net().eval(), depth, SequenceFormat().probe(3))  # type: ignore[call-arg]
    assert not cut.exact
    assert reason in cut.reason


def test_cells_of_a_long_row_average_its_own_positions() -> None:
    features = torch.arange(12.0).reshape(1, 12, 1).repeat(2, 1, 1)
    mask = torch.arange(12) < torch.tensor([[12], [6]])
    assert cells(features, mask, 3)[..., 0].tolist() == [[1.5, 5.5, 9.5], [0.5, 2.5, 4.5]]


def test_cells_of_a_short_row_are_its_positions_and_their_mean() -> None:
    features = torch.tensor([[[1.0], [5.0], [float("nan")]]])
    assert cells(features, torch.tensor([[True, True, False]]), 4)[0, :, 0].tolist() == [1.0, 5.0, 3.0, 3.0]


def test_stage_features_do_not_depend_on_padding(sequence_net: SequenceNet) -> None:
    stages = StageFeatures(sequence_net, SequenceFormat().probe(3))
    assert stages.widths == (8 * WIDTH,) * 3  # of 16 channels, 8 cells
    inputs = SequenceFormat(length=10).probe(4)
    length = int(inputs["mask"][3].sum())
    alone = {name: tensor[3:, :length] for name, tensor in inputs.items()}
    with torch.no_grad():
        for among, own in zip(stages(sequence_net, inputs), stages(sequence_net, alone), strict=True):
            torch.testing.assert_close(among[3:], own)


def test_shortened_leaves_what_has_no_positions() -> None:
    inputs = {"mask": torch.ones(2, 5, dtype=torch.bool), "count": torch.ones(2), "wave": torch.ones(2, 7)}
    shapes = {name: tuple(tensor.shape) for name, tensor in shortened(inputs, 3).items()}  # type: ignore[union-attr]
    assert shapes == {"mask": (2, 3), "count": (2,), "wave": (2, 7)}
