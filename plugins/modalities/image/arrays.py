"""Images that are in memory already: NumPy arrays and torch tensors, as arrays (H, W) or (H, W, C)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autotransfer.data.arrays import is_tensor, to_numpy
from autotransfer.errors import DataError
from autotransfer_plugins.modalities.image.formats import COLOURS, MAX_CHANNELS

__all__ = ["batch_of_images", "channels_are_first", "image_of", "item_of", "split_images", "to_storable"]

# Grey, colours, and colours with opacity.
_USUAL_CHANNELS = (1, 3, 4)
_SHAPES = "(N, height, width), (N, height, width, channels) or (N, channels, height, width)"


def batch_of_images(value: Any) -> list[np.ndarray]:
    """Split one array or tensor (N, H, W), (N, H, W, C) or (N, C, H, W) into images.

    Raises:
        DataError: Flat rows, other shapes, or values that are no finite numbers.
    """
    array = to_numpy(value)
    if array.ndim == 4:
        array = _channels_last(array, tensor=is_tensor(value))
    elif array.ndim != 3:
        raise DataError(f"N images have the shape {_SHAPES}; got an array of shape {array.shape}.{_advice(array)}")
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


def item_of(value: Any) -> Any:
    """Return a PIL image as it is, an array or tensor as an array (H, W) or (H, W, C), and None for anything else.

    Raises:
        DataError: An array of another shape, or of values that are no finite numbers.
    """
    from PIL import Image

    if isinstance(value, Image.Image):
        return value
    return to_storable([image_of(value)])[0] if is_tensor(value) or isinstance(value, np.ndarray) else None


def split_images(value: Any, channels: int | None) -> list[np.ndarray]:
    """Return the images of an array or tensor of one or more to predict on.

    An array of three axes is several grey images or one with channels. One whose last axis is 1, 3 or 4 is one image.
    One whose first axis is 3 or 4 is one image, channels first, where training saw colours, and several grey images
    where it saw grey ones. Where training saw other channels, one whose last or first axis has as many is one image.

    Args:
        value: What is to be predicted on.
        channels: 1 where all training images were grey, 3 where nearly all had colours, None for both or unknown, else
            the number of their channels.

    Raises:
        DataError: It can be read in both ways, or in none.
    """
    if value.ndim != 3 or value.shape[0] == 1:  # one grey image either way
        return batch_of_images(value)
    if channels not in (None, *COLOURS):
        if channels in (value.shape[2], value.shape[0]):
            array = to_numpy(value)
            return to_storable([array if value.shape[2] == channels else np.moveaxis(array, 0, -1)])
        return batch_of_images(value)
    first, last = value.shape[0] in _USUAL_CHANNELS, value.shape[2] in _USUAL_CHANNELS
    if last:
        return to_storable([image_of(value if not is_tensor(value) else to_numpy(value))])
    if not first or channels == 1:
        return batch_of_images(value)
    if channels == 3 or is_tensor(value):
        return to_storable([np.moveaxis(to_numpy(value), 0, -1)])
    shape, count = tuple(value.shape), value.shape[0]
    raise DataError(
        f"An array of the shape {shape} could be {count} grey images or one image with {count} channels in front, and "
        f"the training images do not tell. Give images in the shape (N, height, width, channels): {(*shape, 1)} for "
        f"the one, x[..., None]; {(1, *shape)} for the other, x[None]."
    )


def to_storable(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return images in the machine's own byte order; their values stay as they are.

    Raises:
        DataError: Empty images, or values that are no finite numbers.
    """
    for image in images:
        if image.size == 0 or image.dtype.kind not in "buif":
            raise DataError(
                "Images are arrays of numbers, at least one pixel high and wide; got an array of the type "
                f"{image.dtype} and the shape {image.shape}. Such arrays of objects are put together by np.stack, and "
                "of complex numbers one part is chosen."
            )
        if image.dtype.kind == "f" and not np.isfinite(image).all():
            raise DataError("Images hold NaN or infinity: clean them, or leave these images out.")
    return [image.astype(image.dtype.newbyteorder("="), copy=False) for image in images]


def _channels_last(array: np.ndarray, *, tensor: bool) -> np.ndarray:
    """Return (N, H, W, C); see ``channels_are_first``."""
    is_first = channels_are_first(array.shape[1:], tensor=tensor)
    return np.asarray(np.moveaxis(array, 1, -1)) if is_first else array


def channels_are_first(shape: tuple[int, ...], *, tensor: bool) -> bool:
    """Return whether the channels of an image of three axes are the first of them, and not the last.

    1, 3 or 4 are channels: tensors have them first by convention, and anything else only where nothing else fits. Of
    two other lengths, the shorter one is that of the channels.

    Args:
        shape: The three lengths.
        tensor: Whether it is a tensor.

    Raises:
        DataError: Neither axis is short enough.
    """
    first, last = shape[0] in _USUAL_CHANNELS, shape[-1] in _USUAL_CHANNELS
    if first or last:
        return first and (tensor or not last)
    if min(shape[0], shape[-1]) > MAX_CHANNELS:
        raise DataError(
            f"Images have up to {MAX_CHANNELS} channels, first or last; got the shape {shape}. Of more channels choose "
            "some, such as x[..., :3], or give each as a grey image."
        )
    return shape[0] < shape[-1] or (tensor and shape[0] == shape[-1])


def _advice(array: np.ndarray) -> str:
    """Advice for flat rows of pixels and for a single image."""
    if array.ndim != 2:
        return ""
    single = " One grey image is x[None]."
    for channels in (1, 3):
        side = round((array.shape[1] / channels) ** 0.5)
        if side > 1 and side * side * channels == array.shape[1]:
            shape = (-1, side, side) if channels == 1 else (-1, side, side, channels)
            return f" If these are flat images, reshape them first: x.reshape({', '.join(map(str, shape))}).{single}"
    flat = " If these are flat images, reshape them to (N, height, width) or (N, height, width, channels) first."
    return flat + single
