"""How backbones want their images, and at which other sizes they take them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import ModelFormatError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["GRID", "WHOLE_IMAGE_MODES", "CropMode", "Preprocessing", "at_side", "read_side", "size_of"]

CropMode = Literal["center", "squash", "letterbox"]
WHOLE_IMAGE_MODES: tuple[CropMode, ...] = ("squash", "letterbox")
"""Framings that show the whole image."""

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
    def resized(self) -> int:
        """Side in pixels of the square that the centre crop is taken from; rounded down, as timm does."""
        return max(math.floor(max(self.size) / self.crop_fraction), *self.size)

    def probe(self, count: int, seed: int = 0) -> Tensor:
        """Return float32 noise (count, 3, height, width)."""
        import torch

        return torch.randn(count, 3, *self.size, generator=torch.Generator().manual_seed(seed))

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
            and len(how.mean) == len(how.std) == 3
            and all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers)
            and how.crop_fraction > 0
            and min(how.std) > 0
            and how.interpolation in ("bicubic", "bilinear", "nearest")
            and how.crop_mode in get_args(CropMode)
        ):
            raise ModelFormatError(f"The preprocessing has values out of their range: {given}.")
        read_side(how.resized)
        return how


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


def at_side(spec: BackboneSpec, side: int) -> BackboneSpec | None:
    """Return the same backbone for square images of another side in pixels; None where it does not take that."""
    if spec.load_at is None or side < GRID or side % GRID:
        return None
    own, how = size_of(spec), spec.preprocessing
    return replace(
        spec,
        name=f"{spec.name}@{side}px",
        load=partial(spec.load_at, side),
        default=False,
        fallback=False,
        gmacs=None if spec.gmacs is None or own is None else spec.gmacs * side**2 / math.prod(own),
        input_size=(side, side),
        accuracy=None,  # what is published is for its own size
        preprocessing=replace(how, size=(side, side)) if isinstance(how, Preprocessing) else None,
        load_at=None,
    )
