"""The networks: what they give, where they are cut, and what a checkpoint may hold."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from audio_backbones import plugin
from audio_backbones.architectures import ARCHITECTURES
from audio_backbones.backbone import AudioBackbone
from audio_backbones.checkpoints import Recipe, load
from audio_backbones.filters import kaldi_filters, slaney_filters
from torch.utils.flop_counter import FlopCounterMode

from autotransfer.backbones.cut import Cut
from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import BackboneError, ModelFormatError, WeightsUnavailableError
from autotransfer.testing import check_backbone

# Small networks with random weights: one of each class.
SMALL: dict[str, dict[str, int]] = {
    "WhisperEncoder": {"d": 16, "layers": 2, "heads": 2, "ff": 32, "mels": 20, "length": 100},
    "SpeakerEncoder": {"mels": 12, "h": 16, "layers": 3},
    "SpeechEmbedding": {},
    "EfficientAT": {},
}
PUBLISHED = [
    folder
    for zoo in os.environ.get("AUTOTRANSFER_ZOO", "").split(os.pathsep)
    for folder in sorted(Path(zoo).glob("*"))
    if zoo and (folder / "reference.npz").is_file()
]


def small(name: str, seconds: float = 1.0) -> AudioBackbone:
    torch.manual_seed(0)
    return Recipe.from_json({"class": name, "arguments": SMALL[name], "seconds": seconds}, "a test").build().eval()


def registered(zoo: Path) -> dict[str, BackboneSpec]:
    specs: dict[str, BackboneSpec] = {}
    plugin.register_backbones(lambda spec: specs.__setitem__(spec.name, spec), (zoo,))
    return specs


@pytest.fixture(params=SMALL)
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with a small network of a class, in a zoo of its own."""
    folder = tmp_path / "zoo" / "small"
    about = {"description": "random weights", "license": "MIT", "label_names": [], "source": ""}
    assert plugin.write_backbone(small(request.param), None, about, folder)
    return folder


