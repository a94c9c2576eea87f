"""Mel filters: matrices that turn the power of frequencies into the power of bands."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["kaldi_filters", "slaney_filters"]

_LINEAR_HZ, _LINEAR_MEL = 1000.0, 15.0  # Slaney's scale is linear below, with 200 / 3 Hz a mel, and logarithmic above
_STEP = math.log(6.4) / 27


def slaney_filters(bands: int, fft: int, rate: int, lowest: float = 0.0, highest: float | None = None) -> Tensor:
    """Return triangles of area one, between points that are equally spaced on Slaney's mel scale.

    The scale is that of the Auditory Toolbox (Slaney 1998), as in librosa.

    Args:
        bands: Number of bands.
        fft: Length of the Fourier transform.
        rate: Samples a second.
        lowest: Where the first triangle begins, in Hz.
        highest: Where the last triangle ends, in Hz; None takes half of the rate.

    Returns:
        The filters (bands, fft // 2 + 1), in float32.
    """
    frequencies = torch.linspace(0, rate / 2, fft // 2 + 1, dtype=torch.float64)
    ends = _slaney_mel(lowest), _slaney_mel(rate / 2 if highest is None else highest)
    points = _slaney_hz(torch.linspace(*ends, bands + 2, dtype=torch.float64))
    areas = 2 / (points[2:] - points[:-2])
    return (_triangles(frequencies, points) * areas[:, None]).float()


def kaldi_filters(bands: int, fft: int, rate: int, lowest: float, highest: float) -> Tensor:
    """Return triangles of height one on the mel scale 1127 ln(1 + f / 700), without the highest frequency, as Kaldi.

    Args:
        bands: Number of bands.
        fft: Length of the Fourier transform.
        rate: Samples a second.
        lowest: Where the first triangle begins, in Hz.
        highest: Where the last triangle ends, in Hz.

    Returns:
        The filters (bands, fft // 2 + 1), in float32.
    """
    frequencies = 1127 * torch.log1p(torch.arange(fft // 2 + 1, dtype=torch.float64) * (rate / fft / 700))
    ends = (1127 * math.log1p(hertz / 700) for hertz in (lowest, highest))
    filters = _triangles(frequencies, torch.linspace(*ends, bands + 2, dtype=torch.float64))
    filters[:, -1] = 0
    return filters.float()


def _triangles(frequencies: Tensor, points: Tensor) -> Tensor:
    """Return triangles of height one over three neighbouring points each: (points - 2, frequencies)."""
    left, centre, right = (points[start : len(points) - 2 + start, None] for start in range(3))
    rising, falling = (frequencies - left) / (centre - left), (right - frequencies) / (right - centre)
    return torch.minimum(rising, falling).clamp(min=0)


def _slaney_mel(hertz: float) -> float:
    if hertz < _LINEAR_HZ:
        return hertz * _LINEAR_MEL / _LINEAR_HZ
    return _LINEAR_MEL + math.log(hertz / _LINEAR_HZ) / _STEP


def _slaney_hz(mel: Tensor) -> Tensor:
    return torch.where(
        mel < _LINEAR_MEL, mel * _LINEAR_HZ / _LINEAR_MEL, _LINEAR_HZ * torch.exp((mel - _LINEAR_MEL) * _STEP)
    )
