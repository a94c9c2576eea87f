"""The cut at a boundary: exact on real architectures of many families, or refused with a reason."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autotransfer.backbones.cut import TOLERANCE, Cut
from autotransfer.contract.backbone import Backbone, SequentialBackbone
from autotransfer_plugins.backbones.timm import TimmBackbone
from autotransfer_plugins.modalities.image.formats import Preprocessing

BuildFamily = Callable[..., TimmBackbone]

# The last stage of these begins inside the one before it.
UNCUT_AT_THE_END = {"cait_xxs24_224"}
# Branches of these bypass every boundary.
UNCUT: dict[str, tuple[int, Mapping[str, Any]]] = {
    "coat_tiny": (64, {"img_size": 64, "serial_depths": (1, 1, 1, 1), "parallel_depth": 1}),
    "nasnetalarge": (64, {"num_features": 96, "stem_size": 8}),
}


def images(backbone: Backbone, count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, *backbone.preprocessing.size, generator=generator)


@pytest.fixture(scope="module")
def vit(build_family: BuildFamily) -> TimmBackbone:
    return build_family("test_vit")


@pytest.fixture(scope="module")
def resnet(build_family: BuildFamily) -> TimmBackbone:
    return build_family("test_resnet")


@pytest.mark.slow
def test_every_cut_of_a_family_is_exact(any_family: str, build_family: BuildFamily) -> None:
    backbone = build_family(any_family)
    stages = len(backbone.stages)
    assert stages >= 3, "too few stages to test anything"
    reasons = {depth: Cut(backbone, depth, images(backbone, 3)).reason for depth in range(1, stages)}
    expected = {stages - 1} if any_family in UNCUT_AT_THE_END else set()
    assert {depth for depth, reason in reasons.items() if reason} == expected, reasons


@pytest.mark.slow
@pytest.mark.parametrize("family", UNCUT)
def test_a_family_that_cannot_be_cut_is_refused_with_a_reason(family: str, build_family: BuildFamily) -> None:
    backbone = build_family(family, UNCUT[family])
    cuts = [Cut(backbone, depth, images(backbone, 3)) for depth in range(1, len(backbone.stages), 4)]
    assert [(cut.exact, bool(cut.reason)) for cut in cuts] == [(False, True)] * len(cuts)


@pytest.mark.parametrize("family", ["test_vit", "test_resnet", "swin_tiny_patch4_window7_224", "tnt_s_patch16_224"])
@pytest.mark.parametrize("rows", [1, 5])
def test_other_batch_sizes_than_the_recorded_one_agree(family: str, rows: int, build_family: BuildFamily) -> None:
    backbone = build_family(family)
    batch = images(backbone, rows, seed=1)
    with torch.no_grad():
        whole = backbone(batch)
        for depth in (1, len(backbone.stages) - 1):
            cut = Cut(backbone, depth, images(backbone, 3))
            difference = (cut.suffix(backbone, cut.prefix(backbone, batch)) - whole).abs().max()
            assert difference <= TOLERANCE * whole.abs().max()


def test_the_suffix_gives_the_feature_map_as_well(vit: TimmBackbone) -> None:
    cut, batch = Cut(vit, 3, images(vit, 3)), images(vit, 2, seed=1)
    with torch.no_grad():
        split = cut.suffix(vit, cut.prefix(vit, batch), lambda x: vit.as_map(vit.forward_map(x)))
        torch.testing.assert_close(split, vit.as_map(vit.forward_map(batch)))


@pytest.mark.parametrize("family", ["test_vit", "test_resnet"])
def test_gradient_of_a_suffix_equals_that_of_the_whole(family: str, build_family: BuildFamily) -> None:
    backbone = build_family(family)
    depth, batch = 3, images(backbone, 4, seed=1)
    cut = Cut(backbone, depth, images(backbone, 3))
    assert cut.exact
    with torch.no_grad():
        cached = cut.prefix(backbone, batch)

    def gradients(output: Tensor) -> dict[str, Tensor]:
        backbone.zero_grad()
        output.square().sum().backward()
        return {name: p.grad.clone() for name, p in backbone.named_parameters() if p.grad is not None}

    whole = gradients(backbone(batch))
    split = gradients(cut.suffix(backbone, cached))
    assert split
    assert {backbone.stage_of(name) for name in split} == set(range(depth, len(backbone.stages)))
    for name, gradient in split.items():
        torch.testing.assert_close(gradient, whole[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("family", ["test_vit", "test_resnet"])
def test_nothing_stays_behind_in_the_backbone(family: str, build_family: BuildFamily) -> None:
    # Neither a patched forward, nor a hook, nor a changed flag, also when the pass through the suffix fails.
    backbone = build_family(family)
    flags = [p.requires_grad for p in backbone.parameters()]
    cut = Cut(backbone, 2, images(backbone, 3))
    cached = cut.prefix(backbone, images(backbone, 2))
    with pytest.raises(ZeroDivisionError):
        cut.suffix(backbone, cached, lambda x: 1 / 0)  # type: ignore[arg-type, return-value]
    cut.suffix(backbone, cached)
    for module in backbone.modules():
        assert "forward" not in vars(module)
        assert not module._forward_pre_hooks
        assert not module._forward_hooks
    assert [p.requires_grad for p in backbone.parameters()] == flags
    assert all(p.grad is None for p in backbone.parameters())


def test_a_copy_of_the_backbone_can_be_used_with_the_same_cut(resnet: TimmBackbone) -> None:
    cut, batch = Cut(resnet, 2, images(resnet, 3)), images(resnet, 2)
    twin = copy.deepcopy(resnet)
    with torch.no_grad():
        torch.testing.assert_close(cut.suffix(twin, cut.prefix(resnet, batch)), resnet(batch))


def test_the_share_of_the_prefix_grows_with_the_depth(resnet: TimmBackbone) -> None:
    shares = [Cut(resnet, depth, images(resnet, 3)).share for depth in (1, 4)]
    assert 0 <= shares[0] < shares[1] < 1


class Tiny(SequentialBackbone):
    """Three stages, to be wired wrongly in each test."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        body = {
            "one": nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()),
            "two": nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()),
            "three": nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()),
        }
        super().__init__(body, preprocessing=Preprocessing(size=(16, 16)), width=4)

    @property
    def parts(self) -> list[nn.Module]:
        return list(self.body.values())


