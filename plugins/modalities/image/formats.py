"""How backbones want their images, and at which other sizes they take them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import BackboneError, ModelFormatError

if TYPE_CHECKING:
    from torch import Tensor

    from autotransfer.contract.backbone import Backbone

__all__ = [
    "COLOURS",
    "GRID",
    "MAX_CHANNELS",
    "WHOLE_IMAGE_MODES",
    "CropMode",
    "ImageLoader",
    "Preprocessing",
    "at_channels",
    "at_side",
    "channels_of",
    "cycled",
    "in_form",
    "read_side",
    "reframed",
    "size_of",
]

CropMode = Literal["center", "squash", "letterbox"]
WHOLE_IMAGE_MODES: tuple[CropMode, ...] = ("squash", "letterbox")
"""Framings that show the whole image."""

# Channels of grey images, and of those with colours: both become red, green and blue.
COLOURS = (1, 3)
# Arrays may have their channels first or last: a side is mostly longer than this.
MAX_CHANNELS = 32
# Sides of other sizes are multiples of what networks mostly reduce an image by.
GRID = 32
_LARGEST_SIDE = 8192


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a backbone wants its images; always taken from the model's own configuration.

    Attributes:
        size: Height and width of the input in pixels.
        mean: Mean of each channel, for values in 0..1.
        std: Standard deviation of each channel, for values in 0..1.
        interpolation: ``"bicubic"``, ``"bilinear"`` or ``"nearest"``.
        crop_fraction: Share of the resized image's side that the centre crop keeps.
        crop_mode: ``"center"`` resizes the shorter side, ``"squash"`` both sides without regard to aspect,
            ``"letterbox"`` the longer side, and pads the shorter one.
    """

    size: tuple[int, int]
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: Literal["bicubic", "bilinear", "nearest"] = "bicubic"
    crop_fraction: float = 0.875
    crop_mode: CropMode = "center"

    @property
    def channels(self) -> int:
        """Number of channels of the input."""
        return len(self.mean)

    @property
    def resized(self) -> int:
        """Side in pixels of the square that the centre crop is taken from; rounded down, as timm does."""
        return max(math.floor(max(self.size) / self.crop_fraction), *self.size)

    def probe(self, count: int, seed: int = 0) -> Tensor:
        """Return float32 noise (count, channels, height, width)."""
        import torch

        return torch.randn(count, self.channels, *self.size, generator=torch.Generator().manual_seed(seed))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON; ``from_json`` reads it."""
        return asdict(self)

    @classmethod
    def from_json(cls, saved: Any) -> Preprocessing:
        """Read what ``to_json`` returned.

        Raises:
            ModelFormatError: A value is none that it can have.
        """
        if not isinstance(saved, Mapping):
            raise ModelFormatError(f"The preprocessing of a model is an object; got a {type(saved).__name__}.")
        given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()}
        try:
            how = cls(**given)
        except TypeError as error:
            raise ModelFormatError(f"The preprocessing has other settings than it should: {error}") from error
        numbers = (*how.mean, *how.std, how.crop_fraction)
        if not (
            len(how.size) == 2
            and all(read_side(side) for side in how.size)
            and 0 < len(how.mean) == len(how.std) <= MAX_CHANNELS
            and all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers)
            and how.crop_fraction > 0
            and min(how.std) > 0
            and how.interpolation in ("bicubic", "bilinear", "nearest")
            and how.crop_mode in get_args(CropMode)
        ):
            raise ModelFormatError(f"The preprocessing has values out of their range: {given}.")
        read_side(how.resized)
        return how


@dataclass(frozen=True, kw_only=True)
class ImageLoader:
    """The ``BackboneSpec.load_at`` of backbones for images of other channels, too: ``load_at(side)``.

    Attributes:
        load: ``load(side=..., channels=...)`` builds the backbone; None stands for its own.
        resizable: Whether the backbone takes images of another side.
        side: Side of the images in pixels; None for the backbone's own.
        channels: Number of channels of the images; None for the backbone's own.
        crop_mode: How images are framed; None for the backbone's own way.
    """

    load: Callable[..., Backbone]
    resizable: bool
    side: int | None = None
    channels: int | None = None
    crop_mode: CropMode | None = None

    def __call__(self, side: int) -> Backbone:
        """Build the backbone for square images of a side in pixels."""
        return replace(self, side=side).build()

    def build(self) -> Backbone:
        """Build the backbone in the form that was asked for."""
        backbone = self.load(side=self.side, channels=self.channels)
        if self.crop_mode is not None:
            backbone.preprocessing = reframed(backbone.preprocessing, self.crop_mode)
        return backbone


def reframed(how: Any, mode: CropMode) -> Preprocessing:
    """Return a preprocessing with another framing, and without the crop that most backbones take off the edges.

    Raises:
        BackboneError: It is none of images.
    """
    if not isinstance(how, Preprocessing):
        raise BackboneError(f"Only backbones for images have a framing; got one that wants a {type(how).__name__}.")
    return replace(how, crop_mode=mode, crop_fraction=1.0)


def cycled(values: Sequence[float], count: int) -> tuple[float, ...]:
    """Return so many values, in turns."""
    return tuple(values[i % len(values)] for i in range(count))


def read_side(value: Any) -> int:
    """Return the side of an image in pixels.

    Raises:
        ModelFormatError: It is none, or so large that images of that size would not fit into memory.
    """
    if type(value) is not int or not 0 < value <= _LARGEST_SIDE:
        raise ModelFormatError(f"The side of an image is from 1 to {_LARGEST_SIDE} pixels; got {value!r:.60}.")
    return value


def size_of(spec: BackboneSpec) -> tuple[int, ...] | None:
    """Return height and width of a backbone's images in pixels, where that is known without loading it."""
    how = spec.preprocessing
    return how.size if isinstance(how, Preprocessing) else spec.input_size


