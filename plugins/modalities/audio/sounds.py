"""Decoded sounds: every file was read and decoded once, and resampled once to each rate that backbones want."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from autotransfer.contract.modality import Modality, Store

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from autotransfer_plugins.modalities.audio.formats import WaveFormat

__all__ = ["Sounds", "length_key", "start_key", "wave_key"]


def wave_key(rate: int) -> str:
    """Return the name of the array of all samples at a rate."""
    return f"wave {rate}"


def start_key(rate: int) -> str:
    """Return the name of the array of where each sound begins in the samples at a rate."""
    return f"start {rate}"


def length_key(rate: int) -> str:
    """Return the name of the array of how many samples each sound has at a rate."""
    return f"length {rate}"


def _audio() -> Modality:
    from autotransfer_plugins.modalities.audio.modality import AUDIO

    return AUDIO


@dataclass(frozen=True, kw_only=True)
class Sounds(Store):
    """Decoded sounds.

    ``arrays`` holds for each rate the samples of all sounds end to end, int16 (total,), and where each begins and how
    many it has, int64 (N,); and ``"scale"``, float32 (N,), by which the samples of a sound are multiplied.

    Attributes:
        full_scale: The value that stands for 1.0 in arrays of floats.
        sampling_rate: Rate in Hz of arrays that do not say theirs; None where there are none.
    """

    modality: Modality = field(default_factory=_audio)
    full_scale: float = 1.0
    sampling_rate: int | None = None

    @property
    def packed(self) -> frozenset[str]:
        """Names of the arrays that hold the sounds end to end."""
        return frozenset(name for name in self.arrays if name.startswith("wave "))

    @property
    def reading(self) -> Mapping[str, Any]:
        """How they were read, as JSON."""
        return {"full_scale": self.full_scale, "sampling_rate": self.sampling_rate}

    @property
    def decided(self) -> str:
        """What tells apart sounds that were read from equal arrays."""
        return "" if self.full_scale == 1.0 else f"{self.full_scale:g}"

    def suits(self, how: WaveFormat) -> bool:
        """Whether the sounds were resampled to the rate that a backbone wants."""
        return wave_key(how.rate) in self.arrays

    def inputs(
        self, rows: slice | np.ndarray, how: WaveFormat, device: torch.device, view: str | None = None
    ) -> dict[str, Tensor]:
        """Return windows: ``"wave"`` float32 (rows, T), and ``"samples"`` int64 (rows,)."""
        from autotransfer_plugins.modalities.audio.batches import prepare

        return prepare(self, rows, how, device, view)

    def augmented(
        self, rows: slice | np.ndarray, how: WaveFormat, device: torch.device, strength: str, rng: torch.Generator
    ) -> dict[str, Tensor]:
        """Return windows at random places, each changed at random."""
        from autotransfer_plugins.modalities.audio.batches import augment

        return augment(self, rows, how, device, strength, rng)
