"""Images in their own size, as arrays: what a program decodes before it calls an exported model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from autotransfer.contract.modality import Item
from autotransfer.errors import UnreadableExampleError
from autotransfer_plugins.modalities.image.arrays import to_storable
from autotransfer_plugins.modalities.image.background import laid_on
from autotransfer_plugins.modalities.image.decoding import Decoding
from autotransfer_plugins.modalities.image.formats import COLOURS
from autotransfer_plugins.modalities.image.reading import open_image, read_file, refuse_hostile, upright
from autotransfer_plugins.modalities.image.single import foreign_channels, with_opacity
from autotransfer_plugins.modalities.image.stacks import array_in, pages_of
from autotransfer_plugins.modalities.image.value_range import ValueKind, kind_of_values

__all__ = ["kind_of_pixels", "pixels_of"]


def kind_of_pixels(decoding: Decoding) -> ValueKind:
    """Return the kind of values that an exported model takes: ``"float"`` where no training image had 8 bits."""
    if decoding.channel_ranges:
        return "float"
    return "uint8" if not decoding.ranges or decoding.knows("uint8") else "float"


def pixels_of(item: Item, decoding: Decoding) -> np.ndarray:
    """Return an image as (height, width, 3), uint8 or float32 by ``kind_of_pixels``, with its values as they are.

    Values of a kind that has another range than those of the model's own kind are brought to that range. Images of
    other channels than grey or colours are float32 (height, width, channels).

    Raises:
        UnreadableExampleError: It cannot be used.
    """
    if decoding.channel_ranges:
        return _channels_of(item, len(decoding.channel_ranges))
    kind, values = kind_of_pixels(decoding), _values_of(item, decoding)
    own = kind_of_values(values)
    assert own is not None  # truth values were made black and white
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, -1)
    if own != kind and (given := decoding.range_of(own)) != (wanted := decoding.range_of(kind)):
        share = (values.astype(np.float64) - given[0]) / (given[1] - given[0])
        values = share * (wanted[1] - wanted[0]) + wanted[0]
    if kind == "float":
        return values.astype(np.float32)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8) if values.dtype != np.uint8 else values


def _values_of(item: Item, decoding: Decoding) -> np.ndarray:
    """Return the values of an image (height, width) or (height, width, 3); transparent ones lie on the background."""
    if isinstance(item, Path):
        data = read_file(item)
        if (array := array_in(data)) is not None:
            return _values_of_array(array, decoding)
        with open_image(data) as opened:
            refuse_hostile(opened)
            if (array := pages_of(opened, max(COLOURS))) is not None:
                return _values_of_array(array, decoding)
            item = upright(opened)
    elif isinstance(item, Image.Image):
        item = upright(item)
    else:
        return _values_of_array(item, decoding)
    if kind_of_values(item) not in (None, "uint8"):
        return np.asarray(item)
    if item.has_transparency_data:
        item = laid_on(item.convert("RGBA"), decoding.background)
    return np.asarray(item.convert("RGB"))


def _channels_of(item: Item, channels: int) -> np.ndarray:
    """Return an image whose channels are neither grey nor colours as float32 (height, width, channels)."""
    if isinstance(item, Path):
        data = read_file(item)
        if (array := array_in(data)) is None:
            with open_image(data) as opened:
                refuse_hostile(opened)
                array = pages_of(opened, channels)
                item = np.asarray(upright(opened)) if array is None else array
        else:
            item = array
    (array,) = to_storable([np.atleast_3d(np.asarray(item))])
    if array.shape[2] != channels:
        raise UnreadableExampleError(foreign_channels(array.shape[2], channels))
    return array.astype(np.float32)


def _values_of_array(array: Any, decoding: Decoding) -> np.ndarray:
    (array,) = to_storable([array])
    kind = kind_of_values(array)
    if kind is None:
        array, kind = array.astype(np.uint8) * np.uint8(255), "uint8"
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim == 3 and array.shape[2] == 4:
        return _values_of(Image.fromarray(with_opacity(array, kind)), decoding)
    return np.asarray(array)
