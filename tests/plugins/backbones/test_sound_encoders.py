"""Encoders of sound of transformers: spectrograms, cuts, windows, and real weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from autotransfer.backbones.cut import Cut
from autotransfer.backbones.frozen import FrozenBackbone
from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import BackboneError
from autotransfer.runtime.device import Device
from autotransfer.testing import check_backbone
from autotransfer_plugins.backbones import hf_transformers
from autotransfer_plugins.backbones._encoder_recipe import EncoderRecipe
from autotransfer_plugins.backbones._encoder_sound import SoundEncoder
from autotransfer_plugins.backbones._sound_frontends import KaldiMel, NormalisedWave, WhisperMel

RATE = 16_000
WAVE: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
STABLE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
BUCKETS = {"num_buckets": 16, "max_bucket_distance": 32}
FAMILIES: dict[str, dict[str, Any]] = {
    "wav2vec2": {"model_type": "wav2vec2", **WAVE},
    "wav2vec2_masked": {"model_type": "wav2vec2", **WAVE, **STABLE},
    "hubert": {"model_type": "hubert", **WAVE},
    "wavlm": {"model_type": "wavlm", **WAVE, **BUCKETS},
    "wavlm_masked": {"model_type": "wavlm", **WAVE, **BUCKETS, **STABLE},
    "whisper": {
        "model_type": "whisper",
        **{"d_model": 16, "encoder_layers": 3, "encoder_attention_heads": 2, "encoder_ffn_dim": 24},
        **{"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 24, "max_source_positions": 100},
    },
    "ast": {
        "model_type": "audio-spectrogram-transformer",
        **{"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24},
        "max_length": 256,
    },
}


def encoder(name: str, seconds: float = 0.5) -> SoundEncoder:
    torch.manual_seed(0)
    recipe = replace(EncoderRecipe.of_config(FAMILIES[name], "mean", "here"), sound={})
    return SoundEncoder.of(recipe.build(), recipe, seconds)


def sound(seconds: float) -> np.ndarray:
    """Noise that grows louder."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=round(RATE * seconds)) * np.linspace(0.001, 0.3, round(RATE * seconds))
    return noise.astype(np.float32)


class TestEveryFamily:
    """Tiny random models of each family."""

    @pytest.mark.parametrize("name", FAMILIES)
    def test_can_be_cut_at_every_stage(self, name: str) -> None:
        backbone = encoder(name)
        probe, other = (backbone.preprocessing.probe(3, seed=seed) for seed in (0, 1))
        cuts = [Cut(backbone, depth, probe, other) for depth in range(1, len(backbone.stages))]
        assert len(backbone.stages) == 4
        assert [cut.reason for cut in cuts] == [""] * 3

    @pytest.mark.slow
    @pytest.mark.parametrize("name", FAMILIES)
    def test_runs_in_16_bit(self, name: str) -> None:
        device = Device(torch=torch.device("cpu"), half=torch.bfloat16)
        assert FrozenBackbone.of(encoder(name), device).precision == "half"

    @pytest.mark.parametrize("name", ["wav2vec2", "whisper", "ast"])
    def test_keeps_the_contract_and_rebuilds(self, name: str) -> None:
        check_backbone(encoder(name, 2.0), hf_transformers.rebuild_backbone)

    def test_frames_behind_the_end_are_not_pooled(self) -> None:
        backbone, batch = encoder("whisper"), encoder("whisper").preprocessing.probe(2)
        features = torch.zeros(2, 25, 16)
        features[0, 10:] = 1.0
        batch["samples"] = torch.tensor([10 * 320, 25 * 320])
        assert backbone.pool(features, batch).abs().max() == 0.0

    def test_too_long_a_window_is_refused(self) -> None:
        with pytest.raises(BackboneError, match=r"sounds of 3 seconds.* positions for 2 seconds"):
            encoder("whisper", 3.0)


