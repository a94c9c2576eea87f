"""One image, decoded once: its squares, and what the decisions on black, white and background ask of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
from PIL import Image

from autotransfer.contract.modality import Item
from autotransfer.errors import UnreadableExampleError
from autotransfer_plugins.modalities.image.arrays import to_storable
from autotransfer_plugins.modalities.image.background import blend, laid_on, vanishes_on
from autotransfer_plugins.modalities.image.channels import ChannelValues, channel_squares, shade_channels
from autotransfer_plugins.modalities.image.decoding import Background, Decoding
from autotransfer_plugins.modalities.image.dicom import is_dicom, read_dicom
from autotransfer_plugins.modalities.image.formats import COLOURS, CropMode
from autotransfer_plugins.modalities.image.reading import open_image, read_file, refuse_hostile, upright
from autotransfer_plugins.modalities.image.squares import deep_squares, pad, shade, square
from autotransfer_plugins.modalities.image.stacks import is_numpy, pages_of, read_numpy
from autotransfer_plugins.modalities.image.value_range import Range, ValueKind, kind_of_values, outside

__all__ = ["Decoded", "Plan", "decode_one", "foreign_channels", "is_constant", "padded", "with_opacity"]

Squares = dict[CropMode, np.ndarray]

# A JPEG is decoded at a reduced scale only down to this multiple of the wanted side: the resize hides the rest.
_DRAFT_GAP = 2
# Interpolation overshoots the values of an image by less than this factor.
_OVERSHOOT = 1.5
_GREY_MODES = ("1", "L", "LA", "La", "F")
# What opaque is in arrays of four channels.
_OPAQUE = {"uint8": 255, "uint16": 65535, "integer": 255, "float": 1}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How images are decoded.

    Attributes:
        modes: How their squares are cut.
        side: Side of the squares in pixels.
        decoding: How values become pixels; None while that is undecided.
        doubted: 8-bit images of which no value is above this may turn out to be of another range than 0..255.
        channels: Number of channels of the squares; 3 for grey images and for those with colours.
    """

    modes: Sequence[CropMode]
    side: int
    decoding: Decoding | None = None
    doubted: int = 0
    channels: int = 3


@dataclass(kw_only=True)
class Decoded:
    """A decoded image.

    Attributes:
        digest: Hash of its content.
        size: Width and height in pixels, of the image as it is to be seen.
        drawn: The same in the scale in which it was decoded.
        channels: 1 for grey, 3 for colours, else their number.
        squares: uint8 (side, side, channels) by crop mode; empty while black and white are unknown.
        kind: What its values are; None for truth values and transparent images, which leave no question open.
        values: Its least and its greatest value; None where they are 0..255 in any case.
        deep: Its squares while black and white are undecided; see ``deep_squares``.
        by_channel: Its values in each channel, where these are neither grey nor colours.
        on_black: The squares of a transparent image on black, while the background is undecided; then ``squares`` is
            on white.
        vanishing: The backgrounds on which a transparent image cannot be seen.
        several: Whether its file holds more than one frame or page.
        narrowed: Whether its file holds 16-bit colours, of which Pillow keeps the upper 8 bits.
    """

    digest: str
    size: tuple[int, int]
    drawn: tuple[int, int]
    channels: int
    squares: Squares = field(default_factory=dict)
    kind: ValueKind | None = None
    values: Range | None = None
    deep: Squares | None = None
    by_channel: ChannelValues | None = None
    on_black: Squares | None = None
    vanishing: frozenset[Background] | None = None
    several: bool = False
    narrowed: bool = False


def decode_one(item: Item, plan: Plan) -> Decoded:
    """Decode one image once, and make all squares from it.

    Raises:
        UnreadableExampleError: It cannot be used.
    """
    if isinstance(item, Path):
        return _from_file(item, plan)
    if isinstance(item, Image.Image):
        image = upright(item)
        # Values of a palette say nothing without it.
        about = f"{image.mode} {image.size} {image.getpalette('RGBA')} {image.info.get('transparency')}"
        digest = blake2b(about.encode() + image.tobytes(), digest_size=16)
        return _from_picture(image, digest.hexdigest(), plan)
    digest = blake2b(f"{item.shape} {item.dtype}".encode() + item.tobytes(), digest_size=16)
    return _from_array(item, digest.hexdigest(), plan)


