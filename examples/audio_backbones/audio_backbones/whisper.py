"""The encoder of Whisper (Radford et al. 2022): convolutions and a transformer on log-mel frames.

Clips need not be padded to the 30 seconds of the original: the table of positions is cut to their length.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audio_backbones.backbone import AudioBackbone, Frontend
from audio_backbones.filters import slaney_filters
from autotransfer_plugins.modalities.audio.formats import WaveFormat

__all__ = ["build", "rename"]

_RATE, _FFT, _HOP = 16_000, 400, 160  # samples a second, a window (25 ms), and a step (10 ms)
_RANGE_OF_LOGARITHM = 8  # decades below the loudest band that are kept: 80 dB


class _LogMel(Frontend):
    """The 10-base logarithm of the power in mel bands (N, bands, frames), 80 dB of it, near -1 to 1."""

    def __init__(self, bands: int, positions: int) -> None:
        super().__init__(shortest=10 * _HOP, longest=2 * positions * _HOP)
        self.register_buffer("filters", slaney_filters(bands, _FFT, _RATE), persistent=False)
        self.register_buffer("window", torch.hann_window(_FFT), persistent=False)

    def spectrogram(self, wave: Tensor, samples: Tensor) -> Tensor:
        spectrum = torch.stft(wave, _FFT, _HOP, window=self.window, return_complex=True)[..., :-1]
        logarithm = (self.filters @ spectrum.abs().square()).clamp(min=1e-10).log10()
        floor = logarithm.amax((1, 2), keepdim=True) - _RANGE_OF_LOGARITHM
        scaled = (torch.maximum(logarithm, floor) + 4) / 4
        return scaled[..., : scaled.shape[-1] // 2 * 2]


class _Stem(nn.Module):
    """Two convolutions in time, and positions: (N, bands, frames) -> (N, frames / 2, width)."""

    def __init__(self, bands: int, width: int, positions: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(bands, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(positions, width)

    def forward(self, frames: Tensor) -> Tensor:
        hidden = F.gelu(self.conv2(F.gelu(self.conv1(frames)))).transpose(1, 2)
        return hidden + self.embed_positions.weight[: hidden.shape[1]]


class _Attention(nn.Module):
    """Self-attention; keys have no bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(3))
        self.k_proj = nn.Linear(width, width, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        split = (
            project(hidden).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2))


class _Block(nn.Module):
    """A transformer block whose norms come first: (N, positions, width) -> the same."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.self_attn_layer_norm, self.self_attn = nn.LayerNorm(width), _Attention(width, heads)
        self.final_layer_norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden + self.self_attn(self.self_attn_layer_norm(hidden))
        return hidden + self.fc2(F.gelu(self.fc1(self.final_layer_norm(hidden))))


def _positions(samples: Tensor) -> Tensor:
    return (samples + 2 * _HOP - 1) // (2 * _HOP)


def build(arguments: Mapping[str, int], how: WaveFormat, recipe: Mapping[str, Any]) -> AudioBackbone:
    """Build the encoder: ``d`` wide, with ``layers`` blocks of ``heads`` heads, ``ff`` hidden units, ``mels`` bands.

    ``length`` is the number of positions, 20 ms each. What is missing of these is as in Whisper tiny.
    """
    given = {"d": 384, "layers": 4, "heads": 6, "ff": 1536, "mels": 80, "length": 1500, **arguments}
    width = given["d"]
    stages: dict[str, nn.Module] = OrderedDict(stem=_Stem(given["mels"], width, given["length"]))
    stages |= {f"block{i}": _Block(width, given["heads"], given["ff"]) for i in range(given["layers"])}
    stages["norm"] = nn.LayerNorm(width)
    frontend = _LogMel(given["mels"], given["length"])
    return AudioBackbone(frontend, stages, _positions, how=how, width=width, recipe=recipe, time=1)


def rename(name: str) -> str | None:
    """Return our name of a weight that is named as in transformers; None for one of the classifier."""
    part, _, rest = name.partition(".")
    first, _, inner = rest.partition(".")
    if part != "encoder":
        return None
    if first == "layers":
        return f"body.block{inner}"
    return f"body.norm.{inner}" if first == "layer_norm" else f"body.stem.{rest}"
