"""First layers for images of other channels: adapted as timm does it, or made for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from fixtures.fitting import fit_with
from safetensors.torch import save_file

from autotransfer.contract.registry import Registry
from autotransfer.errors import BackboneError
from autotransfer_plugins.backbones._checkpoint import load_folder
from autotransfer_plugins.backbones.timm import rebuild_backbone, write_backbone
from autotransfer_plugins.modalities.image.formats import CropMode, at_channels, channels_of, reframed

Checkpoint = Callable[..., Path]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    """Return a function that writes a checkpoint as timm does, of an architecture for images of some channels."""

    def write(architecture: str = "test_resnet", channels: int | None = None, **config: object) -> Path:
        torch.manual_seed(0)
        given = {} if channels is None else {"in_chans": channels}
        model = timm.create_model(architecture, num_classes=0, **given)
        folder = tmp_path / "zoo" / f"{architecture}_{channels}"
        folder.mkdir(parents=True)
        about = {
            "architecture": architecture,
            "num_classes": 0,
            "model_args": given,
            "pretrained_cfg": {key: model.default_cfg[key] for key in ("input_size", "fixed_input_size")} | config,
        }
        (folder / "config.json").write_text(json.dumps(about))
        save_file(model.state_dict(), folder / "model.safetensors")
        return folder

    return write


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit", "test_efficientnet", "test_convnext"])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_first_layer_is_adapted_as_timm_does(architecture: str, channels: int, checkpoint: Checkpoint) -> None:
    folder = checkpoint(architecture)
    found = load_folder(folder, channels=channels)
    expected = timm.create_model(
        architecture,
        pretrained=True,
        in_chans=channels,
        num_classes=0,
        pretrained_cfg_overlay={"file": str(folder / "model.safetensors"), "num_classes": 0},
    )
    for name, tensor in expected.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], tensor), name
    assert found.preprocessing.channels == channels  # type: ignore[attr-defined]


def test_repeated_image_in_six_channels_keeps_its_features(checkpoint: Checkpoint) -> None:
    folder = checkpoint()
    own, adapted = load_folder(folder).eval(), load_folder(folder, channels=6).eval()
    images = own.preprocessing.probe(2)
    assert isinstance(images, torch.Tensor)
    with torch.inference_mode():
        torch.testing.assert_close(adapted(torch.cat([images, images], 1)), own(images), atol=1e-4, rtol=1e-4)


def test_adapted_backbone_is_rebuilt_from_its_recipe(checkpoint: Checkpoint) -> None:
    found = load_folder(checkpoint(), side=96, channels=5)
    again = rebuild_backbone(json.loads(json.dumps(found.recipe)))
    assert again is not None
    assert again.preprocessing == found.preprocessing
    again.load_state_dict(found.state_dict())


def test_first_layer_of_another_kind_is_refused(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object, **more: object) -> torch.Tensor:
        raise NotImplementedError("ndim")

    monkeypatch.setattr("autotransfer_plugins.backbones._channels.adapt_input_conv", refuse)
    folder = checkpoint()
    with pytest.raises(
        BackboneError, match="test_resnet cannot take images of 5 channels: its first layer, which takes 3"
    ):
        load_folder(folder, channels=5)
    assert load_folder(folder, channels=3).preprocessing.channels == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("channels", [1, 5])
def test_backbone_may_have_channels_of_its_own(channels: int, checkpoint: Checkpoint) -> None:
    folder = checkpoint(channels=channels, mean=[0.4] * channels, std=[0.2] * channels)
    spec = Registry.load((folder.parent,)).backbone(folder.name)
    assert channels_of(spec) == channels
    backbone = spec.load()
    assert backbone.preprocessing == spec.preprocessing
    assert backbone(backbone.preprocessing.probe(2)).shape == (2, backbone.width)
    assert at_channels(spec, 3).load().preprocessing.mean == (0.4, 0.4, 0.4)  # type: ignore[attr-defined]


def test_size_in_the_configuration_says_the_channels(checkpoint: Checkpoint) -> None:
    folder = checkpoint(channels=5, input_size=[5, 64, 64])
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**about, "model_args": {}}))
    found = load_folder(folder).preprocessing
    assert (found.channels, found.size) == (5, (64, 64))  # type: ignore[attr-defined]


@pytest.mark.parametrize("mode", ["squash", "letterbox"])
def test_checkpoint_keeps_framing_and_channels(mode: CropMode, checkpoint: Checkpoint, tmp_path: Path) -> None:
    found = load_folder(checkpoint(), side=96, channels=5).eval()
    found.preprocessing = reframed(found.preprocessing, mode)
    assert write_backbone(found, None, {}, tmp_path / "written")
    again = load_folder(tmp_path / "written").eval()
    assert again.preprocessing == found.preprocessing
    config = timm.create_model(f"local-dir:{tmp_path / 'written'}", pretrained=True).pretrained_cfg
    assert config["crop_mode"] == {"letterbox": "border"}.get(mode, mode)
    assert config["input_size"] == (5, 96, 96)


@pytest.mark.slow
def test_grey_images_are_searched_with_a_backbone_of_one_channel(
    checkpoint: Checkpoint, digits: tuple[object, object], tmp_path: Path
) -> None:
    folder = checkpoint(channels=1, input_size=[1, 32, 32], mean=[0.5], std=[0.5])
    common = {"freeze": ["frozen"], "heads": ["ridge"], "progress": False, "cache": False, "compare_scratch": False}
    result = fit_with(*digits, backbones=[folder.name], zoo=[folder.parent], trials=2, out=tmp_path / "run", **common)
    (member,) = result.model.members
    assert member.network.backbone.preprocessing.channels == 1
    assert result.validation.score > 0.8