def is_constant(found: np.ndarray) -> bool:
    """Whether all pixels of a square are equal."""
    first, middle = found[0, 0].tobytes(), len(found) // 2
    few = (found[middle, middle], found[0, -1], found[-1, middle])  # these decide for nearly every image
    return all(pixel.tobytes() == first for pixel in few) and bool((found == found[0, 0]).all())


def _from_file(path: Path, plan: Plan) -> Decoded:
    data = read_file(path)
    digest = blake2b(data, digest_size=16).hexdigest()
    if is_numpy(data):
        return _from_array(read_numpy(data), digest, plan)
    if is_dicom(data):
        read = read_dicom(data)
        return replace(_from_array(read.values, digest, plan), several=read.several)
    with open_image(data) as opened:
        refuse_hostile(opened)
        if (stack := pages_of(opened, plan.channels)) is not None:
            return _from_array(stack, digest, plan)
        size = opened.size
        narrowed = opened.mode in ("RGB", "RGBA", "LA") and any(";16" in str(tile[3]) for tile in opened.tile)
        opened.draft("RGB", (_DRAFT_GAP * plan.side, _DRAFT_GAP * plan.side))
        drafted, turned = opened.size, upright(opened)
        found = _from_picture(turned, digest, plan)
        found.size, found.narrowed = size if turned.size == drafted else size[::-1], narrowed
        # A photograph of a telephone holds its preview beside it.
        found.several = opened.format != "MPO" and bool(getattr(opened, "is_animated", False))
    return found


def _from_array(array: np.ndarray, digest: str, plan: Plan) -> Decoded:
    """Decode (H, W) or (H, W, 1, 3 or 4) of any numbers."""
    (array,) = to_storable([array])
    if plan.channels not in COLOURS:
        return _from_channels(array, digest, plan)
    kind = kind_of_values(array)
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4):
        raise UnreadableExampleError(foreign_channels(array.shape[2], plan.channels))
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if kind is None and array.ndim > 2:
        array = array.astype(np.uint8) * np.uint8(255)
    elif kind is not None and array.ndim == 3 and array.shape[2] == 4:
        array = with_opacity(array, kind)
    if kind is None or array.dtype == np.uint8:
        return _from_picture(Image.fromarray(array), digest, plan)
    size, channels = (array.shape[1], array.shape[0]), 1 if array.ndim == 2 else 3
    found = Decoded(digest=digest, size=size, drawn=size, channels=channels, kind=kind)
    _deepen(found, array, plan)
    return found


def _from_channels(array: np.ndarray, digest: str, plan: Plan) -> Decoded:
    """Decode (H, W, C) of any numbers, whose channels are neither grey nor colours."""
    array = np.atleast_3d(array)
    if array.shape[2] != plan.channels:
        raise UnreadableExampleError(foreign_channels(array.shape[2], plan.channels))
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    values, size = ChannelValues.of(array), (array.shape[1], array.shape[0])
    found = Decoded(digest=digest, size=size, drawn=size, channels=plan.channels, by_channel=values)
    deep = channel_squares(array, values, plan.modes, plan.side)
    if plan.decoding is None:
        found.deep = deep
    else:
        ranges = plan.decoding.channel_ranges
        found.squares = padded({mode: shade_channels(each, values, ranges) for mode, each in deep.items()}, size)
    return found


def foreign_channels(count: int, expected: int) -> str:
    """Say that an image has another number of channels than is expected; 3 stands for grey and colours."""
    what = "grey or in colours" if expected in COLOURS else f"of {expected} channels"
    return f"it has {count} channel{'' if count == 1 else 's'}, where images are {what}"


