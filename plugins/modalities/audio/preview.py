"""What a page shows of a sound: the middle of it, which networks see first, as a small file; and its parts in time."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np

from autotransfer.contract.modality import Item, Occlusions, Preview
from autotransfer_plugins.modalities.audio.reading import Samples
from autotransfer_plugins.modalities.audio.recordings import Recording
from autotransfer_plugins.modalities.audio.single import resampled, samples_of

__all__ = ["clip", "with_silence"]

_MAX_SECONDS = 3.0
_MAX_RATE_HZ = 16000
_SILENCES = 12


def clip(item: Item, reading: Mapping[str, Any]) -> Preview:
    """Return at most 3 seconds of a sound, from its middle, as FLAC of at most 16,000 Hz.

    Args:
        item: The sound.
        reading: How the training sounds were read.

    Raises:
        UnreadableExampleError: It cannot be used.
        OSError: It cannot be read.
    """
    return _clip(_full_scale(item, reading)[0])


def with_silence(item: Item, reading: Mapping[str, Any]) -> Occlusions:
    """Return a sound with silence in place of each twelfth of the clip that is shown of it.

    Args:
        item: The sound.
        reading: How the training sounds were read.

    Raises:
        UnreadableExampleError: It cannot be used.
        OSError: It cannot be read.
    """
    samples, scale = _full_scale(item, reading)
    start, stop = _shown(samples)
    edges = np.unique(np.linspace(start, stop, _SILENCES + 1).round().astype(int))
    items, parts = list[Item](), list[str]()
    for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        values = samples.values * np.float32(scale)
        values[first:last] = 0.0
        items.append(Recording(values, samples.rate))
        parts.append(f"{first / samples.rate:.1f}-{last / samples.rate:.1f} s ")
    return Occlusions(preview=_clip(samples), parts=tuple(parts), items=tuple(items))


def _full_scale(item: Item, reading: Mapping[str, Any]) -> tuple[Samples, float]:
    """Return the samples of a sound at full scale 1.0, and the full scale that arrays are read with.

    Raises:
        UnreadableExampleError: It cannot be used.
        OSError: It cannot be read.
    """
    samples, plain = samples_of(item, reading.get("sampling_rate"))
    scale = float(reading.get("full_scale", 1.0))
    return (samples if plain else Samples(values=samples.values / np.float32(scale), rate=samples.rate)), scale


def _shown(samples: Samples) -> tuple[int, int]:
    """Return the first and the last sample of the clip."""
    most = round(_MAX_SECONDS * samples.rate)
    start = max(len(samples.values) - most, 0) // 2
    return start, min(start + most, len(samples.values))


def _clip(samples: Samples) -> Preview:
    import soundfile

    start, stop = _shown(samples)
    rate, file = min(samples.rate, _MAX_RATE_HZ), BytesIO()
    wave = np.clip(resampled(samples.values[start:stop], samples.rate, rate), -1, 1)
    soundfile.write(file, wave, rate, format="FLAC", subtype="PCM_16")
    begins, total = start / samples.rate, len(samples.values) / samples.rate
    part = f", from {begins:.1f} to {begins + _MAX_SECONDS:.1f}" if start else ""
    return Preview(media_type="audio/flac", data=file.getvalue(), text=f"{total:.1f} seconds{part}")
