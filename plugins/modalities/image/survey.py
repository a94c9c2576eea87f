"""What is seen of all images while they are decoded: what decisions follow from it, and what a user should know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from autotransfer.warnings import FitWarning
from autotransfer_plugins.modalities.image.background import choose_background
from autotransfer_plugins.modalities.image.channels import ChannelValues, decide_channel_ranges
from autotransfer_plugins.modalities.image.decoding import Background, Decoding
from autotransfer_plugins.modalities.image.single import Decoded
from autotransfer_plugins.modalities.image.value_range import STANDARD, Range, ValueKind, decide_ranges, outside

__all__ = ["Survey", "remark_on", "show_range"]

_MAX_NAMES_IN_MESSAGE = 3
# Fewer grey levels than this for nearly all values are a loss.
_FEW_LEVELS = 32
# So is an image within less than this share of the range, or of a range that the training images do not tell.
_THIN, _DIM = 0.01, 0.125
_LOOKED_AT = 64
# A few grey ones among photographs leave it a set of colours.
_NEARLY_ALL = 0.9


@dataclass
class Survey:
    """Facts of the images that were decoded, by their position.

    Attributes:
        given: The value range that the user asks for.
        seen: The least and the greatest value of each kind.
        positions: The images of each kind whose range is in question.
    """

    given: Range | None = None
    seen: dict[ValueKind, Range] = field(default_factory=dict)
    positions: dict[ValueKind, list[int]] = field(default_factory=dict)
    by_channel: list[ChannelValues] = field(default_factory=list)
    values: dict[int, Range] = field(default_factory=dict)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    colours: int = 0
    vanishing: list[frozenset[Background]] = field(default_factory=list)
    several: list[int] = field(default_factory=list)
    narrowed: list[int] = field(default_factory=list)

    def add(self, position: int, found: Decoded) -> None:
        """Take note of an image."""
        self.sizes.append(found.size)
        self.colours += found.channels == 3
        if found.vanishing is not None:
            self.vanishing.append(found.vanishing)
        if found.several:
            self.several.append(position)
        if found.narrowed:
            self.narrowed.append(position)
        if found.by_channel is not None:
            self.by_channel.append(found.by_channel)
        if found.kind is None:
            return
        low, high = found.values or STANDARD[found.kind]
        known = self.seen.get(found.kind, (low, high))
        self.seen[found.kind] = (min(low, known[0]), max(high, known[1]))
        self.positions.setdefault(found.kind, []).append(position)
        if found.values is not None:
            self.values[position] = found.values

    @property
    def doubted(self) -> int:
        """The greatest 8-bit value up to which an image may be of another range than 0..255."""
        if self.given is not None:
            return 255 if self.given[1] <= 255 and self.given != STANDARD["uint8"] else 0
        return 16 if self.seen.get("uint8", (0, 0))[1] <= 16 else 0

    def decide(self) -> Decoding:
        """Decide how values become pixels."""
        if self.by_channel:
            ranges = decide_channel_ranges(self.by_channel, self.given)
            return Decoding(channels=len(ranges), channel_ranges=ranges)
        return Decoding(
            ranges=decide_ranges(self.seen, self.given),
            background=choose_background(self.vanishing),
            channels=1 if not self.colours else 3 if self.colours >= _NEARLY_ALL * len(self.sizes) else None,
        )

    def warnings(
        self, decoding: Decoding, pixels: np.ndarray, constant: Sequence[int], names: Sequence[str]
    ) -> tuple[FitWarning, ...]:
        """Return what a user should know.

        Args:
            decoding: What was decided.
            pixels: uint8 (N, side, side, 3).
            constant: Positions of images of a single value.
            names: What to call each image.
        """
        found = [
            *self._range_warnings(decoding, pixels, names),
            *self._constant(decoding, constant, names),
            *self._transparent(decoding),
        ]
        if self.several:
            message = f"Of {_count(self.several)} with several frames the first is used: {_some(self.several, names)}."
            found.append(FitWarning(code="multiple_frames", message=message, details={"count": len(self.several)}))
        return tuple(found)

    def _range_warnings(self, decoding: Decoding, pixels: np.ndarray, names: Sequence[str]) -> Iterator[FitWarning]:
        deep = [kind for kind in self.seen if not decoding.is_plain(kind)]
        if self.given is not None:
            yield from self._beside(self.given, deep, names)
        elif "float" in deep and self.seen["float"][0] < 0:
            allowed = decoding.range_of("float")
            message = (
                f"Values go down to {self.seen['float'][0]:.4g}: black and white are {show_range(allowed)}. Images "
                "that were normalised are better given as they were before."
            )
            yield _range(message, allowed, self.positions["float"])
        counted = [kind for kind in deep if kind != "float" or self.seen[kind][1] > 1]
        if "uint8" in self.seen and "uint8" not in deep and counted:
            allowed, positions = decoding.range_of(counted[0]), self.positions[counted[0]]
            message = (
                f"Beside {_count(self.positions['uint8'])} of 8 bits (0..255) there are {len(positions)} whose black "
                f"and white are {show_range(allowed)}: these are two scales, even where numbers are equal."
            )
            yield _range(message, allowed, positions)
        yield from self._levels(decoding, deep, pixels)
        if self.narrowed:
            message = (
                f"Of {_count(self.narrowed)} of 16 bits in several channels Pillow reads the upper 8 bits: "
                f"{_some(self.narrowed, names)}. Give arrays to keep all."
            )
            yield _range(message, STANDARD["uint8"], self.narrowed)

    def _beside(self, given: Range, deep: Sequence[ValueKind], names: Sequence[str]) -> Iterator[FitWarning]:
        """Yield what the range that was asked for does not suit."""
        beyond = [i for kind in deep for i in self.positions[kind] if outside(self.values[i], given)]
        if beyond:
            message = (
                f"Values outside of {show_range(given)}, the range that was asked for, are clipped in "
                f"{_count(beyond)}: {_some(beyond, names)}."
            )
            yield _range(message, given, beyond)
        if "uint8" in self.seen and "uint8" not in deep and given != STANDARD["uint8"]:
            message = f"8-bit images keep 0..255: {show_range(given)}, which was asked for, cannot be meant for them."
            yield _range(message, given, self.positions["uint8"])

    def _levels(self, decoding: Decoding, deep: Sequence[ValueKind], pixels: np.ndarray) -> Iterator[FitWarning]:
        for kind in deep:
            allowed, positions = decoding.range_of(kind), self.positions[kind]
            some = positions[:: max(1, len(positions) // _LOOKED_AT)]
            low, high = _used_levels(pixels[some])
            if high - low + 1 >= _FEW_LEVELS or high == low:
                continue
            step = (allowed[1] - allowed[0]) / 255
            first, last = max(allowed[0], allowed[0] + (low - 1) * step), allowed[0] + (high + 1) * step
            message = (
                f"Nearly all values share {high - low + 1} of 256 grey levels, since black and white are "
                f"{show_range(allowed)}: value_range=({first:.3g}, {last:.3g}), or --value-range "
                f"{first:.3g},{last:.3g}, gives them all levels."
            )
            yield _range(message, allowed, positions)

    def _constant(self, decoding: Decoding, constant: Sequence[int], names: Sequence[str]) -> Iterator[FitWarning]:
        if constant:
            message = f"One single value, which teaches nothing, fills {_count(constant)}: {_some(constant, names)}."
            yield FitWarning(code="constant_images", message=message, details={"count": len(constant)})

    def _transparent(self, decoding: Decoding) -> Iterator[FitWarning]:
        vanish = sum("white" in each for each in self.vanishing)
        if decoding.background != "white":
            details = {"background": decoding.background, "count": len(self.vanishing), "vanish_on_white": vanish}
            message = (
                f"The opaque pixels of {vanish} of {len(self.vanishing)} transparent images would vanish on white: all "
                f"transparent images are laid on {decoding.background}, in prediction, too."
            )
            yield FitWarning(code="transparent_images", message=message, details=details)


def remark_on(found: Decoded, decoding: Decoding) -> str | None:
    """Say what is lost of an image whose values do not suit the range that was decided before; None for nothing."""
    if found.kind is None:
        return None
    allowed, was_trained = decoding.range_of(found.kind), decoding.knows(found.kind)
    low, high = values = found.values or STANDARD[found.kind]
    if not was_trained and found.kind == "uint8" and decoding.value_range[1] > 255:
        return (
            f"it has 8 bits, of which 0..255 are taken for black and white; of the training images, "
            f"{show_range(decoding.value_range)} were"
        )
    of = "of the training images" if was_trained else f"that is taken for {found.kind}, which no training image was"
    if outside(values, allowed):
        return f"its values, {show_range(values)}, are clipped to {show_range(allowed)}, the range {of}"
    if 0 < high - low < (_THIN if was_trained else _DIM) * (allowed[1] - allowed[0]):
        return f"its values, {show_range(values)}, show little in {show_range(allowed)}, the range {of}"
    return None


def show_range(values: Range) -> str:
    """Return a range as text."""
    return f"{values[0]:.5g}..{values[1]:.5g}"


def _used_levels(pixels: np.ndarray) -> tuple[int, int]:
    """Return the levels between which nearly all pixels are; the most frequent one, the background, counts once."""
    counts = np.bincount(pixels.ravel(), minlength=256)
    most = int(counts.argmax())
    counts[most] = 0
    if not counts.any():
        return most, most
    shares = counts.cumsum() / counts.sum()
    return min(most, int(np.searchsorted(shares, 0.01))), max(most, int(np.searchsorted(shares, 0.99)))


def _range(message: str, allowed: Range, positions: Sequence[int]) -> FitWarning:
    return FitWarning(code="value_range", message=message, details={"range": list(allowed), "count": len(positions)})


def _count(positions: Sequence[int]) -> str:
    return "1 image" if len(positions) == 1 else f"{len(positions)} images"


def _some(positions: Sequence[int], names: Sequence[str]) -> str:
    return ", ".join(names[i] for i in positions[:_MAX_NAMES_IN_MESSAGE]) + (
        ", …" if len(positions) > _MAX_NAMES_IN_MESSAGE else ""
    )