def with_opacity(array: np.ndarray, kind: ValueKind) -> np.ndarray:
    """Return four channels in 8 bits: what is opaque says what their range is."""
    opaque = _OPAQUE[kind]
    if not (array.min() >= 0 and array.max() <= opaque):
        raise UnreadableExampleError(
            f"its fourth channel is opacity, so that values of this type are 0..{opaque}; "
            f"they are {array.min():.4g}..{array.max():.4g}"
        )
    return array if kind == "uint8" else np.rint(array * (255 / opaque)).astype(np.uint8)


def _from_picture(image: Image.Image, digest: str, plan: Plan) -> Decoded:
    if plan.channels not in COLOURS:
        return _from_channels(np.asarray(image), digest, plan)
    channels = 1 if image.mode in _GREY_MODES or image.mode.startswith("I") else 3
    kind = kind_of_values(image)
    found = Decoded(digest=digest, size=image.size, drawn=image.size, channels=channels, kind=kind)
    if kind not in (None, "uint8"):
        _deepen(found, np.asarray(image), plan)
        return found
    if image.has_transparency_data and _is_transparent(layers := image.convert("RGBA")):
        _lay(found, layers, plan)
        return found
    image = image.convert("RGB")
    if kind is not None and plan.decoding is not None and not plan.decoding.is_plain(kind):
        _deepen(found, np.asarray(image), plan)
        return found
    found.squares = _cut(image, plan)
    if kind is not None and plan.doubted and _is_within(image, found.squares, plan.doubted):
        _deepen(found, np.asarray(image), plan)
    return found


def _is_transparent(layers: Image.Image) -> bool:
    return bool(np.asarray(layers.getchannel("A")).min() < 255)


def _deepen(found: Decoded, values: np.ndarray, plan: Plan) -> None:
    """Add the squares of values whose range is not 0..255: for later, or as pixels where the range is known."""
    kind, decoding = found.kind, plan.decoding
    assert kind is not None  # truth values are black and white
    squares, found.values = deep_squares(values, plan.modes, plan.side)
    if decoding is None:
        found.deep = squares
        return
    allowed = decoding.range_of(kind)
    if not decoding.knows(kind) and outside(found.values, allowed):
        raise UnreadableExampleError(_foreign_values(kind, found.values, allowed))
    shaded = {mode: shade(deep, found.values, allowed) for mode, deep in squares.items()}
    found.squares = padded(shaded, found.drawn)


def _foreign_values(kind: ValueKind, values: Range, allowed: Range) -> str:
    return (
        f"its values are {values[0]:.5g}..{values[1]:.5g}, and no image of the type {kind} was in the training data, "
        f"for which {allowed[0]:.5g}..{allowed[1]:.5g} is taken: give values of the type and range that were trained"
    )


def _lay(found: Decoded, layers: Image.Image, plan: Plan) -> None:
    """Lay a transparent image on the background, or on two while that is undecided."""
    found.kind = None
    background = None if plan.decoding is None else plan.decoding.background
    if background in ("white", "black"):
        found.squares = _cut(laid_on(layers, background), plan)
        return
    found.squares, on_black = (_cut(laid_on(layers, level), plan) for level in ("white", "black"))
    if background is None:
        found.on_black, found.vanishing = on_black, vanishes_on(layers)
    else:
        found.squares = {mode: blend(found.squares[mode], on_black[mode], background) for mode in plan.modes}


def _cut(image: Image.Image, plan: Plan) -> Squares:
    return padded({mode: np.asarray(square(image, mode, plan.side)) for mode in plan.modes}, image.size)


def padded(squares: Squares, size: tuple[int, int]) -> Squares:
    """Return squares of an image of some width and height, with colour beside the letterboxed one."""
    return {mode: pad(found, size) if mode == "letterbox" else found for mode, found in squares.items()}


def _is_within(image: Image.Image, squares: Squares, highest: int) -> bool:
    """Whether no value of an image is above another; the squares decide for most images."""
    if any(found.max() > _OVERSHOOT * highest for found in squares.values()):
        return False
    return bool(np.asarray(image).max() <= highest)
