"""Google's speech embedding (Lin et al. 2020), as in openWakeWord: a small convolutional network that spots keywords.

One vector for each 76 frames of 10 ms, every 8 frames; features are their mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audio_backbones.backbone import AudioBackbone, Frontend
from audio_backbones.filters import slaney_filters
from autotransfer_plugins.modalities.audio.formats import WaveFormat

__all__ = ["build", "rename"]

_RATE, _FFT, _WINDOW, _HOP, _BANDS, _WIDTH = 16_000, 512, 400, 160, 32, 96
_FRAMES, _STEP = 76, 8  # frames that a vector sees, and from one vector to the next
_STAGES = ("stem", "stage1", "stage2", "stage3", "stage4", "head")


class _MelDecibels(Frontend):
    """The power in mel bands in dB, 80 dB of it: (N, 1, frames, bands). The filters are those of a checkpoint."""

    def __init__(self) -> None:
        super().__init__(shortest=_FFT + _HOP * (_FRAMES - 1))
        window = F.pad(torch.hann_window(_WINDOW), ((_FFT - _WINDOW) // 2,) * 2)
        angles = torch.outer(torch.arange(_FFT // 2 + 1), torch.arange(_FFT)).remainder(_FFT) * (2 * math.pi / _FFT)
        self.register_buffer("real", (window * angles.cos())[:, None])
        self.register_buffer("imag", (-window * angles.sin())[:, None])
        self.register_buffer("mel", slaney_filters(_BANDS, _FFT, _RATE, 60.0, 3800.0).T.contiguous())

    def spectrogram(self, wave: Tensor, samples: Tensor) -> Tensor:
        scaled = wave[:, None] * 32768  # the network knows 16-bit whole numbers
        power = F.conv1d(scaled, self.real, stride=_HOP).square() + F.conv1d(scaled, self.imag, stride=_HOP).square()
        decibels = 10 * (power.transpose(1, 2) @ self.mel).clamp(min=1e-10).log10()
        floor = decibels.amax((1, 2), keepdim=True) - 80
        return (torch.maximum(decibels, floor) / 10 + 2)[:, None]


def _activate(features: Tensor) -> Tensor:
    return F.leaky_relu(features, 0.2).clamp(min=-0.4)


class _Separable(nn.Module):
    """A convolution over bands, then one over time, which is not padded; each activated."""

    def __init__(self, inputs: int, outputs: int, pool: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.freq = nn.Conv2d(inputs, outputs, (1, 3), padding=(0, 1))
        self.time = nn.Conv2d(outputs, outputs, (3, 1))
        self.pool = pool

    def forward(self, features: Tensor) -> Tensor:
        features = _activate(self.time(_activate(self.freq(features))))
        return F.max_pool2d(features, self.pool) if self.pool else features


class _Stem(nn.Module):
    """A convolution over both, a batch norm behind its activation, and a separable convolution."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, outputs, 3, padding=(0, 1), bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)
        self.sep = _Separable(outputs, outputs, (2, 2))

    def forward(self, frames: Tensor) -> Tensor:
        return self.sep(_activate(self.bn(F.relu(self.conv(frames)))))


def _positions(samples: Tensor) -> Tensor:
    return ((samples - _FFT) // _HOP + 1 - _FRAMES) // _STEP + 1


def build(arguments: Mapping[str, int], how: WaveFormat, recipe: Mapping[str, Any]) -> AudioBackbone:
    """Build the network, which takes no arguments."""
    widths = (24, 48, 72, 96, 96)
    pools = ((1, 2), (2, 2), (1, 2), (2, 2))
    bodies: list[nn.Module] = [_Stem(widths[0])]
    for inputs, outputs, pool in zip(widths, widths[1:], pools, strict=False):
        bodies.append(nn.Sequential(_Separable(inputs, outputs), _Separable(outputs, outputs, pool)))
    bodies.append(nn.Conv2d(_WIDTH, _WIDTH, (3, 1), bias=False))
    stages = dict(zip(_STAGES, bodies, strict=True))
    return AudioBackbone(_MelDecibels(), stages, _positions, how=how, width=_WIDTH, recipe=recipe, time=2)


def rename(name: str) -> str | None:
    """Return our name of a weight of a checkpoint."""
    part, _, rest = name.partition(".")
    if part != "stages":
        return f"frontend.{name}"
    stage, _, inner = rest.partition(".")
    return f"body.{_STAGES[int(stage)]}.{inner}"
