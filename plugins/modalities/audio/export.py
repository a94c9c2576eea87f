"""Sounds in an exported model: from samples of any number to the windows that a backbone takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from autotransfer.contract.export_inputs import ExportAxis, ExportInput
from autotransfer.contract.modality import Item
from autotransfer.contract.named_tensors import NamedTensors
from autotransfer_plugins.modalities.audio.batches import place_of_view
from autotransfer_plugins.modalities.audio.formats import WaveFormat
from autotransfer_plugins.modalities.audio.sounds import length_key, start_key, wave_key

if TYPE_CHECKING:
    from autotransfer_plugins.modalities.audio.modality import AudioModality
    from autotransfer_plugins.modalities.audio.sounds import Sounds

__all__ = ["AudioExport"]

# Sounds that are run at a time.
_BATCH_SIZE = 16


class AudioExport:
    """How sounds enter an exported model.

    Args:
        modality: What reads sounds.
        formats: What the backbones want.
        reading: How the model reads sounds.
    """

    files: Mapping[str, bytes] = {}

    def __init__(self, modality: AudioModality, formats: Sequence[WaveFormat], reading: Mapping[str, Any]) -> None:
        self._modality, self._formats, self._reading = modality, formats, reading
        self._rates = sorted({how.rate for how in formats})
        self.inputs: tuple[ExportInput, ...] = tuple(one for rate in self._rates for one in self._inputs(rate))

    def reader(self) -> nn.Module:
        """Return what names the tensors."""
        return NamedTensors([given.name for given in self.inputs])

    def view(self, how: WaveFormat, view: str) -> nn.Module:
        """Return what cuts the window of a view."""
        return _Window(*self._names(how.rate), how.length, place_of_view(view))

    def decoded(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return sounds as they are."""
        return items

    def arrays(self, items: Sequence[Item]) -> Iterator[Mapping[str, np.ndarray]]:
        """Yield samples at the model's rate, with zeros behind the end of shorter sounds."""
        for start in range(0, len(items), _BATCH_SIZE):
            some = items[start : start + _BATCH_SIZE]
            names = list(map(str, range(len(some))))
            store = self._modality.load(some, names, self._formats, options={}, reading=self._reading, strict=True)
            arrays: dict[str, np.ndarray] = {}
            for rate in self._rates:
                arrays |= zip(self._names(rate), _waves(store, rate), strict=True)
            yield arrays

    def _names(self, rate: int) -> tuple[str, str]:
        suffix = f"_{rate}" if len(self._rates) > 1 else ""
        return f"wave{suffix}", f"samples{suffix}"

    def _inputs(self, rate: int) -> tuple[ExportInput, ExportInput]:
        wave, samples = self._names(rate)
        about = f"Sounds of one channel at {rate} Hz, from -1 to 1, with zeros behind the end of shorter ones."
        return (
            ExportInput(name=wave, dtype="float32", axes=(ExportAxis(name=f"{wave}_length"),), about=about),
            ExportInput(name=samples, dtype="int64", axes=(), about=f"How many samples of {wave} each sound has."),
        )


class _Window(nn.Module):
    """Cuts the window that ``batches.prepare`` cuts.

    Args:
        wave: Name of the samples.
        samples: Name of their numbers.
        length: Number of samples of the window.
        place: Where the window lies in what a sound has beyond it, from 0 to 1.
    """

    def __init__(self, wave: str, samples: str, length: int, place: float) -> None:
        super().__init__()
        self._wave, self._samples, self._length, self._place = wave, samples, length, place

    def forward(self, read: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return windows (N, T), and how many samples of each are of the sound (N,)."""
        wave, samples = read[self._wave], read[self._samples]
        spare = (samples - self._length).clamp(min=0)
        begin = (spare.float() * self._place).round().long()
        count = samples.clamp(max=self._length)
        place = torch.arange(self._length, device=wave.device)
        chosen = (begin[:, None] + place).clamp(max=wave.shape[1] - 1)
        return {"wave": wave.gather(1, chosen) * (place < count[:, None]), "samples": count}


def _waves(store: Sounds, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the samples of all sounds, float32 (N, longest), and their numbers, int64 (N,)."""
    starts, lengths = store.arrays[start_key(rate)], store.arrays[length_key(rate)]
    waves = np.zeros((len(store), int(lengths.max())), np.float32)
    for row, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
        waves[row, :length] = store.arrays[wave_key(rate)][start : start + length]
    waves *= (store.arrays["scale"] / 2**15).astype(np.float32)[:, None]
    return waves, lengths.astype(np.int64)