class FromTheInput(Tiny):
    """The input skips every stage."""

    def forward_map(self, images: Tensor) -> Tensor:
        return super().forward_map(images) + images.mean(1, keepdim=True)


class FromTheFirstStage(Tiny):
    """The first stage skips the second."""

    def forward_map(self, images: Tensor) -> Tensor:
        one, two, three = self.parts
        first = one(images)
        return three(two(first)) + first


class Scaled(nn.Module):
    """A module with a second argument."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor, by: Tensor) -> Tensor:
        return self.conv(x) * by


class WithAConstantOfTheBatch(Tiny):
    """The input of stage 1 has a part without a row for each image, which depends on the images all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.body["two"] = Scaled()

    def forward_map(self, images: Tensor) -> Tensor:
        one, two, three = self.parts
        return three(two(one(images), images.mean()))  # type: ignore[no-any-return]


class WithALateToken(Tiny):
    """The prefix adds a parameter that belongs to the last stage, and so trains."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 4, 1, 1))

    def stage_of(self, parameter: str) -> int:
        return 2 if parameter == "token" else super().stage_of(parameter)

    def forward_map(self, images: Tensor) -> Tensor:
        one, two, three = self.parts
        return three(two(one(images) + self.token))  # type: ignore[no-any-return]


class Backwards(Tiny):
    """Calls its stages out of order."""

    def forward_map(self, images: Tensor) -> Tensor:
        one, two, three = self.parts
        return two(three(one(images)))  # type: ignore[no-any-return]


class Unreached(Tiny):
    """Calls its first stage only."""

    def forward_map(self, images: Tensor) -> Tensor:
        return self.parts[0](images)  # type: ignore[no-any-return]


def test_a_plain_net_is_cut_everywhere() -> None:
    assert [Cut(Tiny(), depth, torch.randn(3, 3, 16, 16)).reason for depth in (1, 2)] == ["", ""]


@pytest.mark.parametrize(
    ("wiring", "depth", "reason"),
    [
        (FromTheInput, 1, "leaks around"),
        (FromTheInput, 2, "leaks around"),
        (FromTheFirstStage, 2, "leaks around"),
        (WithAConstantOfTheBatch, 1, "outputs differ"),
        (WithALateToken, 1, "depends on parameters of stage 1 or later"),
        (WithALateToken, 2, "depends on parameters of stage 2 or later"),
        (Backwards, 2, r"stages \[1\] run after the boundary"),
        (Unreached, 1, "no module of stage 1 or later is called"),
    ],
)
def test_what_bypasses_the_boundary_is_refused(wiring: type[Tiny], depth: int, reason: str) -> None:
    cut = Cut(wiring().eval(), depth, torch.randn(3, 3, 16, 16))
    assert not cut.exact
    assert re.search(reason, cut.reason), cut.reason


def test_a_first_stage_that_trains_leaves_nothing_to_cut() -> None:
    assert "the first unit already belongs" in Cut(Tiny(), 0, torch.randn(3, 3, 16, 16)).reason
