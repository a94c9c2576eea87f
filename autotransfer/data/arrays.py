"""Images that are in memory already: NumPy arrays and torch tensors, brought to 8-bit (H, W) or (H, W, C) arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autotransfer.errors import DataError

__all__ = ["batch_of_images", "image_of", "is_tensor", "to_numpy", "to_storable"]

_CHANNELS = (1, 3, 4)
# Interpolation overshoots a little; such values are clipped, not taken for another range.
_SLACK = 1e-2


def is_tensor(value: Any) -> bool:
    """Whether ``value`` is a torch tensor, found out without importing torch."""
    return hasattr(value, "detach") and hasattr(value, "numpy")


def to_numpy(value: Any) -> np.ndarray:
    """Return a tensor, on any device and of any precision, or anything else that NumPy takes, as an array."""
    if is_tensor(value):
        value = value.detach().cpu()
        # NumPy has no bfloat16; what has more than 16 bit keeps all of them.
        return np.asarray(value.float() if value.is_floating_point() and value.element_size() < 4 else value)
    return np.asarray(value)


def batch_of_images(value: Any) -> list[np.ndarray]:
    """Split one array (N, H, W) or (N, H, W, C), or tensor (N, C, H, W), into images of uint8 or uint16.

    Raises:
        DataError: Flat rows, odd shapes, or values outside of 0..1, 0..255 and 0..65535.
    """
    array = to_numpy(value)
    if array.ndim == 4:
        array = _channels_last(array, tensor=is_tensor(value))
    elif array.ndim != 3:
        raise DataError(f"Images need a height and a width; got an array of shape {array.shape}.{_unflatten(array)}")
    return to_storable(list(array))


def image_of(value: Any) -> np.ndarray:
    """Return one array (H, W) or (H, W, C), or tensor (C, H, W), as an array (H, W) or (H, W, C).

    Raises:
        DataError: Any other shape.
    """
    array = to_numpy(value)
    if array.ndim == 2:
        return array
    if array.ndim != 3:
        raise DataError(f"An image has the shape (height, width) or (height, width, channels); got {array.shape}.")
    return np.asarray(_channels_last(array[None], tensor=is_tensor(value))[0])


def to_storable(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Bring images to uint8; uint8 and uint16 stay as they are. The range of values is judged over all of them.

    Raises:
        DataError: Empty images, NaN, infinity, or values in no known range.
    """
    if any(image.size == 0 or image.dtype.kind not in "buif" for image in images):
        raise DataError("Images are arrays of numbers, at least one pixel high and wide.")
    odd = [image for image in images if image.dtype not in (np.uint8, np.uint16, np.bool_)]
    scale = _scale(odd) if odd else 1.0
    return [_storable(image, scale) for image in images]


def _storable(image: np.ndarray, scale: float) -> np.ndarray:
    if image.dtype in (np.uint8, np.uint16):
        return image
    if image.dtype == np.bool_:
        return np.asarray(image * np.uint8(255))
    return np.asarray(np.clip(np.rint(image * scale), 0, 255), dtype=np.uint8)


def _scale(images: Sequence[np.ndarray]) -> float:
    """Return the factor that brings the values to 0..255."""
    low = float(np.min([image.min() for image in images]))
    high = float(np.max([image.max() for image in images]))
    floating = any(image.dtype.kind == "f" for image in images)
    if not np.isfinite([low, high]).all():
        raise DataError("Images hold NaN or infinity: clean them, or leave these images out.")
    if floating and low >= -_SLACK and high <= 1 + _SLACK:
        return 255.0
    if low >= -_SLACK and high <= 255 + _SLACK:
        return 1.0
    if not floating and low >= 0 and high <= 65535:
        return 1 / 257
    raise DataError(
        f"Values of images lie in 0..1 or 0..255 (0..65535 for 16 bit); these lie in {low:.4g}..{high:.4g}. "
        "Give images as they are before any normalisation."
    )


def _channels_last(array: np.ndarray, *, tensor: bool) -> np.ndarray:
    """Return (N, H, W, C); tensors are (N, C, H, W) by convention, and anything else only where nothing else fits."""
    first, last = array.shape[1] in _CHANNELS, array.shape[-1] in _CHANNELS
    if first or last:
        return np.asarray(np.moveaxis(array, 1, -1)) if first and (tensor or not last) else array
    raise DataError(f"Images have 1, 3 or 4 channels; got the shape {array.shape[1:]}.")


def _unflatten(array: np.ndarray) -> str:
    """Advice for flat rows of pixels."""
    if array.ndim != 2:
        return ""
    for channels in (1, 3):
        side = round((array.shape[1] / channels) ** 0.5)
        if side > 1 and side * side * channels == array.shape[1]:
            shape = (-1, side, side) if channels == 1 else (-1, side, side, channels)
            return f" If these are flat images, reshape them first: x.reshape({', '.join(map(str, shape))})."
    return " If these are flat images, reshape them to (N, height, width) or (N, height, width, channels) first."
