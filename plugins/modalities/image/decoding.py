"""What is decided once, over all training images, of how images are read; the model keeps it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from autotransfer.errors import ModelFormatError
from autotransfer_plugins.modalities.image.formats import COLOURS, MAX_CHANNELS
from autotransfer_plugins.modalities.image.value_range import KINDS, STANDARD, Range, ValueKind, range_for

__all__ = ["BACKGROUNDS", "Background", "Decoding"]

Background = Literal["white", "black", "grey"]
BACKGROUNDS: tuple[Background, ...] = get_args(Background)


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How images become pixels: the same for one image as for many.

    Attributes:
        ranges: Which values are black and white, by the kinds of values that the training images hold.
        background: What transparent images are laid on.
        channels: 1 where all training images are grey, 3 where nearly all have colours, None for both or unknown; else
            the number of their channels. An array of three axes is read by it.
        channel_ranges: Which values are black and white in each channel, where these are not grey or colours.
    """

    ranges: Mapping[ValueKind, Range] = field(default_factory=dict)
    background: Background = "white"
    channels: int | None = None
    channel_ranges: tuple[Range, ...] = ()

    def range_of(self, kind: ValueKind) -> Range:
        """Return which values are black and white."""
        return range_for(kind, self.ranges) or STANDARD[kind]

    def knows(self, kind: ValueKind) -> bool:
        """Whether the training images tell which values are black and white."""
        return range_for(kind, self.ranges) is not None

    def is_plain(self, kind: ValueKind) -> bool:
        """Whether values of a kind are pixels as they are."""
        return kind == "uint8" and self.range_of(kind) == STANDARD[kind]

    @property
    def value_range(self) -> Range:
        """Black and white of the training images' values; of the kind with the most bits, where there are several."""
        return self.ranges[max(self.ranges, key=KINDS.index)] if self.ranges else STANDARD["uint8"]

    @property
    def key(self) -> str:
        """What tells apart pixels that were decoded from equal files; empty for 8-bit values on white."""
        if self.channel_ranges:
            return json.dumps(self.channel_ranges)
        unusual = {kind: known for kind, known in self.ranges.items() if not self.is_plain(kind)}
        return json.dumps([unusual, self.background], sort_keys=True) if unusual or self.background != "white" else ""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        ranges = {kind: list(known) for kind, known in self.ranges.items()}
        about = {"value_ranges": ranges, "background": self.background, "channels": self.channels}
        return about | (
            {"channel_ranges": [list(known) for known in self.channel_ranges]} if self.channel_ranges else {}
        )

    @classmethod
    def from_json(cls, about: Any) -> Decoding:
        """Read what ``to_json`` wrote.

        Raises:
            ModelFormatError: It is damaged.
        """
        ranges = about.get("value_ranges") if isinstance(about, dict) else None
        if not isinstance(ranges, dict) or not all(k in KINDS and _is_range(r) for k, r in ranges.items()):
            raise ModelFormatError(f"The value ranges of a model are pairs of numbers by {KINDS}; got {ranges!r:.60}.")
        if (background := about.get("background")) not in BACKGROUNDS:
            raise ModelFormatError(f"The background of a model is one of {BACKGROUNDS}; got {background!r:.60}.")
        channels, of_each = about.get("channels"), about.get("channel_ranges", [])
        if channels is not None and (type(channels) is not int or not 0 < channels <= MAX_CHANNELS):
            raise ModelFormatError(
                f"The channels of a model's images are 1 to {MAX_CHANNELS} or null; got {channels!r:.60}."
            )
        expected = 0 if channels in (None, *COLOURS) else channels
        if not isinstance(of_each, list) or len(of_each) != expected or not all(map(_is_range, of_each)):
            raise ModelFormatError(f"There are {expected} ranges of channels, pairs of numbers; got {of_each!r:.60}.")
        known: dict[ValueKind, Range] = {kind: (float(low), float(high)) for kind, (low, high) in ranges.items()}
        by_channel = tuple((float(low), float(high)) for low, high in of_each)
        return cls(ranges=known, background=background, channels=channels, channel_ranges=by_channel)


def _is_range(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 2 or not all(type(number) in (int, float) for number in value):
        return False
    try:
        low, high = map(float, value)
    except OverflowError:  # a whole number beyond all floats
        return False
    return low < high and math.isfinite(high - low)
