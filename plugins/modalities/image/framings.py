"""Framings: how much of an image that is not square a backbone sees.

Most backbones see a square at the centre. That suits photographs, whose subject is in the middle. It loses what stands
at the ends of a wide or tall image. Two framings show the whole: ``squash`` resizes both sides to the square,
``letterbox`` keeps the aspect and pads. Which is best is a question of the data, so they are searched:

* Where the crop leaves out little of the images, there is nothing to gain, and nothing else is tried.
* Where it leaves out some, as of common photographs, the centre is screened first, then the best backbones see the
  whole image, too.
* Where it leaves out more than a third, all backbones see the squashed image first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from autotransfer.contract.modality import Forms
from autotransfer.contract.specs import BackboneSpec
from autotransfer.warnings import FitWarning
from autotransfer_plugins.modalities.image.formats import (
    CropMode,
    ImageLoader,
    Preprocessing,
    in_form,
    reframed,
    size_of,
)

if TYPE_CHECKING:
    from autotransfer.contract.backbone import Backbone

__all__ = ["LeftOut", "cropped", "framed", "with_framings"]

# Share of the images' area, in the mean, that the crop has to leave out before other framings are tried.
_MIN_LEFT_OUT_SHARE = 0.15
# From this share on, in the mean or of a third of the images, the crop is the poorer guess; photographs of 3:2 lose
# less. The third is of the images.
_MUCH_LEFT_OUT_SHARE, _IMAGES_SHARE = 0.34, 1 / 3


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """What a square at the centre leaves out of some images.

    Attributes:
        shares: Share of the area of each image that lies outside of the square.
    """

    shares: Sequence[float]

    @property
    def mean(self) -> float:
        """The mean share; 0 without images."""
        return sum(self.shares) / len(self.shares) if self.shares else 0.0

    @property
    def is_some(self) -> bool:
        """Whether so much is left out that it may be missed."""
        return self.mean >= _MIN_LEFT_OUT_SHARE or self.is_much

    @property
    def is_much(self) -> bool:
        """Whether more than a third of the area is left out: in the mean, or of a third of the images."""
        count = sum(share > _MUCH_LEFT_OUT_SHARE for share in self.shares)
        return self.mean > _MUCH_LEFT_OUT_SHARE or (count > 0 and count >= _IMAGES_SHARE * len(self.shares))

    @property
    def aspect(self) -> float:
        """The median of longer side to shorter side."""
        return 1 / (1 - sorted(self.shares)[len(self.shares) // 2]) if self.shares else 1.0

    @classmethod
    def of(cls, sizes: Sequence[tuple[int, int]]) -> LeftOut:
        """Return what is left out of images of some widths and heights in pixels."""
        return cls(shares=[1 - min(size) / max(size) for size in sizes])


def cropped(left_out: LeftOut) -> FitWarning:
    """Return the warning on a model that sees the centre of images, where nothing else was tried."""
    message = (
        f"The crop at the centre leaves out {left_out.mean:.0%} of the images' area on average: the model sees "
        f"squares, and the images have an aspect ratio of {left_out.aspect:.1f} to 1 (median). Backbones that see the "
        "whole image were not tried: give more time, or name them, such as --backbones NAME@squash or NAME@letterbox."
    )
    details = {"share": round(left_out.mean, 3), "aspect": round(left_out.aspect, 2)}
    return FitWarning(code="cropped", message=message, details=details)


def framed(spec: BackboneSpec, mode: CropMode) -> BackboneSpec:
    """Return the same backbone with another framing, which shows all that it frames: ``NAME@squash``."""
    how = spec.preprocessing
    loader = replace(spec.load_at, crop_mode=mode) if isinstance(spec.load_at, ImageLoader) else None
    load = loader.build if loader else partial(_load, spec.load, mode)
    known = reframed(how, mode) if isinstance(how, Preprocessing) else None
    return in_form(spec, mode, load=load, load_at=loader, preprocessing=known)


def with_framings(forms: Sequence[BackboneSpec], left_out: LeftOut) -> Forms:
    """Return forms of a backbone that follow one another, with other framings of each.

    Args:
        forms: The backbone at one or two resolutions, the one to try first in front.
        left_out: What the crop at the centre leaves out of the images.
    """
    how, size = forms[0].preprocessing, size_of(forms[0])
    own = how.crop_mode if isinstance(how, Preprocessing) else "center"
    if not left_out.is_some or size is None or len(set(size)) > 1:
        return tuple(forms)
    if own != "center":
        return (forms[0], tuple(forms[1:]), _branched(forms, "letterbox")) if left_out.is_much else tuple(forms)
    squashed, boxed = _branched(forms, "squash"), _branched(forms, "letterbox")
    if left_out.is_much:
        return (*squashed, boxed, (forms[0], tuple(forms[1:])))
    return (forms[0], tuple(forms[1:]), (*squashed, *boxed))


def _branched(forms: Sequence[BackboneSpec], mode: CropMode) -> Forms:
    """Return forms with another framing: the others branch off the first."""
    first, *rest = [framed(form, mode) for form in forms]
    return (first, tuple(rest))


def _load(load: Callable[[], Backbone], mode: CropMode) -> Backbone:
    backbone = load()
    backbone.preprocessing = reframed(backbone.preprocessing, mode)
    return backbone
