"""Fused layers compute what they stand for, and nothing is fused that others need."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from autotransfer.backbones.fuse_layers import _FusedConv, _FusedLinear, can_fuse, fuse_layers
from autotransfer.contract.backbone import SequentialBackbone
from autotransfer.runtime.device import resolve_device
from autotransfer_plugins.modalities.image.formats import Preprocessing

pytestmark = pytest.mark.skipif(not can_fuse(torch.device("cpu")), reason="this torch has no such kernels")

ACTIVATIONS: dict[str, nn.Module] = {
    "relu": nn.ReLU(),
    "relu in place": nn.ReLU(inplace=True),
    "relu6": nn.ReLU6(),
    "silu": nn.SiLU(),
    "hardswish": nn.Hardswish(),
    "gelu": nn.GELU(),
    "gelu tanh": nn.GELU(approximate="tanh"),
}


class Flat(nn.Module):
    """Turns a map (N, C, h, w) into tokens (N, h w, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)


def made(body: Mapping[str, nn.Module], side: int = 16, width: int = 8) -> SequentialBackbone:
    torch.manual_seed(0)
    for module in nn.ModuleList(body.values()).modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.reset_parameters()
    return SequentialBackbone(body, preprocessing=Preprocessing(size=(side, side)), width=width).eval()


def fused(backbone: SequentialBackbone, dtype: torch.dtype = torch.float32) -> SequentialBackbone:
    twin = copy.deepcopy(backbone).to(dtype).to(memory_format=torch.channels_last)
    fuse_layers(twin, images(backbone).to(dtype))
    return twin


def images(backbone: SequentialBackbone, count: int = 3) -> Tensor:
    batch = torch.randn(count, 3, *backbone.preprocessing.size, generator=torch.Generator().manual_seed(1))
    return batch.to(memory_format=torch.channels_last)


def assert_same(backbone: SequentialBackbone, twin: SequentialBackbone, tolerance: float = 1e-4) -> None:
    batch = images(backbone, 5)
    with torch.inference_mode():
        exact, found = backbone(batch), twin(batch.to(next(iter(twin.state_dict().values())).dtype)).float()
    assert float((found - exact).abs().max() / exact.abs().max()) < tolerance


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_goes_into_its_convolution(name: str) -> None:
    backbone = made({"one": nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), ACTIVATIONS[name])})
    twin = fused(backbone)
    assert [type(module) for module in twin.body["one"]] == [_FusedConv, nn.Identity]
    assert_same(backbone, twin)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_goes_into_its_linear_layer(name: str) -> None:
    backbone = made(
        {"one": nn.Conv2d(3, 4, 4, stride=4), "two": nn.Sequential(Flat(), nn.Linear(4, 8), ACTIVATIONS[name])}
    )
    twin = fused(backbone)
    assert [type(module) for module in twin.body["two"]] == [Flat, _FusedLinear, nn.Identity]
    assert_same(backbone, twin)


@pytest.mark.skipif(resolve_device("cpu").half is None, reason="this processor does not compute in 16 bit")
def test_in_16_bit_they_agree_as_far_as_it_reaches() -> None:
    backbone = made({"one": nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU(), nn.Conv2d(8, 8, 1), nn.GELU())})
    assert_same(backbone, fused(backbone, torch.bfloat16), tolerance=0.03)


def test_an_activation_behind_a_folded_norm_is_found() -> None:
    backbone = made({"one": nn.Sequential(nn.Conv2d(3, 8, 3), nn.Identity(), nn.ReLU())})
    twin = fused(backbone)
    assert isinstance(twin.body["one"][2], nn.Identity)
    assert_same(backbone, twin)


@pytest.mark.parametrize("side", [15, 16, 17])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 2), (3, 1), (7, 4), (1, 2)])
@pytest.mark.parametrize("groups", [1, 3])
def test_padding_as_in_tensorflow_needs_no_copy_of_the_input(side: int, kernel: int, stride: int, groups: int) -> None:
    conv = Conv2dSame(3, 9, kernel, stride=stride, groups=groups)
    backbone = made({"one": nn.Sequential(conv, nn.ReLU())}, side=side, width=9)
    twin = fused(backbone)
    assert isinstance(twin.body["one"][0], _FusedConv)
    assert_same(backbone, twin)


def test_an_uneven_padding_of_many_channels_is_left_alone() -> None:
    # A larger kernel would cost more than the copy that it saves.
    stem = nn.Conv2d(3, 16, 1)
    backbone = made({"one": stem, "two": nn.Sequential(Conv2dSame(16, 8, 3, stride=2), nn.ReLU())})
    twin = fused(backbone)
    assert isinstance(twin.body["two"][0], Conv2dSame)
    assert_same(backbone, twin)


def test_an_activation_of_the_next_stage_stays_there() -> None:
    # At the boundary between the two it belongs to what trains.
    backbone = made({"one": nn.Conv2d(3, 8, 3), "two": nn.Sequential(nn.ReLU(), nn.Conv2d(8, 8, 1))})
    twin = fused(backbone)
    assert isinstance(twin.body["two"][0], nn.ReLU)
    assert_same(backbone, twin)


class Twice(nn.Module):
    """One activation, or one convolution, called at two places."""

    def __init__(self, *, activation: bool) -> None:
        super().__init__()
        self.activation = activation
        self.first, self.second, self.act = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 8, 3), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        if self.activation:
            return self.act(self.second(self.act(self.first(x))))
        return self.second(self.act(self.first(self.first(x))))


@pytest.mark.parametrize("activation", [True, False])
def test_what_is_called_at_two_places_is_left_alone(activation: bool) -> None:
    backbone = made({"one": Twice(activation=activation)})
    twin = fused(backbone)
    kept = twin.body["one"].act if activation else twin.body["one"].first
    assert type(kept) is (nn.ReLU if activation else nn.Conv2d)
    assert_same(backbone, twin)


class Branch(nn.Module):
    """What comes before the activation is used beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 8, 3), nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        found = self.conv(x)
        return found + self.act(found)


def test_features_would_show_that_more_was_fused_than_may_be() -> None:
    # Whether an output is used elsewhere cannot be seen by hooks: the check of the features is what catches it.
    backbone = made({"one": Branch()})
    twin = fused(backbone)
    batch = images(backbone)
    with torch.inference_mode():
        alike = nn.functional.cosine_similarity(backbone(batch), twin(batch)).min()
    assert alike < 0.995


def test_fused_layer_of_another_type_raises() -> None:
    backbone = made({"one": nn.Conv2d(3, 4, 4, stride=4), "two": nn.Sequential(Flat(), nn.Linear(4, 8))})
    twin = fused(backbone)
    with torch.inference_mode(), pytest.raises(TypeError, match=r"convolution of torch\.float32 got torch\.bfloat16"):
        twin(images(backbone).bfloat16())
    with torch.inference_mode(), pytest.raises(TypeError, match=r"linear layer of torch\.float32 got torch\.bfloat16"):
        twin.body["two"](torch.randn(2, 4, 2, 2).bfloat16())
