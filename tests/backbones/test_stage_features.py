"""What every stage gives: right for every family of networks, in few numbers, and never at the price of a search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autotransfer.backbones.frozen import FrozenBackbone
from autotransfer.backbones.stage_features import StageFeatures
from autotransfer.contract.backbone import Backbone, SequentialBackbone
from autotransfer.runtime.device import Device
from autotransfer_plugins.modalities.image.formats import Preprocessing

Make = Callable[..., Backbone]


def _sequential(**stages: nn.Module) -> SequentialBackbone:
    torch.manual_seed(0)
    width = 2000 if "wide" in stages else 4
    return SequentialBackbone(stages, preprocessing=Preprocessing(size=(32, 32)), width=width).eval()


def test_stage_features_of_every_family_depend_on_the_image(
    any_family: str, build_family: Callable[[str], Backbone]
) -> None:
    # Maps in both layouts, tokens with and without a class token, several tensors that cross: each is averaged over
    # positions, and an image's numbers do not depend on the others in its batch.
    backbone = build_family(any_family)
    images = backbone.preprocessing.probe(3)
    stages = StageFeatures(backbone, images)
    assert 1 <= len(stages.widths) <= min(len(backbone.stages) - 1, 8) or len(backbone.stages) == 1
    with torch.inference_mode():
        *given, pooled = stages(backbone, images)
        *alone, _ = stages(backbone, images[1:2])
        torch.testing.assert_close(pooled, backbone(images))
    assert tuple(features.shape for features in given) == tuple((3, width) for width in stages.widths)
    for features, one in zip(given, alone, strict=True):
        assert features.isfinite().all()
        assert float((features[0] - features[2]).abs().max()) > 0, "other images, other features"
        torch.testing.assert_close(features[1:2], one, rtol=1e-3, atol=1e-4)


def test_stage_map_is_averaged_over_the_finest_allowed_grid() -> None:
    wide, images = nn.Conv2d(4, 2000, 1), torch.rand(2, 3, 32, 32)
    backbone = _sequential(one=nn.Conv2d(3, 4, 1), wide=wide, last=nn.Conv2d(2000, 2000, 1))
    stages = StageFeatures(backbone, images)
    assert stages.widths == (4 * 16 * 16, 2000)
    with torch.inference_mode():
        first, second, _ = stages(backbone, images)
        given = backbone.body["one"](images)
        expected = wide(given).mean((2, 3))
    torch.testing.assert_close(first.view(2, 4, 16, 16), given.unflatten(2, (16, 2)).unflatten(4, (16, 2)).mean((3, 5)))
    torch.testing.assert_close(second, expected)


def test_stage_features_of_many_stages_are_evenly_spaced() -> None:
    backbone = _sequential(**{f"stage{i}": nn.Conv2d(3 if i == 0 else 4, 4, 1) for i in range(17)})
    stages = StageFeatures(backbone, torch.rand(2, 3, 32, 32))
    assert stages._ends == tuple(f"body.stage{i}" for i in range(2, 17, 2))


def test_a_backbone_of_one_stage_has_its_pooled_features_only() -> None:
    backbone, images = _sequential(one=nn.Conv2d(3, 4, 1)), torch.rand(2, 3, 32, 32)
    stages = StageFeatures(backbone, images)
    assert stages.widths == ()
    torch.testing.assert_close(stages(backbone, images)[0], backbone(images))


class Counting(nn.Module):
    """Takes whole numbers where others take maps."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, given: Tensor) -> Tensor:
        return given.float().mean(1, keepdim=True).expand(-1, 4, -1, -1) * self.scale


class Rounded(SequentialBackbone):
    """What crosses its boundary is no feature."""

    def forward_map(self, images: Tensor) -> Tensor:
        return self.body["two"](self.body["one"](images).long())  # type: ignore[no-any-return]


def test_what_gives_no_features_on_the_way_keeps_its_last_ones(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="autotransfer")
    modules: dict[str, Any] = {"one": nn.Conv2d(3, 4, 1), "two": Counting()}
    backbone = Rounded(modules, preprocessing=Preprocessing(size=(32, 32)), width=4).eval()
    assert StageFeatures(backbone, torch.rand(2, 3, 32, 32)).widths == ()
    assert "no features of the stages of a Rounded" in caplog.text


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_the_fast_copy_gives_the_same(name: str, make_backbone: Make, cpu: Device) -> None:
    # Norms are folded there: a stage must be met where it begins, not at a layer that is no more.
    backbone = make_backbone(name)
    images = backbone.preprocessing.probe(3)
    stages, fast = StageFeatures(backbone, images), FrozenBackbone.of(backbone, cpu)
    with fast.running() as module:
        for ours, theirs in zip(stages(module, images), stages(backbone, images), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