class TestNetworks:
    """What a network computes, and from how much of a clip."""

    @pytest.mark.parametrize("name", SMALL)
    def test_cuts_are_exact_at_every_depth(self, name: str) -> None:
        backbone = small(name)
        inputs, others = (backbone.preprocessing.probe(3, seed) for seed in (0, 1))
        reasons = {depth: Cut(backbone, depth, inputs, others).reason for depth in range(1, len(backbone.stages))}
        assert reasons == dict.fromkeys(reasons, "")

    @pytest.mark.parametrize("name", SMALL)
    def test_sound_that_fills_the_window_is_real_throughout(self, name: str) -> None:
        backbone = small(name)
        shortest = backbone.frontend.shortest
        for length in (shortest, shortest + 1, shortest + 319, shortest + 320, shortest + 5000, 2 * shortest + 77):
            inputs = {"wave": torch.zeros(1, length), "samples": torch.tensor([length])}
            features = backbone.forward_map(inputs)
            assert int(backbone.real(features, inputs)) == features.shape[backbone.time], length

    @pytest.mark.parametrize("name", ["SpeakerEncoder", "SpeechEmbedding"])
    def test_silence_behind_the_end_changes_nothing(self, name: str) -> None:
        backbone, samples = small(name), torch.tensor([14_000, 15_000])
        wave = torch.randn(2, 15_000, generator=torch.Generator().manual_seed(1)) * 0.1
        wave[0, 14_000:] = 0
        padded = torch.nn.functional.pad(wave, (0, 9_000))
        close = backbone({"wave": wave, "samples": samples}), backbone({"wave": padded, "samples": samples})
        torch.testing.assert_close(*close, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("name", SMALL)
    def test_waves_shorter_than_a_window_of_the_network_are_taken(self, name: str) -> None:
        backbone = small(name, seconds=0.05)
        assert backbone(backbone.preprocessing.probe(2)).isfinite().all()

    @pytest.mark.parametrize("name", SMALL)
    def test_spectrogram_stays_in_32_bit(self, name: str) -> None:
        backbone, inputs = small(name).bfloat16(), small(name).preprocessing.probe(1)
        assert backbone(inputs).dtype == torch.bfloat16
        assert {buffer.dtype for buffer in backbone.frontend.buffers()} == {torch.float32}
        with pytest.raises(TypeError, match=r"32 bit or more; got torch\.bfloat16"):
            backbone({**inputs, "wave": inputs["wave"].bfloat16()})

    @pytest.mark.parametrize("name", sorted(ARCHITECTURES.keys() - {"SpeakerEncoder"}))  # its LSTMs are not counted
    def test_cost_and_size_are_counted(self, name: str) -> None:
        backbone = Recipe.from_json({"class": name}, "a test").build().eval()
        inputs = backbone.preprocessing.probe(1)
        features = backbone.frontend(inputs["wave"], inputs["samples"])
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            for stage in backbone.body.values():
                features = stage(features)
        counted = counter.get_total_flops() / 2e9 / backbone.preprocessing.seconds
        assert counted == pytest.approx(ARCHITECTURES[name].gmacs_per_second, rel=0.01)
        assert sum(parameter.numel() for parameter in backbone.parameters()) == ARCHITECTURES[name].parameters

    def test_lstm_layers_are_counted(self) -> None:
        frames, products = 201, 4 * 256 * (40 + 256) + 2 * 4 * 256 * (256 + 256)
        about = ARCHITECTURES["SpeakerEncoder"]
        assert frames * products / 2e9 == pytest.approx(about.gmacs_per_second, rel=0.01)

    @pytest.mark.skipif(not PUBLISHED, reason="AUTOTRANSFER_ZOO names no folder of checkpoints with a reference.npz")
    @pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
    def test_published_weights_give_the_published_features(self, folder: Path) -> None:
        reference = np.load(folder / "reference.npz")
        wave = torch.from_numpy(reference["inputs"])
        with torch.inference_mode():
            features = load(folder)({"wave": wave, "samples": torch.full((len(wave),), wave.shape[1])}).numpy()
        largest = np.abs(reference["features"]).max()
        np.testing.assert_allclose(features, reference["features"], rtol=1e-3, atol=1e-5 * largest)


class TestFilters:
    """Mel filters, where theory says what they are."""

    def test_slaney_triangles_have_an_area_of_one(self) -> None:
        filters = slaney_filters(20, 2048, 16_000)
        torch.testing.assert_close(filters.sum(1) * (8000 / 1024), torch.ones(20), rtol=0.01, atol=0)
        # The scale is linear up to 1 kHz: 20 bands of 45.2 mel / 21 each, of 66.7 Hz a mel.
        assert filters.argmax(1)[:3].tolist() == [18, 37, 55]

    def test_kaldi_triangles_meet_at_one_and_leave_the_highest_frequency_out(self) -> None:
        filters = kaldi_filters(8, 512, 16_000, 0.0, 8000.0)
        peaks = filters.argmax(1)
        between = filters[:, int(peaks[0]) : int(peaks[-1]) + 1].sum(0)
        torch.testing.assert_close(between[1:-1], torch.ones_like(between[1:-1]))
        assert not filters[:, -1].any()


class TestCheckpoints:
    """Folders, which a stranger may have written."""

    def test_contract_is_kept(self, checkpoint: Path) -> None:
        spec = registered(checkpoint.parent)["small"]
        check_backbone(spec, rebuild=plugin.rebuild_backbone)

    def test_written_network_is_read_as_it_was(self, checkpoint: Path) -> None:
        spec = registered(checkpoint.parent)["small"]
        name = json.loads((checkpoint / "config.json").read_text())["class"]
        assert (spec.license, spec.source, spec.modality) == ("MIT", "random weights", "audio")
        expected, found = small(name), spec.load()
        assert found.preprocessing == expected.preprocessing == spec.preprocessing
        inputs = expected.preprocessing.probe(2)
        assert torch.equal(found(inputs), expected(inputs))
        resolved = plugin.resolve_backbone(f"local-dir:{checkpoint}")
        assert resolved is not None
        assert torch.equal(resolved.load()(inputs), expected(inputs))

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"arguments": {"d": 4096}}, r"d \(1 to 2048\).*4096"),
            ({"arguments": {"d": True}}, "arguments of a WhisperEncoder"),
            ({"arguments": {"depth": 2}}, "arguments of a WhisperEncoder"),
            ({"arguments": []}, "arguments of a WhisperEncoder"),
            ({"arguments": {"d": 15, "heads": 2}}, "multiple of 'heads'"),
            ({"arguments": {"d": 32, "heads": 2}}, "does not suit the WhisperEncoder"),
            ({"seconds": 1e9}, "seconds long"),
        ],
    )
    def test_broken_configuration_is_reported(self, changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
        folder = tmp_path / "zoo" / "small"
        plugin.write_backbone(small("WhisperEncoder"), None, {}, folder)
        config = folder / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | changes))
        spec = registered(folder.parent)["small"]
        assert spec.check is not None
        with pytest.raises((BackboneError, ModelFormatError), match=reason):
            spec.check()

    def test_weights_that_are_gone_or_not_finite_are_reported(self, tmp_path: Path) -> None:
        folder, backbone = tmp_path / "zoo" / "small", small("SpeakerEncoder")
        plugin.write_backbone(backbone, None, {}, folder)
        spec = registered(folder.parent)["small"]
        (folder / "model.safetensors").unlink()
        assert spec.locate is not None
        with pytest.raises(WeightsUnavailableError, match=r"holds no model\.safetensors"):
            spec.locate()
        torch.nn.init.constant_(backbone.linear.bias, float("nan"))
        with pytest.raises(BackboneError, match=r"'linear\.bias' holds values that are not finite"):
            plugin.write_backbone(backbone, None, {}, folder)

    def test_folders_of_others_are_left_to_them(self, tmp_path: Path) -> None:
        for number, text in enumerate(('{"architecture": "resnet18"}', '{"class": "Other"}', "[]", "no JSON")):
            (tmp_path / f"{number}").mkdir()
            (tmp_path / f"{number}" / "config.json").write_text(text)
        assert registered(tmp_path) == {}
        assert plugin.rebuild_backbone({"plugin": "other"}) is None
        with pytest.raises(ModelFormatError, match="'class' is one of"):
            plugin.rebuild_backbone({"plugin": "audio-backbones", "class": "Other"})

    def test_checkpoint_that_transformers_loads_has_a_name_of_its_own(self, tmp_path: Path) -> None:
        (tmp_path / "whisper").mkdir()
        config = {"class": "WhisperEncoder", "model_type": "whisper"}
        (tmp_path / "whisper" / "config.json").write_text(json.dumps(config))
        specs = registered(tmp_path)
        assert list(specs) == ["whisper.audio-backbones"]
        assert not specs["whisper.audio-backbones"].default  # transformers is installed, and loads it
