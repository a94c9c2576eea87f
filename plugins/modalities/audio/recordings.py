"""Sounds that are in memory already: arrays, tensors, and the cells of tables and data sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autotransfer.data.arrays import is_tensor, to_numpy
from autotransfer.errors import DataError

__all__ = ["Encoded", "Recording", "item_of", "recordings_of", "to_mono"]

# An axis this short beside one that is far longer holds channels.
MAX_CHANNELS = 8
_MIN_SAMPLES_PER_CHANNEL = 64


@dataclass(frozen=True, eq=False)
class Recording:
    """Samples, and how many of them there are in a second.

    Attributes:
        values: Samples (n,), or (n, channels).
        rate: Samples a second, in Hz; None where nothing says so.
    """

    values: np.ndarray
    rate: int | None = None


@dataclass(frozen=True)
class Encoded:
    """The bytes of a sound file."""

    data: bytes


def recordings_of(value: Any, *, one: bool) -> list[Recording] | None:
    """Split an array or tensor (N, samples) or (N, channels, samples) into sounds; None for other shapes.

    Args:
        value: The array or tensor.
        one: Whether an array of one axis is one sound.

    Raises:
        DataError: The values are no finite numbers.
    """
    array = to_numpy(value)
    if array.ndim == 1 and one:
        array = array[None]
    if array.ndim == 3 and _channel_axis(array.shape[1:]) is not None:
        return [Recording(_checked(_channels_last(each))) for each in array]
    return [Recording(_checked(each)) for each in array] if array.ndim == 2 else None


def item_of(value: Any, suffixes: frozenset[str]) -> Any:
    """Return what stands for one sound, and None for what is none.

    Takes arrays and tensors (samples,), (channels, samples) or (samples, channels); pairs of such an array and its
    sampling rate, in either order; mappings of ``"array"`` and ``"sampling_rate"``, or of ``"bytes"`` and ``"path"``,
    as the cells of Hugging Face data sets are; and their decoders.

    Raises:
        DataError: It is one, and cannot be used.
    """
    if isinstance(value, (Recording, Encoded)):
        return value
    if is_tensor(value) or isinstance(value, np.ndarray):
        array = to_numpy(value)
        return Recording(_checked(_channels_last(array))) if _is_sound(array) else None
    if isinstance(value, tuple) and len(value) == 2:
        return _of_pair(*value)
    if isinstance(value, Mapping):
        return _of_mapping(value, suffixes)
    if hasattr(value, "get_all_samples"):  # a decoder of torchcodec, which data sets give since their version 4
        samples = value.get_all_samples()
        return _at_rate(samples.data, samples.sample_rate)
    return None


def to_mono(values: np.ndarray) -> np.ndarray:
    """Return samples (n,) as the mean over channels."""
    return values if values.ndim == 1 else values.mean(axis=1, dtype=np.float64).astype(values.dtype, copy=False)


def _of_pair(first: Any, second: Any) -> Recording | None:
    for samples, rate in ((first, second), (second, first)):
        if (is_tensor(samples) or isinstance(samples, np.ndarray)) and isinstance(rate, (int, np.integer)):
            return _at_rate(samples, rate) if _is_sound(to_numpy(samples)) else None
    return None


def _of_mapping(value: Mapping[Any, Any], suffixes: frozenset[str]) -> Any:
    from autotransfer_plugins.modalities.audio.reading import is_sound

    if value.get("array") is not None and "sampling_rate" in value:
        return _at_rate(value["array"], value["sampling_rate"])
    data, path = value.get("bytes"), value.get("path")
    if isinstance(data, bytes):
        return Encoded(data) if is_sound(data[:64]) else None
    return Path(path) if isinstance(path, str) and Path(path).suffix.lower() in suffixes else None


def _at_rate(samples: Any, rate: Any) -> Recording:
    array = to_numpy(samples)
    if not _is_sound(array):
        raise DataError(f"A sound has the shape (samples,) or (channels, samples); got {array.shape}.")
    if isinstance(rate, bool) or not float(rate).is_integer():
        raise DataError(f"The sampling rate of a sound is a whole number in Hz; got {rate!r}.")
    return Recording(_checked(_channels_last(array)), int(rate))


def _is_sound(array: np.ndarray) -> bool:
    return array.dtype.kind in "iuf" and (array.ndim == 1 or _channel_axis(array.shape) is not None)


def _channel_axis(shape: tuple[int, ...]) -> int | None:
    """Return which of two axes holds channels; None where none does."""
    if len(shape) != 2 or min(shape) > MAX_CHANNELS or max(shape) < _MIN_SAMPLES_PER_CHANNEL * min(shape):
        return None
    return 0 if shape[0] < shape[1] else 1


def _channels_last(array: np.ndarray) -> np.ndarray:
    return array.T if array.ndim == 2 and _channel_axis(array.shape) == 0 else array


def _checked(values: np.ndarray) -> np.ndarray:
    """Return samples in the machine's own byte order.

    Raises:
        DataError: They are no finite numbers.
    """
    if values.dtype.kind not in "iuf":
        raise DataError(f"Sounds are arrays of numbers; got an array of the type {values.dtype}.")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError("Sounds hold NaN or infinity: clean them, or leave these sounds out.")
    return values.astype(values.dtype.newbyteorder("="), copy=False)