class TestFrontends:
    """The spectrograms equal those of the feature extractors of transformers."""

    def test_whisper(self) -> None:
        from transformers import WhisperFeatureExtractor

        wave = sound(1.0)
        extractor = WhisperFeatureExtractor(chunk_length=1)
        expected = extractor(wave, sampling_rate=RATE, return_tensors="pt")["input_features"]
        torch.testing.assert_close(WhisperMel(80)(torch.from_numpy(wave)[None]), expected, rtol=0, atol=1e-3)

    @pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values")  # those of the model are so
    def test_audio_spectrogram_transformer(self) -> None:
        from transformers import ASTFeatureExtractor

        wave = sound(1.0)
        longer = torch.from_numpy(np.pad(wave, (0, RATE)))[None]
        expected = ASTFeatureExtractor(max_length=198)(wave, sampling_rate=RATE, return_tensors="pt")["input_values"]
        found = KaldiMel(128, -4.2677393, 4.5689974, 16)(longer, torch.tensor([RATE]))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)

    def test_wave2vec(self) -> None:
        from transformers import Wav2Vec2FeatureExtractor

        wave = sound(0.5)
        expected = Wav2Vec2FeatureExtractor()(wave, sampling_rate=RATE, return_tensors="pt")["input_values"]
        longer, there = torch.from_numpy(np.pad(wave, (0, 100)))[None], torch.arange(8100)[None] < 8000
        torch.testing.assert_close(NormalisedWave(True)(longer, there)[:, :8000], expected, rtol=0, atol=1e-3)

    def test_filters_stay_in_float32(self) -> None:
        backbone = encoder("whisper").to(torch.bfloat16)
        features = backbone(backbone.preprocessing.probe(2))
        assert features.dtype == torch.bfloat16
        assert all(
            torch.equal(a, b) for a, b in zip(backbone.frontend.buffers(), WhisperMel(80).buffers(), strict=True)
        )

    def test_waves_in_16_bit_are_refused(self) -> None:
        with pytest.raises(TypeError, match="computed in float32"):
            WhisperMel(80)(torch.zeros(1, RATE, dtype=torch.bfloat16))


class TestFolder:
    """A folder in the format of transformers."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """A zoo folder of a tiny Whisper, with a decoder that is not needed."""
        folder = tmp_path / "tiny"
        folder.mkdir()
        model = EncoderRecipe.of_config(FAMILIES["whisper"], "mean", "here").build()
        weights = {f"model.encoder.{name}": tensor.contiguous() for name, tensor in model.state_dict().items()}
        save_file({**weights, "model.decoder.layer_norm.weight": torch.ones(16)}, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(FAMILIES["whisper"]))
        return folder

    def spec(self, folder: Path) -> BackboneSpec:
        found: list[BackboneSpec] = []
        hf_transformers.register_backbones(found.append, (folder.parent,))
        return next(spec for spec in found if spec.name == "tiny")

    def test_is_listed_with_its_modality(self, folder: Path) -> None:
        spec = self.spec(folder)
        assert (spec.modality, spec.input_size, spec.default) == ("audio", (32_000,), True)
        assert spec.parameters == sum(p.numel() for p in spec.load().parameters())

    def test_takes_the_window_that_it_is_asked_for(self, folder: Path) -> None:
        spec = self.spec(folder)
        assert spec.load_at is not None
        assert spec.load_at(1.0).preprocessing.seconds == 1.0

    def test_other_sampling_rates_are_refused(self, folder: Path) -> None:
        (folder / "preprocessor_config.json").write_text('{"sampling_rate": 8000}')
        with pytest.raises(BackboneError, match="at 8000 Hz; only 16000 Hz"):
            self.spec(folder).load()

    @pytest.mark.shared
    @pytest.mark.slow
    def test_real_weights_give_the_reference(self, shared: Path) -> None:
        folder = shared / "zoo" / "audio" / "whisper_tiny_en_encoder"
        reference = np.load(folder / "reference.npz")
        wave = torch.from_numpy(reference["inputs"])
        spec = hf_transformers.resolve_backbone(f"local-dir:{folder}")
        assert spec is not None
        assert spec.load_at is not None
        backbone = spec.load_at(wave.shape[1] / RATE)
        with torch.inference_mode():
            found = backbone({"wave": wave, "samples": torch.full((len(wave),), wave.shape[1])})
        torch.testing.assert_close(found, torch.from_numpy(reference["features"]), rtol=1e-3, atol=1e-3)