def channels_of(spec: BackboneSpec) -> int:
    """Return the number of channels of a backbone's images; 3 where that is not known without loading it."""
    return spec.preprocessing.channels if isinstance(spec.preprocessing, Preprocessing) else 3


def at_channels(spec: BackboneSpec, channels: int) -> BackboneSpec:
    """Return the same backbone for images of another number of channels, for which its first layer is adapted.

    A backbone whose plugin does not adapt it raises when it is loaded.
    """
    how, known = spec.preprocessing, None
    if isinstance(how, Preprocessing):
        known = replace(how, mean=cycled(how.mean, channels), std=cycled(how.std, channels))
    loader = replace(spec.load_at, channels=channels) if isinstance(spec.load_at, ImageLoader) else None
    load = loader.build if loader else partial(_refuse_channels, spec.name, channels)
    return in_form(spec, f"{channels}channels", load=load, load_at=loader, preprocessing=known)


def in_form(spec: BackboneSpec, form: str, **about: Any) -> BackboneSpec:
    """Return a backbone in another form, ``NAME@FORM``: what is published is for its own, and is not said of it.

    Args:
        spec: The backbone.
        form: The form.
        about: Fields of the spec that the form changes.
    """
    return replace(spec, name=f"{spec.name}@{form}", default=False, fallback=False, accuracy=None, **about)


def _refuse_channels(name: str, channels: int) -> Backbone:
    raise BackboneError(
        f"The backbone {name!r} does not take images of {channels} channels: its plugin does not adapt its first "
        "layer. Backbones of timm's are adapted."
    )


def at_side(spec: BackboneSpec, side: int) -> BackboneSpec | None:
    """Return the same backbone for square images of another side in pixels; None where it does not take that."""
    is_fixed = spec.load_at is None or (isinstance(spec.load_at, ImageLoader) and not spec.load_at.resizable)
    if spec.load_at is None or is_fixed or side < GRID or side % GRID:
        return None
    own, how = size_of(spec), spec.preprocessing
    loader = replace(spec.load_at, side=side, resizable=False) if isinstance(spec.load_at, ImageLoader) else None
    return in_form(
        spec,
        f"{side}px",
        load=partial(spec.load_at, side),
        gmacs=None if spec.gmacs is None or own is None else spec.gmacs * side**2 / math.prod(own),
        input_size=(side, side),
        preprocessing=replace(how, size=(side, side)) if isinstance(how, Preprocessing) else None,
        load_at=loader,
    )
