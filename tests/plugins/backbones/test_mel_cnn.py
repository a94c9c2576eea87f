"""Small convolutional networks for sound: features, cuts, checkpoints."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from autotransfer.backbones.cut import Cut
from autotransfer.contract.registry import Registry
from autotransfer.errors import BackboneError, ConfigError, ModelFormatError
from autotransfer.testing import check_backbone
from autotransfer_plugins.backbones._mel_cnn_model import BANDS, LogMel, MelCNN, load_folder
from autotransfer_plugins.backbones.mel_cnn import folder_spec, is_checkpoint, outline_backbone, rebuild_backbone
from autotransfer_plugins.modalities.audio.formats import WaveFormat

TINY = {"plugin": "mel_cnn", "network": "mel_cnn_tiny", "seconds": 0.5}


@pytest.fixture(scope="module")
def network() -> MelCNN:
    torch.manual_seed(0)
    net = rebuild_backbone(TINY)
    assert isinstance(net, MelCNN)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
                module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return net.eval()


@pytest.fixture(scope="module")
def checkpoint(network: MelCNN, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo") / "mine"
    about = {"description": "made-up sounds", "license": "MIT", "label_names": [], "source": {}}
    Registry.load().write(network, folder, about)
    return folder


def test_network_keeps_the_contract(network: MelCNN) -> None:
    check_backbone(network, rebuild_backbone)


@pytest.mark.parametrize("depth", range(1, 6))
def test_cut_at_every_stage_is_exact(network: MelCNN, depth: int) -> None:
    cut = Cut(network, depth, network.preprocessing.probe(3))
    assert cut.exact, cut.reason


def test_tone_lies_in_the_band_of_its_pitch() -> None:
    time = torch.arange(8000) / 16_000
    waves = torch.stack([torch.sin(2 * torch.pi * hertz * time) for hertz in (200, 1000, 5000)])
    bands = LogMel()(waves, torch.full((3,), 8000))[:, 0].mean(-1).argmax(1)
    # Mel of 50 Hz to 7,600 Hz is 78 to 2,786; those of the tones are 283, 1,000 and 2,364.
    expected = [(mel - 78) / (2786 - 78) * (BANDS + 1) - 1 for mel in (283, 1000, 2364)]
    assert bands.tolist() == pytest.approx(expected, abs=1)


def test_features_do_not_depend_on_loudness_nor_on_padding(network: MelCNN) -> None:
    given = network.preprocessing.probe(3)
    long = {"wave": torch.nn.functional.pad(given["wave"], (0, 6400)), "samples": given["samples"]}
    with torch.inference_mode():
        plain = network(given)
        assert torch.allclose(network({**given, "wave": given["wave"] * 0.5}), plain, atol=1e-2)
        # The last convolutions see a little silence behind the end in both cases.
        assert torch.nn.functional.cosine_similarity(network(long), plain).min() > 0.999


def test_checkpoint_is_a_backbone_of_a_zoo(checkpoint: Path, network: MelCNN) -> None:
    spec = Registry.load((checkpoint.parent,)).backbone("mine")
    assert (spec.modality, spec.source, spec.license) == ("audio", "made-up sounds", "MIT")
    assert spec.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert {tensor.element_size() for tensor in load_file(checkpoint / "model.safetensors").values()} == {2}
    given = network.preprocessing.probe(3)
    with torch.inference_mode():
        assert torch.allclose(spec.load().eval()(given), network(given), atol=5e-2)
    assert spec.load_at is not None
    assert spec.load_at(1.5).preprocessing == WaveFormat(rate=16_000, seconds=1.5)


def test_damaged_checkpoint_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    shutil.copy(checkpoint / "model.safetensors", tmp_path)
    for broken in ({**config, "network": "mel_cnn_huge"}, {**config, "seconds": 1e9}, {**config, "seconds": "1"}):
        (tmp_path / "config.json").write_text(json.dumps(broken))
        assert is_checkpoint(tmp_path)
        assert folder_spec(tmp_path, "x").preprocessing is None
        with pytest.raises(BackboneError, match="valid checkpoint"):
            load_folder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = load_file(checkpoint / "model.safetensors")
    save_file({**weights, "stem.0.weight": weights["stem.0.weight"] * float("nan")}, tmp_path / "model.safetensors")
    with pytest.raises(BackboneError, match="not finite"):
        load_folder(tmp_path)


def test_outline_takes_the_window_of_the_teacher(network: MelCNN) -> None:
    assert outline_backbone("resnet18", None, None) is None
    assert outline_backbone("mel_cnn_tiny", None, network) == TINY
    assert outline_backbone("mel_cnn_tiny", 3, network) == {**TINY, "seconds": 3.0}
    with pytest.raises(ConfigError, match="60 seconds"):
        outline_backbone("mel_cnn_tiny", 100, None)
    assert rebuild_backbone({"plugin": "timm"}) is None
    with pytest.raises(ModelFormatError, match="mel_cnn_small"):
        rebuild_backbone({**TINY, "network": ["x"]})
