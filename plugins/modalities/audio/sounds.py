"""Decoded sounds: every file was read and decoded once, and resampled once to each rate that backbones want."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from autotransfer.contract.modality import Modality, Skipped, Store

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from typing_extensions import Self

    from autotransfer_plugins.modalities.audio.formats import WaveFormat

__all__ = ["Sounds", "length_key", "start_key", "wave_key"]

_WAVE = "wave "


def wave_key(rate: int) -> str:
    """Return the name of the array of all samples at a rate."""
    return f"{_WAVE}{rate}"


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
        full_scale: The value that stands for 1.0 in arrays of floats, and in files of floats beyond 128.
        sampling_rate: Rate in Hz of arrays that do not say theirs; None where there are none.
    """

    modality: Modality = field(default_factory=_audio)
    full_scale: float = 1.0
    sampling_rate: int | None = None

    @property
    def reading(self) -> Mapping[str, Any]:
        """How they were read, as JSON."""
        return {"full_scale": self.full_scale, "sampling_rate": self.sampling_rate}

    @property
    def decided(self) -> str:
        """What tells apart sounds that were read from equal arrays."""
        return "" if self.full_scale == 1.0 else f"{self.full_scale:g}"

    def keep(self, rows: Sequence[int], skipped: Sequence[Skipped] = ()) -> Self:
        """Return the sounds at some positions; the samples of the others stay where they are."""
        return self._of(self._at(np.array(rows, dtype=np.int64)), rows, skipped)

    def take(self, rows: np.ndarray) -> Self:
        """Return the sounds at some positions; both share the samples."""
        return self._of(self._at(rows), rows.tolist(), ())

    def _at(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {name: array if name.startswith(_WAVE) else array[rows] for name, array in self.arrays.items()}

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
