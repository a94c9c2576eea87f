"""Encoders of sound of transformers as backbones: waveforms in, features of what is there of them out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import Inputs
from autotransfer.errors import BackboneError
from autotransfer.runtime.text import one_line
from autotransfer_plugins.backbones._encoder_recipe import EncoderRecipe
from autotransfer_plugins.backbones._encoder_stages import find_stages
from autotransfer_plugins.backbones._sound_frontends import KaldiMel, NormalisedWave, WhisperMel
from autotransfer_plugins.backbones._zoo import read_config
from autotransfer_plugins.modalities.audio.formats import WaveFormat

__all__ = ["SoundEncoder", "sound_recipe"]

_RATE = 16_000  # Hz; all of these encoders take it
_SETTINGS = {
    "sampling_rate": int,
    "do_normalize": bool,
    "return_attention_mask": bool,
    "mean": float,
    "std": float,
}
_DEFAULT_SECONDS = 2.0


def sound_recipe(recipe: EncoderRecipe, folder: Path) -> EncoderRecipe:
    """Return a recipe with what ``preprocessor_config.json`` says of the waveform.

    Raises:
        BackboneError: The model takes another sampling rate than 16 kHz.
    """
    try:
        said = read_config(folder, "preprocessor_config.json")
    except BackboneError:
        said = {}
    known = {name: kind(said[name]) for name, kind in _SETTINGS.items() if isinstance(said.get(name), (int, float))}
    if known.get("sampling_rate", _RATE) != _RATE:
        raise BackboneError(f"{folder} takes sound at {known['sampling_rate']} Hz; only 16000 Hz is supported.")
    return replace(recipe, sound=known)


class SoundEncoder(Backbone):
    """An encoder of sound; names in ``state_dict()`` are those of transformers with the prefix ``model.``.

    Args:
        model: The encoder, in eval mode.
        recipe: Recipe of the model; its ``sound`` settings are those of the waveform.
        seconds: Length of the window that it sees.

    Raises:
        BackboneError: The model does not turn such waveforms into frames of features.
    """

    model: Any  # a PreTrainedModel
    exact_inputs = True  # samples have 16 bits; of the 8 that bfloat16 keeps, quiet bands drown in noise

    def __init__(self, model: Any, recipe: EncoderRecipe, seconds: float | None = None) -> None:
        how = WaveFormat(rate=_RATE, seconds=_DEFAULT_SECONDS if seconds is None else float(seconds))
        settings = recipe.sound or {}
        probe = how.probe(3)
        nn.Module.__init__(self)
        self.model = model.eval()
        self.frontend = self._frontend_of(model.config, settings)
        try:
            with torch.inference_mode(False), torch.no_grad():
                width = self.forward_map(probe).shape[-1]
                found = find_stages(model, lambda rows: self.forward_map({k: v[:rows] for k, v in probe.items()}))
        except Exception as error:  # models raise errors of any kind
            raise BackboneError(
                f"The model of the type {recipe.model_type!r} cannot be used as a backbone for sounds of "
                f"{how.seconds:g} seconds: {type(error).__name__}: {one_line(error)}"
            ) from error
        self.stages, self.preprocessing, self.width = found.names, how, width
        self.recipe = recipe.to_json()
        self._stage_of = {f"model.{name}": stage for name, stage in found.of.items()}

    @classmethod
    def of(cls, model: Any, recipe: EncoderRecipe, seconds: float | None = None) -> SoundEncoder:
        """Wrap a model in the class for its type."""
        kinds: Mapping[str, type[SoundEncoder]] = {
            "whisper": WhisperBackbone,
            "audio-spectrogram-transformer": SpectrogramBackbone,
        }
        return kinds.get(recipe.model_type, WaveBackbone)(model, recipe, seconds)

    def stage_of(self, parameter: str) -> int:
        """Return the stage of a parameter or buffer, named as in ``state_dict()``.

        Raises:
            BackboneError: The backbone has no such parameter.
        """
        if parameter not in self._stage_of:
            raise BackboneError(f"The backbone has no parameter or buffer {parameter!r}.")
        return self._stage_of[parameter]

    def pool(self, features: Tensor, inputs: Inputs | None = None) -> Tensor:
        """Return the mean (N, width) over the frames (N, L, width) of what is there of each sound."""
        frames = self._frames(cast(Any, inputs)["samples"]).clamp(1, features.shape[1])
        there = torch.arange(features.shape[1], device=features.device) < frames[:, None]
        summed = features.masked_fill(~there.unsqueeze(-1), 0.0).sum(1, dtype=torch.float32)
        mean: Tensor = (summed / frames[:, None]).to(features.dtype)
        return mean

    def _frontend_of(self, config: Any, settings: Mapping[str, Any]) -> nn.Module:
        raise NotImplementedError

    def _frames(self, samples: Tensor) -> Tensor:
        """Return how many frames of features so many samples make (N,)."""
        raise NotImplementedError


class WhisperBackbone(SoundEncoder):
    """The encoder of Whisper. Its table of positions is cut to the window, not the window padded to 30 seconds."""

    def _frontend_of(self, config: Any, settings: Mapping[str, Any]) -> nn.Module:
        return WhisperMel(config.num_mel_bins)

    def forward_map(self, inputs: Any) -> Tensor:
        """Map ``wave`` (N, T) to 50 frames a second (N, L, width)."""
        model = self.model
        spectrogram = self.frontend(inputs["wave"]).to(model.conv1.weight.dtype)
        features = F.gelu(model.conv2(F.gelu(model.conv1(spectrogram)))).transpose(1, 2)
        if features.shape[1] > len(model.embed_positions.weight):
            raise ValueError(f"it has positions for {len(model.embed_positions.weight) / 50:g} seconds")
        features = features + model.embed_positions.weight[: features.shape[1]]
        for block in model.layers:
            features = _first(block(features, None))
        return model.layer_norm(features)  # type: ignore[no-any-return]

    def _frames(self, samples: Tensor) -> Tensor:
        return (samples + 319) // 320


class SpectrogramBackbone(SoundEncoder):
    """The Audio Spectrogram Transformer. Its table of positions is cut to the window along time."""

    def _frontend_of(self, config: Any, settings: Mapping[str, Any]) -> nn.Module:
        mean, std = settings.get("mean", -4.2677393), settings.get("std", 4.5689974)
        return KaldiMel(config.num_mel_bins, mean, std, config.patch_size)

    def forward_map(self, inputs: Any) -> Tensor:
        """Map ``wave`` (N, T) and ``samples`` (N,) to two tokens of the whole, and patches (N, 2 + L, width)."""
        stem, config = self.model.embeddings, self.model.config
        spectrogram = self.frontend(inputs["wave"], inputs["samples"])
        patches = stem.patch_embeddings(spectrogram.to(stem.cls_token.dtype))
        bands, steps = stem.get_shape(config)
        own = patches.shape[1] // bands
        if own > steps:
            raise ValueError(f"it has positions for {steps * config.time_stride / 100:g} seconds")
        whole, grid = stem.position_embeddings.split([2, bands * steps], 1)
        positions = grid.unflatten(1, (bands, steps))[:, :, :own].flatten(1, 2)
        tokens = torch.cat([stem.cls_token, stem.distillation_token], 1) + whole
        features = torch.cat([tokens.expand(patches.shape[0], -1, -1), patches + positions], 1)
        for block in self._blocks:
            features = _first(block(features))
        return self.model.layernorm(features)  # type: ignore[no-any-return]

    def pool(self, features: Tensor, inputs: Inputs | None = None) -> Tensor:
        """Return the mean (N, width) of the two tokens of the whole, as the model pools itself."""
        return features[:, :2].mean(1)

    def as_map(self, features: Tensor) -> Tensor:
        """Return the patches as a map (N, width, bands, time)."""
        bands = self.model.embeddings.get_shape(self.model.config)[0]
        patches = features[:, 2:].transpose(1, 2)
        return patches.reshape(*patches.shape[:2], bands, -1)

    @property
    def _blocks(self) -> Any:
        found = getattr(self.model, "layers", None)  # before transformers 5, they lie in an encoder of their own
        return self.model.encoder.layer if found is None else found


class WaveBackbone(SoundEncoder):
    """wav2vec 2.0, HuBERT and WavLM: convolutions on the waveform, then blocks."""

    def _frontend_of(self, config: Any, settings: Mapping[str, Any]) -> nn.Module:
        # Models with a group norm over time were trained without a mask, and padded with zeros.
        self.masked = settings.get("return_attention_mask", config.feat_extract_norm == "layer")
        config.layerdrop = 0.0  # few epochs on few examples: a block left out harms more than it helps
        return NormalisedWave(settings.get("do_normalize", True))

    def forward_map(self, inputs: Any) -> Tensor:
        """Map ``wave`` (N, T) and ``samples`` (N,) to 50 frames a second (N, L, width)."""
        model, wave, samples = self.model, inputs["wave"], inputs["samples"]
        there = torch.arange(wave.shape[1], device=wave.device) < samples[:, None]
        normalised = self.frontend(wave, there).to(next(model.parameters()).dtype)
        extracted = model.feature_extractor(normalised).transpose(1, 2)
        features = _first(model.feature_projection(extracted))
        mask = None
        if self.masked:
            mask = torch.arange(features.shape[1], device=wave.device) < self._frames(samples).clamp(min=1)[:, None]
            features = features.masked_fill(~mask.unsqueeze(-1), 0.0)  # the encoder fills it in place, again
        with warnings.catch_warnings():  # torch would rather have both masks of WavLM in one type
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask", UserWarning)
            encoded: Tensor = model.encoder(features, attention_mask=mask).last_hidden_state
        return encoded

    def _frames(self, samples: Tensor) -> Tensor:
        for kernel, stride in zip(self.model.config.conv_kernel, self.model.config.conv_stride, strict=True):
            samples = (samples - kernel) // stride + 1
        return samples


def _first(outputs: Any) -> Tensor:
    """Return the first of several outputs: some layers return their attention, too."""
    found: Tensor = outputs if isinstance(outputs, Tensor) else outputs[0]
    return found
