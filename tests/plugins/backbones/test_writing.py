"""Architectures by name, and backbones written in timm's own format: what is written is what was trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch

from autotransfer.contract.backbone import Backbone
from autotransfer.contract.registry import Registry
from autotransfer.errors import BackboneError, ConfigError
from autotransfer_plugins.backbones.timm import outline_backbone, rebuild_backbone

FAMILIES = [
    "test_resnet",
    "test_convnext",
    "test_efficientnet",
    "test_byobnet",
    "test_coatnet",
    "test_vit",
    "test_nfnet",
    "mobilenetv3_small_050",
]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load()


@pytest.mark.parametrize("architecture", FAMILIES)
def test_timm_answers_as_backbone_and_classifier_did(registry: Registry, architecture: str, tmp_path: Path) -> None:
    recipe = registry.outline(architecture, 64, 3)
    backbone = registry.rebuild(recipe).eval()
    layer = torch.nn.Linear(backbone.width, 3)
    about = {"description": "d", "license": "l", "label_names": ["a", "b", "c"], "source": {"images": 4}}
    registry.write(backbone, tmp_path, about, (layer.weight.detach(), layer.bias.detach()))
    model = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        apart, whole = layer(backbone(images)), model(images)
    assert torch.allclose(apart, whole, atol=0.02 * float(apart.abs().max())), "16 bit is all that is between them"
    assert json.loads((tmp_path / "config.json").read_text())["source"] == {"images": 4}


@pytest.mark.parametrize("architecture", FAMILIES)
def test_what_has_no_classifier_is_a_backbone_of_a_zoo(registry: Registry, architecture: str, tmp_path: Path) -> None:
    backbone = registry.rebuild(registry.outline(architecture, 64)).eval()
    registry.write(backbone, tmp_path / "own", {})
    spec = Registry.load((tmp_path,)).backbone("own")
    assert spec.input_size == (64, 64)
    loaded = spec.load().eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(backbone(images), loaded(images), atol=0.02 * float(backbone(images).abs().max()))


def test_an_architecture_has_its_own_size(registry: Registry) -> None:
    assert registry.rebuild(registry.outline("test_resnet")).preprocessing.size == (160, 160)
    assert registry.rebuild(registry.outline("test_resnet")).preprocessing.crop_fraction == 1.0


def test_what_cannot_be_built_or_written_is_refused(registry: Registry, tmp_path: Path) -> None:
    assert outline_backbone("no_such_net", 32, 0) is None
    with pytest.raises(ConfigError, match="no_such_net"):
        registry.outline("no_such_net", 32)
    with pytest.raises(ConfigError, match="from 8 to 2048"):
        registry.outline("test_resnet", 100_000)
    with pytest.raises(ConfigError, match="cannot be built"):
        registry.outline("test_coatnet", 48)
    backbone = rebuild_backbone(registry.outline("test_resnet", 32, 3))
    assert backbone is not None
    with pytest.raises(BackboneError, match="linear classifier"):
        registry.write(backbone, tmp_path, {}, (torch.zeros(3, 5), torch.zeros(3)))
    with torch.no_grad():
        next(backbone.parameters()).fill_(1e6)
    with pytest.raises(BackboneError, match="too large"):
        registry.write(backbone, tmp_path, {})
    with pytest.raises(BackboneError, match="No plugin can write"):
        registry.write(Backbone(stages=("all",), preprocessing=backbone.preprocessing, width=2), tmp_path, {})
