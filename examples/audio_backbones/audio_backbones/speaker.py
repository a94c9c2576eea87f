"""The speaker encoder of GE2E (Wan et al. 2018), as in Resemblyzer: three LSTM layers on mel bands.

The speaker's vector is read from the last real frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audio_backbones.backbone import AudioBackbone, Frontend
from audio_backbones.filters import slaney_filters
from autotransfer.contract.modality import Inputs
from autotransfer_plugins.modalities.audio.formats import WaveFormat

__all__ = ["build", "rename"]

_RATE, _FFT, _HOP = 16_000, 400, 160  # samples a second, a window (25 ms), and a step (10 ms)
_LOUDNESS = -30.0  # dB below full scale that quiet clips are raised to


class _MelPower(Frontend):
    """The power in mel bands, without a logarithm, of clips that are raised to -30 dB: (N, frames, bands)."""

    def __init__(self, bands: int) -> None:
        super().__init__(shortest=10 * _HOP)
        self.register_buffer("filters", slaney_filters(bands, _FFT, _RATE), persistent=False)
        self.register_buffer("window", torch.hann_window(_FFT), persistent=False)

    def spectrogram(self, wave: Tensor, samples: Tensor) -> Tensor:
        power = wave.square().sum(-1) / samples.clamp(min=1)  # zeros behind the end add nothing
        loudness = 10 * torch.log10(power.clamp(min=1e-12))
        raised = wave * 10 ** ((_LOUDNESS - loudness).clamp(min=0) / 20)[:, None]
        spectrum = torch.stft(raised, _FFT, _HOP, window=self.window, pad_mode="constant", return_complex=True)
        return (self.filters @ spectrum.abs().square()).transpose(1, 2)


class _Layer(nn.Module):
    """One LSTM layer: (N, frames, inputs) -> (N, frames, width)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, width, batch_first=True)

    def forward(self, frames: Tensor) -> Tensor:
        hidden: Tensor = self.lstm(frames)[0]
        return hidden


class SpeakerEncoder(AudioBackbone):
    """LSTM layers, and a linear layer on what the last one gives for the last real frame; vectors of length one."""

    def __init__(self, bands: int, width: int, layers: int, how: WaveFormat, recipe: Mapping[str, Any]) -> None:
        stages = {f"lstm{i}": _Layer(width if i else bands, width) for i in range(layers)}
        super().__init__(_MelPower(bands), stages, _positions, how=how, width=width, recipe=recipe, time=1)
        self.linear = nn.Linear(width, width)

    def pool(self, features: Tensor, inputs: Inputs | None = None) -> Tensor:
        """Map what the last layer gives for the last real frame (N, width) to the speaker's vector."""
        last = self.real(features, inputs) - 1
        ending = features[torch.arange(len(features), device=features.device), last]
        return F.normalize(F.relu(self.linear(ending)), dim=1)


def _positions(samples: Tensor) -> Tensor:
    return samples // _HOP + 1


def build(arguments: Mapping[str, int], how: WaveFormat, recipe: Mapping[str, Any]) -> AudioBackbone:
    """Build the encoder: ``mels`` bands, ``layers`` LSTM layers of width ``h``; by default as it was published."""
    given = {"mels": 40, "h": 256, "layers": 3, **arguments}
    return SpeakerEncoder(given["mels"], given["h"], given["layers"], how, recipe)


def rename(name: str) -> str | None:
    """Return our name of a weight of a checkpoint."""
    part, _, rest = name.partition(".")
    return f"body.lstm{rest}" if part == "stages" else name
