"""What a page shows of an image: a thumbnail of all of it, with its values as they are read; and a heatmap over it."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from autotransfer.contract.modality import Item, Preview
from autotransfer_plugins.modalities.image.batches import VIEWS, box_of_view, frame_of
from autotransfer_plugins.modalities.image.decode import size_of_item
from autotransfer_plugins.modalities.image.decoding import Decoding
from autotransfer_plugins.modalities.image.formats import COLOURS, Preprocessing
from autotransfer_plugins.modalities.image.reading import quiet_pillow
from autotransfer_plugins.modalities.image.single import Plan, decode_one

__all__ = ["encoded", "heated", "picture_of", "thumbnail"]

_MAX_SIDE_PIXELS = 160
# Smaller images are enlarged by a whole factor, pixel by pixel, so that they can be seen.
_MIN_SIDE_PIXELS = 96
_JPEG_QUALITY = 85
# Colours of little and of much heat, over a grey picture; they differ in lightness, too.
_COOL, _HOT = (255, 214, 64), (200, 0, 40)
_MAX_OPACITY = 0.65


def thumbnail(item: Item, reading: Mapping[str, Any]) -> Preview:
    """Return a thumbnail of a whole image; PNG for an image that is smaller, JPEG for one that was made smaller.

    Args:
        item: The image.
        reading: How the training images were decoded.

    Raises:
        UnreadableExampleError: It cannot be used.
    """
    picture, size = picture_of(item, reading)
    return encoded(picture, size)


def encoded(picture: Image.Image, size: tuple[int, int]) -> Preview:
    """Return a picture as a small file, with the size of the image that it shows."""
    file = BytesIO()
    if max(size) < _MIN_SIDE_PIXELS:
        picture.save(file, "PNG", optimize=True)
    else:
        picture.save(file, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    media_type = "image/png" if max(size) < _MIN_SIDE_PIXELS else "image/jpeg"
    return Preview(media_type=media_type, data=file.getvalue(), text=f"{size[0]} x {size[1]} pixels")


def picture_of(item: Item, reading: Mapping[str, Any]) -> tuple[Image.Image, tuple[int, int]]:
    """Return a small picture of a whole image, and the width and height of the image in pixels.

    Raises:
        UnreadableExampleError: It cannot be used.
    """
    with quiet_pillow():
        known = size_of_item(item)
        side = _MAX_SIDE_PIXELS if known is None else min(max(known), _MAX_SIDE_PIXELS)
        # Squashed, and drawn out again: so values become pixels by the code that makes pixels for networks.
        decoding = Decoding.from_json(dict(reading))
        channels = len(decoding.channel_ranges) or max(COLOURS)
        found = decode_one(item, Plan(modes=["squash"], side=side, decoding=decoding, channels=channels))
    width, height = found.size
    scale = side / max(width, height)
    shape = (max(round(width * scale), 1), max(round(height * scale), 1))
    picture = Image.fromarray(_shown(found.squares["squash"]))
    if picture.size != shape:
        picture = picture.resize(shape, Image.Resampling.BICUBIC)
    factor = max(_MIN_SIDE_PIXELS // max(shape), 1)
    return picture.resize((shape[0] * factor, shape[1] * factor), Image.Resampling.NEAREST), found.size


def heated(item: Item, reading: Mapping[str, Any], how: Preprocessing, heat: np.ndarray) -> Preview:
    """Return a thumbnail with a heatmap over the part of the image that a backbone sees.

    Args:
        item: The image.
        reading: How the training images were decoded.
        how: What the backbone wants.
        heat: From 0 to 1 (h, w), over the backbone's input.

    Raises:
        UnreadableExampleError: It cannot be used.
    """
    picture, size = picture_of(item, reading)
    grey = np.asarray(picture.convert("L").convert("RGB"), dtype=np.float32)
    warm = _over(heat, _seen(how, picture.size), picture.size)[..., None]
    colour = np.array(_COOL, np.float32) + (np.array(_HOT, np.float32) - np.array(_COOL, np.float32)) * warm
    opacity = _MAX_OPACITY * np.sqrt(warm)
    mixed = np.rint(grey * (1 - opacity) + colour * opacity).clip(0, 255).astype(np.uint8)
    return encoded(Image.fromarray(mixed), size)


def _seen(how: Preprocessing, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return which part of an image of a width and height a backbone sees: left, top, right and bottom."""
    width, height = size
    wide, high = {
        "center": (min(size), min(size)),
        "letterbox": (max(size), max(size)),
        "squash": size,
    }[how.crop_mode]
    _, (top, left, tall, broad) = box_of_view(how, VIEWS[0])
    rows, columns = frame_of(how)
    x, y = (width - wide) / 2 + wide * left / columns, (height - high) / 2 + high * top / rows
    return x, y, x + wide * broad / columns, y + high * tall / rows


def _over(heat: np.ndarray, box: tuple[float, float, float, float], size: tuple[int, int]) -> np.ndarray:
    """Return a heatmap over a box of a picture as one over the whole picture (height, width), 0 beside the box."""
    left, top, right, bottom = box
    x, y = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    shares_x, shares_y = (x - left) / (right - left), (y - top) / (bottom - top)
    columns = np.clip(shares_x * heat.shape[1] - 0.5, 0, heat.shape[1] - 1)
    rows = np.clip(shares_y * heat.shape[0] - 0.5, 0, heat.shape[0] - 1)
    found = _between(_between(heat.astype(np.float32), rows, 0), columns, 1)
    inside = np.outer((shares_y >= 0) & (shares_y <= 1), (shares_x >= 0) & (shares_x <= 1))
    return np.asarray(np.where(inside, found, 0.0), dtype=np.float32).clip(0, 1)


def _between(values: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
    """Return values at places between their positions along an axis, on straight lines."""
    before = np.floor(places).astype(int)
    after = np.minimum(before + 1, values.shape[axis] - 1)
    share = (places - before).astype(np.float32)
    share = share[:, None] if axis == 0 else share[None]
    return np.asarray(np.take(values, before, axis) * (1 - share) + np.take(values, after, axis) * share)


def _shown(found: np.ndarray) -> np.ndarray:
    """Return a square (H, W, C) as colours: the first three channels, or the first one as grey."""
    return found[..., : max(COLOURS)] if found.shape[-1] >= max(COLOURS) else found[..., 0]
