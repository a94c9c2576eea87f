"""From one opened image to its squares, also while it is unknown which of its values are black and white."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from autotransfer.errors import UnreadableExampleError
from autotransfer_plugins.modalities.image.formats import CropMode, cycled
from autotransfer_plugins.modalities.image.value_range import Range

__all__ = [
    "OVERSHOOT",
    "PADDING",
    "PANORAMA",
    "QUANTIZATION_STEP",
    "deep_squares",
    "pad",
    "quantized",
    "shade",
    "square",
]

# What is beside a letterboxed image: the mean colour of photographs, which most networks see as zeros.
PADDING = (124, 116, 104)

# Longer than this, an image is resized inside the crop only: the whole of it could be gigabytes.
PANORAMA = 4
# Bicubic interpolation overshoots the values of an image by less than this share of them; 16 bit hold all in between.
OVERSHOOT = 0.25
QUANTIZATION_STEP = (1 + 2 * OVERSHOOT) / 65535


def square(image: Image.Image, mode: CropMode, side: int) -> Image.Image:
    """Resize and crop as torchvision's ``Resize(side)`` and ``CenterCrop(side)`` do, or resize the whole image.

    Letterboxed images are those of timm's crop mode ``"border"``. What is beside one is black; ``pad`` colours it.
    """
    width, height = image.size
    if mode == "squash":
        return image.resize((side, side), Image.Resampling.BICUBIC)
    if mode == "letterbox":
        left, top, right, bottom = _box(image.size, side)
        found = Image.new(image.mode, (side, side))
        found.paste(image.resize((right - left, bottom - top), Image.Resampling.BICUBIC), (left, top))
        return found
    short = min(width, height)
    wide, high = (int(side * length / short) for length in (width, height))
    left, top = round((wide - side) / 2), round((high - side) / 2)
    if max(wide, high) > PANORAMA * side:
        x, y = width / wide, height / high
        box = (left * x, top * y, (left + side) * x, (top + side) * y)
        return image.resize((side, side), Image.Resampling.BICUBIC, box=box)
    return image.resize((wide, high), Image.Resampling.BICUBIC).crop((left, top, left + side, top + side))


def pad(found: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a letterboxed square (side, side, C) with the padding colour beside the image.

    Args:
        found: The square.
        size: Width and height of the whole image.
    """
    left, top, right, bottom = _box(size, len(found))
    padded = np.empty_like(found)
    padded[:] = PADDING if found.shape[-1] == len(PADDING) else cycled(PADDING, found.shape[-1])
    padded[top:bottom, left:right] = found[top:bottom, left:right]
    return padded


def _box(size: tuple[int, int], side: int) -> tuple[int, int, int, int]:
    """Return where a letterboxed image of some width and height lies in its square: left, top, right and bottom."""
    wide, high = (max(1, _divided(side * length, max(size))) for length in size)
    left, top = (side - wide) // 2, (side - high) // 2
    return left, top, left + wide, top + high


def _divided(number: int, by: int) -> int:
    """Return a quotient to the nearest whole number; of two that are equally near, the even one, as ``round`` does."""
    low, rest = divmod(number, by)
    return low + (2 * rest > by or (2 * rest == by and low % 2 == 1))


def deep_squares(values: np.ndarray, modes: Sequence[CropMode], side: int) -> tuple[dict[CropMode, np.ndarray], Range]:
    """Make the squares of an array (H, W) or (H, W, 1 or 3) of any numbers.

    Returns:
        uint16 (side, side, 1 or 3) by crop mode, which say where each value lies between the image's least and greatest
        one; and these two, of the whole image.

    Raises:
        UnreadableExampleError: It holds NaN, infinity, or values too far apart to compute with.
    """
    planes = np.moveaxis(np.atleast_3d(values), -1, 0).astype(np.float64)
    low, high = float(planes.min()), float(planes.max())
    if not np.isfinite([low, high]).all():
        raise UnreadableExampleError("it holds NaN or infinity")
    if not np.isfinite(width := high - low):
        raise UnreadableExampleError(f"its values are too far apart: {low:.4g} and {high:.4g}")
    shares = [Image.fromarray(((plane - low) / (width or 1.0)).astype(np.float32)) for plane in planes]
    squares: dict[CropMode, np.ndarray] = {}
    for mode in modes:
        squares[mode] = quantized(np.stack([np.asarray(square(plane, mode, side)) for plane in shares], -1))
    return squares, (low, high)


def quantized(shares: np.ndarray) -> np.ndarray:
    """Return shares of the way from one end to the other in 16 bits, with room beyond both ends."""
    return np.clip(np.rint((shares + OVERSHOOT) / QUANTIZATION_STEP), 0, 65535).astype(np.uint16)


def shade(found: np.ndarray, values: Range, allowed: Range) -> np.ndarray:
    """Return squares of ``deep_squares`` as 8-bit colours (..., 3), black and white where the range begins and ends."""
    factor = 255 / (allowed[1] - allowed[0])
    width = (values[1] - values[0]) * factor
    levels = found.astype(np.float32)
    levels *= width * QUANTIZATION_STEP
    levels += (values[0] - allowed[0]) * factor - OVERSHOOT * width
    levels = np.clip(np.rint(levels, out=levels), 0, 255, out=levels)
    return np.broadcast_to(levels.astype(np.uint8), (*found.shape[:-1], 3))
