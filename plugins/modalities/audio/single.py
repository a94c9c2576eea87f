"""One sound, decoded once and resampled once to each rate that backbones want, in 16 bit."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from autotransfer.errors import UnreadableExampleError
from autotransfer_plugins.modalities.audio.reading import MAX_SECONDS, Samples, check_rate, read_samples
from autotransfer_plugins.modalities.audio.recordings import Encoded, Recording, to_mono

__all__ = ["MIN_COUNTS", "Decoded", "decode_one", "decoded_item", "resampled", "samples_of"]

MIN_COUNTS = 128.0
"""Floats above this that 16, 24 or 32 bits can hold are whole numbers of that many bits."""

_LEAST_SECONDS = 0.01
_ROUNDING = 1e-9
# Samples this near to full scale were probably cut off there, if they are more than this share.
_FULL_SCALE, _CLIPPED_SHARE = 0.999, 0.002
# Whole numbers of at most 4 bytes have the full scale of their type; wider ones are mere numbers.
_MAX_INTEGER_BYTES = 4


@dataclass(kw_only=True)
class Decoded:
    """A decoded sound.

    Attributes:
        digest: Hash of its samples and its rate.
        seconds: How long it lasts.
        rate: Its own sampling rate in Hz.
        waves: int16 (n,) by rate.
        scale: What the samples are multiplied by: a power of two, so that 16 bits suffice for loud and quiet sounds,
            and samples that have 16 bits stay as they are.
        peak: Greatest magnitude of its samples.
        plain: Whether its full scale is 1.0; otherwise it is decided over all sounds.
        silent: Whether all its samples are equal.
        clipped: Whether more samples are at full scale than music and speech have there.
    """

    digest: str
    seconds: float
    rate: int
    waves: Mapping[int, np.ndarray] = field(default_factory=dict)
    scale: float = 1.0
    peak: float
    plain: bool = True
    silent: bool = False
    clipped: bool = False


def decode_one(item: Any, rates: Sequence[int], sampling_rate: int | None) -> Decoded:
    """Decode a sound.

    Args:
        item: The path of a file, the bytes of one, or a recording.
        rates: Rates in Hz that backbones want.
        sampling_rate: Rate of a recording that does not say its own.

    Raises:
        UnreadableExampleError: It cannot be used.
        OSError: It cannot be read.
    """
    samples, plain = samples_of(item, sampling_rate)
    values, seconds = samples.values, len(samples.values) / samples.rate
    if seconds < _LEAST_SECONDS:
        raise UnreadableExampleError(f"it lasts {seconds:.4f} seconds; sounds last {_LEAST_SECONDS} seconds or more")
    digest = blake2b(values.tobytes() + samples.rate.to_bytes(4, "little"), digest_size=16).hexdigest()
    peak = float(np.abs(values).max())
    waves = {rate: resampled(values, samples.rate, rate) for rate in rates}
    scale = _scale_for(waves.values())
    return Decoded(
        digest=digest,
        seconds=seconds,
        rate=samples.rate,
        waves={rate: _in_16_bit(wave, scale) for rate, wave in waves.items()},
        scale=scale,
        peak=peak,
        plain=plain,
        silent=bool((values == values[0]).all()),
        clipped=plain and bool((np.abs(values) >= _FULL_SCALE).mean() > _CLIPPED_SHARE),
    )


def decoded_item(item: Any) -> Any:
    """Return a file, or the bytes of one, as a recording in memory; what cannot be read stays as it is."""
    if not isinstance(item, (Path, Encoded)):
        return item
    try:
        samples, _ = samples_of(item, None)
    except (UnreadableExampleError, OSError):
        return item
    return Recording(samples.values, samples.rate)


def resampled(values: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Return samples, float32 (n,), at another rate in Hz; at least one of them."""
    if rate == wanted:
        return values
    import soxr

    found: np.ndarray = soxr.resample(values, rate, wanted, quality="HQ")
    return found if len(found) else np.zeros(1, dtype=np.float32)


def _scale_for(waves: Collection[np.ndarray]) -> float:
    """Return the least power of two by which all samples are within the range of 16 bits, which reaches less far up."""
    up = max((float(wave.max(initial=0.0)) for wave in waves), default=0.0) * (2**15 / (2**15 - 1))
    down = max((-float(wave.min(initial=0.0)) for wave in waves), default=0.0)
    loudest = max(up, down) * (1 - _ROUNDING)
    return 2.0 ** math.ceil(math.log2(loudest)) if loudest > 0 else 1.0


def _in_16_bit(wave: np.ndarray, scale: float) -> np.ndarray:
    return np.clip(np.rint(wave * (2**15 / scale)), -(2**15), 2**15 - 1).astype(np.int16)


def samples_of(item: Any, sampling_rate: int | None) -> tuple[Samples, bool]:
    """Return the samples of an item, and whether their full scale is known to be 1.0.

    Raises:
        UnreadableExampleError: It cannot be used.
        OSError: It cannot be read.
    """
    if isinstance(item, (Path, Encoded)):
        samples = read_samples(item.data if isinstance(item, Encoded) else item)
        # Files of floats are from -1 to 1 by convention. They may overshoot, and programs also write samples of 16 bits
        # as floats.
        return samples, not samples.floats or float(np.abs(samples.values).max()) <= MIN_COUNTS
    if not isinstance(item, Recording):
        raise UnreadableExampleError(f"a {type(item).__name__} is no sound")
    rate = item.rate if item.rate is not None else sampling_rate
    if rate is None:
        raise UnreadableExampleError("nothing says its sampling rate")
    check_rate(rate)
    if len(item.values) > MAX_SECONDS * rate:
        raise UnreadableExampleError(
            f"it lasts {len(item.values) / rate:,.0f} seconds; the limit is {MAX_SECONDS}: cut it into clips"
        )
    if not len(item.values):
        raise UnreadableExampleError("it holds no samples")
    values, plain = _on_full_scale(item.values)
    mono = to_mono(values)
    if not np.isfinite(mono).all():
        raise UnreadableExampleError("it holds NaN or infinity")
    return Samples(values=np.ascontiguousarray(mono, dtype=np.float32), rate=rate), plain


def _on_full_scale(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return whole numbers as shares of the full scale of their type; other numbers as they are, which is undecided."""
    if values.dtype.kind == "f" or values.dtype.itemsize > _MAX_INTEGER_BYTES:
        return values.astype(np.float32), False
    half = 2.0 ** (8 * values.dtype.itemsize - 1)
    middle = half if values.dtype.kind == "u" else 0.0
    return ((values - middle) / half).astype(np.float32), True
