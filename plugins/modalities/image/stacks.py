"""Images of any number of channels in files, NumPy arrays or pages of a TIFF file, and how many channels there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from autotransfer.contract.modality import Item
from autotransfer.data.folders import open_regular
from autotransfer.errors import DataError, UnreadableExampleError
from autotransfer_plugins.modalities.image.arrays import channels_are_first, image_of
from autotransfer_plugins.modalities.image.dicom import is_dicom, read_dicom
from autotransfer_plugins.modalities.image.formats import COLOURS, MAX_CHANNELS
from autotransfer_plugins.modalities.image.reading import open_image, quiet_pillow, read_file, refuse_hostile

__all__ = [
    "FourthChannel",
    "array_in",
    "count_channels",
    "decoded_file",
    "is_numpy",
    "pages_of",
    "read_numpy",
    "shape_in_header",
]

FourthChannel = Literal["opacity", "channel"]

_NUMPY = b"\x93NUMPY"
_ONE_CHANNEL_MODES = ("1", "L", "F", "I")
_COUNTED = 16
_RGBA = 4
# What opaque is in arrays, by the kind and size of their numbers; those of fractions are 1.
_OPAQUE = {("u", 1): 255, ("u", 2): 65535, ("b", 1): True, ("f", 2): 1, ("f", 4): 1, ("f", 8): 1}
# A fourth channel is opacity where at least this share of its values are wholly transparent or opaque.
_MIN_EXTREME_SHARE = 0.5


def is_numpy(start: bytes) -> bool:
    """Whether a file begins as NumPy's files of one array do."""
    return start.startswith(_NUMPY)


def read_numpy(data: bytes) -> np.ndarray:
    """Return the array of a file as an image (H, W) or (H, W, C).

    Raises:
        UnreadableExampleError: It holds none.
    """
    try:
        return image_of(np.load(BytesIO(data), allow_pickle=False))
    except (ValueError, EOFError, OSError) as error:
        raise UnreadableExampleError(f"a file of NumPy that cannot be read: {error}") from error


def array_in(data: bytes) -> np.ndarray | None:
    """Return the array that a file of NumPy or a DICOM file holds; None for other files.

    Raises:
        UnreadableExampleError: It cannot be read.
    """
    if is_numpy(data):
        return read_numpy(data)
    return read_dicom(data).values if is_dicom(data) else None


def decoded_file(path: Path) -> Item:
    """Return a file as an image or array in memory, of its own size; one with several pages stays a path.

    A path that cannot be read stays as it is.
    """
    try:
        with quiet_pillow():
            data = read_file(path)
            if (array := array_in(data)) is not None:
                return array
            with open_image(data) as opened:
                refuse_hostile(opened)
                if _pages(opened) > 1:
                    return path
                opened.load()
                return opened.copy()
    except Exception:  # readers raise nearly every built-in type on damaged files
        return path


def pages_of(opened: Image.Image, channels: int) -> np.ndarray | None:
    """Return the pages of a TIFF file as the channels (H, W, C) of one image; None where they are none.

    Pages are channels where each of them has one channel, and all have one size: three of them where images are grey
    or in colours, else any number.

    Args:
        opened: The file.
        channels: Number of channels of the images; 3 for grey images and for those with colours.

    Raises:
        UnreadableExampleError: The pages have more pixels than Pillow allows.
    """
    count = _pages(opened)
    if count == 1 or (channels in COLOURS and count != max(COLOURS)):
        return None
    width, height = opened.size
    if Image.MAX_IMAGE_PIXELS is not None and count * width * height > Image.MAX_IMAGE_PIXELS:
        raise UnreadableExampleError(f"{count} pages of {width} x {height} pixels are more than Pillow allows")
    first, pages = (opened.mode, opened.size), list[np.ndarray]()
    for page in range(count):
        opened.seek(page)
        if (opened.mode, opened.size) != first:
            opened.seek(0)
            return None
        pages.append(np.asarray(opened))
    return np.stack(pages, -1)


