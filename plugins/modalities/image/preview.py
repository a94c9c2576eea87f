"""What a page shows of an image: a thumbnail of all of it, with its values as they are read."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from autotransfer.contract.modality import Item, Preview
from autotransfer_plugins.modalities.image.decode import size_of_item
from autotransfer_plugins.modalities.image.decoding import Decoding
from autotransfer_plugins.modalities.image.formats import COLOURS
from autotransfer_plugins.modalities.image.reading import quiet_pillow
from autotransfer_plugins.modalities.image.single import Plan, decode_one

__all__ = ["encoded", "picture_of", "thumbnail"]

_MAX_SIDE_PIXELS = 160
# Smaller images are enlarged by a whole factor, pixel by pixel, so that they can be seen.
_MIN_SIDE_PIXELS = 96
_JPEG_QUALITY = 85


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


def _shown(found: np.ndarray) -> np.ndarray:
    """Return a square (H, W, C) as colours: the first three channels, or the first one as grey."""
    return found[..., : max(COLOURS)] if found.shape[-1] >= max(COLOURS) else found[..., 0]
