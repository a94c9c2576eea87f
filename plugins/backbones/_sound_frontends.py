"""What encoders of sound take a waveform apart with: log-mel spectrograms and normalisation, on the device.

Each does what the feature extractor of transformers does in numpy, for batches, and without its padding to 10 or 30
seconds. They have no parameters. They compute in float32: a waveform in 16 bit would drown its quiet parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autotransfer_plugins.backbones._spectrum import power_of_frames, power_of_wave, waves_of

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["KaldiMel", "NormalisedWave", "WhisperMel"]

_HOP, _FRAME = 160, 400  # 10 ms and 25 ms at 16 kHz
_KALDI_FFT, _PREEMPHASIS, _KALDI_MIN_HZ = 512, 0.97, 20.0
_MIN_POWER = 1.192092955078125e-07  # the spacing of float32 at 1, below which Kaldi's power is not measured


class _Float32Module(nn.Module):
    """A module that stays in float32, whatever the network behind it runs in."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move to another device; a change of type is left out."""
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), recurse)  # type: ignore[no-untyped-call, no-any-return]


class WhisperMel(_Float32Module):
    """Log-mel spectrogram of Whisper: 100 frames a second, filters of Slaney's toolbox (Radford et al., 2022).

    Args:
        bands: Number of mel bands.
    """

    filters: Tensor
    window: Tensor
    waves: Tensor | None

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.register_buffer("filters", _slaney_filters(bands, _FRAME, 16_000), persistent=False)
        self.register_buffer("window", torch.hann_window(_FRAME), persistent=False)
        self.register_buffer("waves", None)

    def before_export(self) -> None:
        """Take a form that other programs have."""
        self.waves = waves_of(self.window, _FRAME)

    def forward(self, wave: Tensor) -> Tensor:
        """Map (N, T) at 16 kHz to (N, bands, frames), frames = T / 160, an even number."""
        _require_float32(wave)
        wave = F.pad(wave, (0, max(_FRAME - wave.shape[1], -wave.shape[1] % (2 * _HOP))))
        if self.waves is not None:
            power = power_of_wave(wave, self.waves, _HOP, "reflect")[..., :-1]
        else:
            spectrum = torch.stft(wave, _FRAME, _HOP, window=self.window, return_complex=True)[..., :-1]
            power = spectrum.real.square() + spectrum.imag.square()
        mel = (self.filters @ power).clamp(min=1e-10).log10()
        mel = (torch.maximum(mel, mel.amax((1, 2), keepdim=True) - 8.0) + 4.0) / 4.0
        return mel[..., : mel.shape[-1] // 2 * 2]


class KaldiMel(_Float32Module):
    """Log-mel filter banks as in Kaldi, normalised, of the Audio Spectrogram Transformer (Gong et al., 2021).

    Args:
        bands: Number of mel bands.
        mean: Mean of the values that the model was trained on.
        std: Their standard deviation; values are divided by twice this.
        min_frames: Fewest frames, for short sounds.
    """

    filters: Tensor
    window: Tensor
    waves: Tensor | None

    def __init__(self, bands: int, mean: float, std: float, min_frames: int) -> None:
        super().__init__()
        self.mean, self.std, self.min_frames = mean, std, min_frames
        self.register_buffer("filters", _kaldi_filters(bands, _KALDI_FFT, 16_000), persistent=False)
        self.register_buffer("window", torch.hann_window(_FRAME, periodic=False), persistent=False)
        self.register_buffer("waves", None)

    def before_export(self) -> None:
        """Take a form that other programs have."""
        self.waves = waves_of(self.window, _KALDI_FFT)

    def forward(self, wave: Tensor, samples: Tensor) -> Tensor:
        """Map (N, T) at 16 kHz to (N, frames, bands); frames behind the end of a sound are zero before normalisation.

        Args:
            wave: Waveforms.
            samples: How many samples of each are there (N,).
        """
        _require_float32(wave)
        wave = F.pad(wave, (0, max(_FRAME + (self.min_frames - 1) * _HOP - wave.shape[1], 0)))
        frames = wave.unfold(1, _FRAME, _HOP)
        frames = frames - frames.mean(-1, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], -1)
        frames = frames - _PREEMPHASIS * before
        if self.waves is not None:
            power = power_of_frames(frames, self.waves)
        else:
            spectrum = torch.fft.rfft(frames * self.window, _KALDI_FFT)
            power = spectrum.real.square() + spectrum.imag.square()
        mel = (power @ self.filters.T).clamp(min=_MIN_POWER).log()
        there = torch.arange(mel.shape[1], device=mel.device) <= (samples[:, None] - _FRAME) // _HOP
        normalised: Tensor = (mel.masked_fill(~there.unsqueeze(-1), 0.0) - self.mean) / (2 * self.std)
        return normalised


class NormalisedWave(nn.Module):
    """Waveforms of mean zero and variance one over what is there, as wav2vec 2.0 takes them (Baevski et al., 2020).

    Args:
        normalise: Whether values are changed at all.
    """

    def __init__(self, normalise: bool) -> None:
        super().__init__()
        self.normalise = normalise

    def forward(self, wave: Tensor, there: Tensor) -> Tensor:
        """Map (N, T), where ``there`` says which samples are of the sound, to (N, T)."""
        _require_float32(wave)
        if not self.normalise:
            return wave
        count = there.sum(1, keepdim=True)
        mean = (wave * there).sum(1, keepdim=True) / count
        centred = (wave - mean) * there
        return centred / ((centred.square().sum(1, keepdim=True) / count) + 1e-7).sqrt()


def _mel_points(bands: int, low: float, high: float) -> Tensor:
    """Return the corners of triangular filters (bands + 2,), equally spaced in Kaldi's mel, for limits in Hz."""
    lowest, highest = (1127.0 * math.log1p(hertz / 700.0) for hertz in (low, high))
    return torch.linspace(lowest, highest, bands + 2, dtype=torch.float64)


def _require_float32(wave: Tensor) -> None:
    """Refuse waves in 16 bit.

    Raises:
        TypeError: The wave is none in float32.
    """
    if wave.dtype != torch.float32:
        raise TypeError(f"a spectrogram is computed in float32; got a wave in {wave.dtype}")


def _kaldi_filters(bands: int, size: int, rate: int) -> Tensor:
    """Return triangles (bands, size / 2 + 1) that are linear in mel, from 20 Hz to half the rate."""
    hertz = torch.arange(size // 2 + 1, dtype=torch.float64) * rate / size
    return _triangles(1127.0 * torch.log1p(hertz / 700.0), _mel_points(bands, _KALDI_MIN_HZ, rate / 2)).float()


def _slaney_filters(bands: int, size: int, rate: int) -> Tensor:
    """Return triangles of equal area (bands, size / 2 + 1), equally spaced below 1 kHz and in octaves above."""
    step, octave = 200.0 / 3, math.log(6.4) / 27
    highest = 15.0 + math.log(rate / 2 / 1000.0) / octave
    mel = torch.linspace(0.0, highest, bands + 2, dtype=torch.float64)
    corners = torch.where(mel < 15.0, mel * step, 1000.0 * ((mel - 15.0) * octave).exp())
    filters = _triangles(torch.linspace(0.0, rate / 2, size // 2 + 1, dtype=torch.float64), corners)
    return (filters * (2.0 / (corners[2:] - corners[:-2]))[:, None]).float()


def _triangles(positions: Tensor, corners: Tensor) -> Tensor:
    rising = (positions - corners[:-2, None]) / (corners[1:-1] - corners[:-2])[:, None]
    falling = (corners[2:, None] - positions) / (corners[2:] - corners[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp(min=0.0)
