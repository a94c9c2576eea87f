"""What a page shows of a sound: the middle of it, which networks see first, as a small file."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np

from autotransfer.contract.modality import Item, Preview
from autotransfer_plugins.modalities.audio.single import resampled, samples_of

__all__ = ["clip"]

_MAX_SECONDS = 3.0
_MAX_RATE_HZ = 16000


def clip(item: Item, reading: Mapping[str, Any]) -> Preview:
    """Return at most 3 seconds of a sound, from its middle, as FLAC of at most 16,000 Hz.

    Args:
        item: The sound.
        reading: How the training sounds were read.

    Raises:
        UnreadableExampleError: It cannot be used.
        OSError: It cannot be read.
    """
    import soundfile

    samples, plain = samples_of(item, reading.get("sampling_rate"))
    total, most = len(samples.values) / samples.rate, round(_MAX_SECONDS * samples.rate)
    start = max(len(samples.values) - most, 0) // 2
    wave = samples.values[start : start + most] / (1.0 if plain else reading.get("full_scale", 1.0))
    rate = min(samples.rate, _MAX_RATE_HZ)
    file = BytesIO()
    soundfile.write(file, np.clip(resampled(wave, samples.rate, rate), -1, 1), rate, format="FLAC", subtype="PCM_16")
    begins = start / samples.rate
    part = f", from {begins:.1f} to {begins + _MAX_SECONDS:.1f}" if start else ""
    return Preview(media_type="audio/flac", data=file.getvalue(), text=f"{total:.1f} seconds{part}")
