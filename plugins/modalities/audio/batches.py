"""From stored samples to what a backbone takes: fixed windows, and augmentation of whole batches on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from autotransfer_plugins.modalities.audio.formats import WaveFormat
from autotransfer_plugins.modalities.audio.modality import AUGMENTATIONS, VIEWS
from autotransfer_plugins.modalities.audio.sounds import length_key, start_key, wave_key

if TYPE_CHECKING:
    from autotransfer_plugins.modalities.audio.sounds import Sounds

__all__ = ["AUGMENTATIONS", "VIEWS", "augment", "place_of_view", "prepare"]

# Where a window lies in what a sound has beyond it: 0 is its start, 1 its end.
_PLACES = {"center": 0.5, "start": 0.0, "end": 1.0, "early": 0.25, "late": 0.75}


@dataclass(frozen=True)
class _Strength:
    """How much an augmentation changes.

    Attributes:
        shift: Largest shift in time, as a share of the window.
        gain_db: Largest change of the loudness in decibels.
        noise_db: Loudest noise in decibels below the sound.
        bands: Number of bands that are masked, each of up to ``band_share`` of the mel scale.
        spans: Number of spans that are masked, each of up to ``span_share`` of the sound.
    """

    shift: float
    gain_db: float
    noise_db: float
    bands: int = 0
    band_share: float = 0.0
    spans: int = 0
    span_share: float = 0.0


_STRENGTHS = {
    "light": _Strength(shift=0.1, gain_db=3.0, noise_db=40.0),
    "medium": _Strength(shift=0.15, gain_db=6.0, noise_db=25.0, bands=1, band_share=0.15, spans=1, span_share=0.1),
    "strong": _Strength(shift=0.2, gain_db=10.0, noise_db=15.0, bands=2, band_share=0.2, spans=2, span_share=0.15),
}
# Noise is drawn from this quiet up to the loudest that a strength allows.
_QUIETEST_NOISE_DB = 60.0
_LEAST_POWER = 1e-12


def prepare(
    store: Sounds, rows: slice | np.ndarray, how: WaveFormat, device: torch.device, view: str | None = None
) -> dict[str, Tensor]:
    """Return the window of each sound in a view, with zeros behind the end of a sound that is shorter.

    Args:
        store: The sounds.
        rows: Which of them.
        how: What the backbone wants.
        device: Where the result lives.
        view: One of ``VIEWS``; None for the first.

    Returns:
        ``"wave"``, float32 (rows, T) from -1 to 1, and ``"samples"``, int64 (rows,).
    """
    spare = np.maximum(store.arrays[length_key(how.rate)][rows] - how.length, 0)
    return _windows(store, rows, how, np.rint(spare * place_of_view(view or VIEWS[0])).astype(np.int64), device)


def place_of_view(view: str) -> float:
    """Return where the window of a view lies in what a sound has beyond it: 0 is its start, 1 its end."""
    return _PLACES[view]


def augment(
    store: Sounds, rows: slice | np.ndarray, how: WaveFormat, device: torch.device, strength: str, rng: torch.Generator
) -> dict[str, Tensor]:
    """Like ``prepare``, with a window at a random place, and a random shift, gain, noise, masked bands and spans.

    The masks are those of SpecAugment (Park et al., Interspeech 2019). They are made on the waves, as SpeechBrain does
    it, and not on spectrograms: so they serve backbones that make their own spectrogram or none, follow the strength
    that a trial draws, and leave backbones without a state that differs in training.
    """
    if strength == "none":
        return prepare(store, rows, how, device)
    change = _STRENGTHS[strength]
    lengths = store.arrays[length_key(how.rate)][rows]
    spare = np.maximum(lengths - how.length, 0)
    places = torch.rand(len(lengths), generator=rng).numpy()
    inputs = _windows(store, rows, how, np.rint(spare * places).astype(np.int64), device)
    wave, samples = inputs["wave"], inputs["samples"]
    wave, samples = _shifted(wave, samples, _uniform(wave, -change.shift, change.shift, rng))
    if change.bands:
        wave = _masked_bands(wave, how.rate, change, rng)
    wave = _noisy(wave, samples, change, rng)
    for _ in range(change.spans):
        wave = _masked_span(wave, samples, change.span_share, rng)
    gain = 10 ** (_uniform(wave, -change.gain_db, change.gain_db, rng) / 20)
    there = torch.arange(how.length, device=wave.device) < samples[:, None]
    return {"wave": (wave * gain[:, None] * there).clamp_(-1, 1), "samples": samples}


def _windows(
    store: Sounds, rows: slice | np.ndarray, how: WaveFormat, offsets: np.ndarray, device: torch.device
) -> dict[str, Tensor]:
    wave, scale = store.arrays[wave_key(how.rate)], store.arrays["scale"][rows]
    starts, lengths = store.arrays[start_key(how.rate)][rows], store.arrays[length_key(how.rate)][rows]
    samples = np.minimum(lengths, how.length)
    windows = np.zeros((len(samples), how.length), dtype=np.int16)
    for row, (begin, count) in enumerate(zip(starts + offsets, samples, strict=True)):
        windows[row, :count] = wave[begin : begin + count]
    values = torch.from_numpy(windows).to(device).float()
    values *= torch.from_numpy(scale / 2**15).float().to(device)[:, None]
    return {"wave": values, "samples": torch.from_numpy(samples.astype(np.int64)).to(device)}


def _uniform(like: Tensor, low: float, high: float, rng: torch.Generator) -> Tensor:
    """Return a number for each row of a tensor, on its device."""
    return (torch.rand(len(like), generator=rng) * (high - low) + low).to(like.device)


def _shifted(wave: Tensor, samples: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Move each sound by a share of the window: what leaves it is lost, and zeros come in."""
    length = wave.shape[1]
    # A sound that fills little of its window keeps at least half of itself.
    steps = torch.minimum((share.abs() * length).long(), (samples // 2).clamp(max=length // 2)) * share.sign().long()
    source = torch.arange(length, device=wave.device) - steps[:, None]
    moved = wave.gather(1, source.clamp(0, length - 1)) * ((source >= 0) & (source < length))
    return moved, (samples + steps).clamp(1, length)


def _masked_bands(wave: Tensor, rate: int, change: _Strength, rng: torch.Generator) -> Tensor:
    """Take bands out of the spectrum, of random places and widths on the mel scale."""
    spectrum = torch.fft.rfft(wave)
    hertz = torch.arange(spectrum.shape[1], device=wave.device) * (rate / wave.shape[1])
    mel = torch.log1p(hertz / 700) / torch.log1p(torch.tensor(rate / 2 / 700))
    for _ in range(change.bands):
        width = _uniform(wave, 0.0, change.band_share, rng)
        low = _uniform(wave, 0.0, 1.0, rng) * (1 - width)
        spectrum = spectrum.masked_fill((mel >= low[:, None]) & (mel < (low + width)[:, None]), 0)
    masked: Tensor = torch.fft.irfft(spectrum, n=wave.shape[1])
    return masked


def _noisy(wave: Tensor, samples: Tensor, change: _Strength, rng: torch.Generator) -> Tensor:
    """Add white noise, some decibels below the mean power of a sound."""
    power = wave.square().sum(1) / samples
    below = _uniform(wave, change.noise_db, _QUIETEST_NOISE_DB, rng)
    deviation = (power.clamp(min=_LEAST_POWER) * 10 ** (-below / 10)).sqrt()
    noise = torch.empty(wave.shape).normal_(generator=rng).to(wave.device)
    return wave + noise * deviation[:, None]


def _masked_span(wave: Tensor, samples: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """Silence a span of each sound, of random place and width."""
    width = _uniform(wave, 0.0, share, rng) * samples
    low = _uniform(wave, 0.0, 1.0, rng) * (samples - width)
    place = torch.arange(wave.shape[1], device=wave.device)
    return wave.masked_fill((place >= low[:, None]) & (place < (low + width)[:, None]), 0)
