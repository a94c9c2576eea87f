"""Image backbones for sounds: their pictures, their names, and that every cut, copy and rebuild is exact."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.contract.registry import Registry
from autotransfer.errors import ConfigError, ModelFormatError
from autotransfer.runtime.device import resolve_device
from autotransfer.testing import check_backbone
from autotransfer_plugins.backbones import spectrogram, timm
from autotransfer_plugins.backbones._log_mel import LogMel, MelSettings, mel_filters
from autotransfer_plugins.modalities.audio.formats import WaveFormat

RATE, SIDE = 16_000, 32


def log_mel(length: int = RATE) -> LogMel:
    return LogMel(
        MelSettings(), rate=RATE, length=length, size=(SIDE, 2 * SIDE), mean=(0.0, 0.5, 0.0), std=(1.0, 0.5, 2.0)
    )


def tone(hertz: float, samples: int = RATE) -> torch.Tensor:
    return 0.3 * torch.sin(2 * torch.pi * hertz * torch.arange(samples) / RATE)[None]


@pytest.fixture(scope="module")
def registry(tiny_zoo: Path) -> Registry:
    return Registry.load((tiny_zoo,))


def test_picture_shows_pitch_from_below_and_time() -> None:
    made = log_mel()
    low, high = (made(tone(hertz))[0, 0] for hertz in (200.0, 4000.0))
    assert low.shape == (SIDE, 2 * SIDE)
    assert int(low.mean(1).argmax()) > int(high.mean(1).argmax()) + SIDE // 4
    late = torch.cat([torch.zeros(1, RATE // 2), tone(1000.0, RATE // 2)], 1)
    columns = made(late)[0, 0].mean(0)
    assert float(columns[: SIDE - 4].max()) == 0.0
    assert float(columns[SIDE + 4 :].min()) > 0.0


def test_picture_does_not_depend_on_gain() -> None:
    wave = torch.randn(2, RATE, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    torch.testing.assert_close(log_mel()(wave), log_mel()(0.05 * wave), atol=1e-3, rtol=0)


def test_channels_are_normalised_as_the_network_wants() -> None:
    picture = log_mel()(tone(500.0))[0]
    torch.testing.assert_close(picture[1], (picture[0] - 0.5) / 0.5)
    torch.testing.assert_close(picture[2], picture[0] / 2)


def test_silence_is_black() -> None:
    assert not log_mel()(torch.zeros(1, RATE))[0, 0].any()


def test_spectrogram_stays_in_float32_in_16_bit() -> None:
    made = log_mel().to(torch.bfloat16)
    torch.testing.assert_close(made(tone(500.0)), log_mel()(tone(500.0)))


@pytest.mark.parametrize("mels", [16, 256])
def test_no_filter_is_empty(mels: int) -> None:
    filters = mel_filters(mels, 512, RATE, 50.0)
    torch.testing.assert_close(filters.sum(1), torch.ones(mels))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_adopted_backbone_keeps_the_contract(name: str, registry: Registry) -> None:
    rebuild = partial(spectrogram.rebuild_backbone, rebuild=registry.rebuild)
    check_backbone(registry.backbone(f"{name}@mel@0.2s"), rebuild)
    assert timm.rebuild_backbone(registry.backbone(f"{name}@mel").load().recipe) is None


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_cuts_of_adopted_backbones_are_exact(name: str, registry: Registry) -> None:
    loaded = LoadedBackbone(registry.backbone(f"{name}@mel@0.2s"), resolve_device("cpu"))
    assert all(loaded.cut(depth).exact for depth in range(1, loaded.depths))


def test_names_lead_to_adopted_backbones(registry: Registry) -> None:
    (by_image_name,) = registry.select_backbones(["test_resnet"], modality="audio")
    assert by_image_name.name == "test_resnet@mel"
    assert registry.named_in_full(["test_resnet"], modality="audio") == {"test_resnet@mel"}
    assert [spec.name for spec in registry.select_backbones(modality="audio")] == ["test_resnet@mel", "test_vit@mel"]
    assert [spec.name for spec in registry.find_backbones("test_vit@*")] == ["test_vit@mel"]
    assert len(registry.find_backbones("*", modality="audio")) > len(registry.find_backbones("*", modality="image"))
    form = registry.backbone("test_resnet@64px@mel@0.5s")
    assert (form.modality, form.preprocessing) == ("audio", WaveFormat(rate=RATE, seconds=0.5))
    assert all(spec.modality == "image" for spec in registry.select_backbones(["test_*"], modality="image"))


def test_an_adopted_backbone_takes_no_image(registry: Registry) -> None:
    with pytest.raises(ConfigError, match="takes a sound"):
        registry.select_backbones(["test_resnet@mel"], modality="image")


@pytest.mark.parametrize("broken", [{"image": None}, {"wave": {}}, {"spectrogram": {"mels": 1e9}}])
def test_broken_recipes_are_refused(broken: dict[str, object], registry: Registry) -> None:
    recipe = registry.backbone("test_resnet@mel@0.2s").load().recipe
    with pytest.raises(ModelFormatError):
        registry.rebuild({**recipe, **broken})


def test_a_teacher_is_named_as_for_images(registry: Registry) -> None:
    assert registry.backbone("test_vit", modality="audio").name == "test_vit@mel"
    assert registry.backbone("test_vit", modality="image").name == "test_vit"
