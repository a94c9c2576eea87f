"""EfficientAT (Schmid et al. 2023): a MobileNet v3 (Howard et al. 2019) of width 0.4 that was trained on AudioSet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audio_backbones.backbone import AudioBackbone, Frontend
from audio_backbones.filters import kaldi_filters
from autotransfer_plugins.modalities.audio.formats import WaveFormat

__all__ = ["build", "rename"]

_RATE, _FFT, _WINDOW, _HOP, _BANDS, _WIDTH = 32_000, 1024, 800, 320, 128, 384
_EMPHASIS = 0.97  # share of the sample before that is taken off
_FRAMES = 32  # frames of 10 ms that a position of the last stage stands for
_STAGES = ("stem", "stage1", "stage2", "stage3", "stage4", "stage5", "stage6", "head")

Activation = Callable[[], nn.Module]


@dataclass(frozen=True)
class _Shape:
    """An inverted residual: channels that enter, in between and that leave, kernel, stride, units of the squeeze."""

    inputs: int
    hidden: int
    outputs: int
    kernel: int
    stride: int
    squeezed: int = 0


_RELU = (
    (_Shape(8, 8, 8, 3, 1),),
    (_Shape(8, 24, 16, 3, 2), _Shape(16, 32, 16, 3, 1)),
    (_Shape(16, 32, 16, 5, 2, 8), _Shape(16, 48, 16, 5, 1, 16), _Shape(16, 48, 16, 5, 1, 16)),
)
_HARDSWISH = (
    (_Shape(16, 96, 32, 3, 2), _Shape(32, 80, 32, 3, 1), _Shape(32, 72, 32, 3, 1), _Shape(32, 72, 32, 3, 1)),
    (_Shape(32, 192, 48, 3, 1, 48), _Shape(48, 272, 48, 3, 1, 72)),
    (_Shape(48, 272, 64, 5, 2, 72), _Shape(64, 384, 64, 5, 1, 96), _Shape(64, 384, 64, 5, 1, 96)),
)


class _LogMel(Frontend):
    """The logarithm of the power in mel bands of an emphasised wave: (N, 1, bands, frames)."""

    def __init__(self) -> None:
        super().__init__(shortest=_RATE)
        self.register_buffer("filters", kaldi_filters(_BANDS, _FFT, _RATE, 0.0, 15_000.0), persistent=False)
        self.register_buffer("window", torch.hann_window(_WINDOW, periodic=False), persistent=False)

    def spectrogram(self, wave: Tensor, samples: Tensor) -> Tensor:
        emphasised = wave[:, 1:] - _EMPHASIS * wave[:, :-1]
        spectrum = torch.stft(emphasised, _FFT, _HOP, _WINDOW, self.window, return_complex=True)
        logarithm = (self.filters @ spectrum.abs().square() + 1e-5).log()
        return ((logarithm + 4.5) / 5)[:, None]


def _convolution(
    inputs: int, outputs: int, kernel: int, activation: Activation, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01), activation())


class _Squeeze(nn.Module):
    """Weighs channels by what all positions say (Hu et al. 2018)."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, squeezed), nn.Linear(squeezed, width)

    def forward(self, features: Tensor) -> Tensor:
        weights = torch.sigmoid(self.fc2(F.relu(self.fc1(features.mean((2, 3))))))
        return features * weights[:, :, None, None]


class _InvertedResidual(nn.Module):
    """Expand, convolve each channel, weigh the channels, project."""

    def __init__(self, shape: _Shape, activation: Activation) -> None:
        super().__init__()
        self.residual = shape.stride == 1 and shape.inputs == shape.outputs
        hidden = shape.hidden
        self.expand = nn.Identity() if hidden == shape.inputs else _convolution(shape.inputs, hidden, 1, activation)
        self.depth = _convolution(hidden, hidden, shape.kernel, activation, shape.stride, groups=hidden)
        self.se = _Squeeze(hidden, shape.squeezed) if shape.squeezed else nn.Identity()
        self.project = _convolution(hidden, shape.outputs, 1, nn.Identity)

    def forward(self, features: Tensor) -> Tensor:
        projected: Tensor = self.project(self.se(self.depth(self.expand(features))))
        return features + projected if self.residual else projected


def _positions(samples: Tensor) -> Tensor:
    frames = (samples - 1) // _HOP + 1
    return (frames + _FRAMES - 1) // _FRAMES


def build(arguments: Mapping[str, int], how: WaveFormat, recipe: Mapping[str, Any]) -> AudioBackbone:
    """Build the network, which takes no arguments."""
    bodies: list[nn.Module] = [_convolution(1, _RELU[0][0].inputs, 3, nn.Hardswish, stride=2)]
    for shapes, activation in ((_RELU, nn.ReLU), (_HARDSWISH, nn.Hardswish)):
        bodies += [nn.Sequential(*(_InvertedResidual(shape, activation) for shape in stage)) for stage in shapes]
    bodies.append(_convolution(_HARDSWISH[-1][-1].outputs, _WIDTH, 1, nn.Hardswish))
    stages = dict(zip(_STAGES, bodies, strict=True))
    return AudioBackbone(_LogMel(), stages, _positions, how=how, width=_WIDTH, recipe=recipe, time=3)


def rename(name: str) -> str | None:
    """Return our name of a weight of a checkpoint; None for one of the classifier."""
    part, _, rest = name.partition(".")
    if part != "stages":
        return None
    stage, _, inner = rest.partition(".")
    return f"body.{_STAGES[int(stage)]}.{inner}"