def shape_in_header(path: Path) -> tuple[int, int, int] | None:
    """Return height, width and channels of a file of NumPy or a TIFF file; None for others and what cannot be read."""
    try:
        with open_regular(path) as file:
            if path.suffix.lower() == ".npy":
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                return _oriented(read(file)[0])
            if path.suffix.lower() in (".tif", ".tiff"):
                with Image.open(file) as opened:
                    refuse_hostile(opened)
                    return opened.size[1], opened.size[0], _pages(opened)
    except Exception:  # readers raise nearly every built-in type on damaged files, and decoding says why
        return None
    return None


def count_channels(items: Sequence[Item], fourth: FourthChannel | None = None) -> int:
    """Return how many channels most images have, by some of them; 3 for grey images and for those with colours.

    The fourth of four channels of arrays is opacity where most of its values say so: then images have colours.

    Args:
        items: The images.
        fourth: What the fourth channel is; None decides by its values.
    """
    lazy = not isinstance(items, (list, tuple))
    places = [0] if lazy else dict.fromkeys(np.linspace(0, len(items) - 1, _COUNTED).astype(int).tolist())
    some = list[Item]()
    with quiet_pillow():
        for i in places if len(items) else ():
            try:
                some.append(items[i])
            except Exception:  # of a lazy sequence; it comes again, and is reported, when its turn comes
                continue
        counts = Counter(_channels(item) for item in some)
    most = counts.most_common(1)[0][0] if counts else max(COLOURS)
    arrays = [array for item in some if _channels(item) == _RGBA and (array := _array(item)) is not None]
    if most == _RGBA and arrays and (fourth or _kind_of_fourth(arrays)) == "opacity":
        return max(COLOURS)
    return most


def _channels(item: Item) -> int:
    """Return the number of channels of an image, from the header of a file; 3 for grey, colours and unknown."""
    shape: Sequence[int] | None = None
    if isinstance(item, np.ndarray):
        shape = item.shape
    elif isinstance(item, Path):
        shape = shape_in_header(item)
    count = shape[2] if shape is not None and len(shape) > 2 else 1
    return max(COLOURS) if count in COLOURS else count


def _array(item: Item) -> np.ndarray | None:
    """Return an array, or that of a file of NumPy; None for what is no array."""
    if isinstance(item, np.ndarray):
        return item
    if item.suffix.lower() != ".npy":
        return None
    try:
        return image_of(np.load(item, allow_pickle=False, mmap_mode="r"))
    except (ValueError, OSError, DataError):
        return None


def _kind_of_fourth(arrays: Sequence[np.ndarray]) -> FourthChannel:
    """Return what the fourth channel of arrays is, by its values."""
    extreme, opaque, total = 0, 0, 0
    for array in arrays:
        values, full = array[..., 3], _OPAQUE.get((array.dtype.kind, array.dtype.itemsize), 255)
        if values.dtype.kind != "b" and not (values.min() >= 0 and values.max() <= full):
            return "channel"
        there = int((values == full).sum())
        opaque, extreme, total = opaque + there, extreme + there + int((values == 0).sum()), total + values.size
    return "opacity" if opaque and extreme >= _MIN_EXTREME_SHARE * total else "channel"


def _pages(opened: Image.Image) -> int:
    """Return the number of pages that may be channels; 1 where they are none."""
    count = int(getattr(opened, "n_frames", 1)) if opened.format == "TIFF" else 1
    return count if 1 < count <= MAX_CHANNELS and opened.mode.partition(";")[0] in _ONE_CHANNEL_MODES else 1


def _oriented(shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Return height, width and channels of an array of two or three axes; None for others."""
    if len(shape) == 2:
        return shape[0], shape[1], 1
    if len(shape) != 3:
        return None
    return (*shape[1:], shape[0]) if channels_are_first(shape, tensor=False) else shape
