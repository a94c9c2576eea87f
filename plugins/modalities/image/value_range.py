"""Which stored values are black and white: decided once over the training data, by the rule below.

Images of 8 bits, whole numbers and fractions can be of any range, and one image says little of it: a dark picture holds
small numbers only. So the range follows from the least and the greatest value over **all** training images:

* 8-bit values are 0..255. Where no image exceeds 16 they are 0 to the next power of two, or the number before it:
  0..16 for digits of 0 to 16, 0..1 for masks.
* Whole numbers of more bits follow the same rule up to 16, are 0..255 up to 255, and above that 0 to the next power of
  two or the number before it: 0..4095 where 3,900 is the greatest.
* Fractions are 0..1 up to 1 (0 to their greatest value where none exceeds 1/16), 0 to their greatest value up to 16,
  0..255 up to 255, and 0 to their greatest value above.
* Values below 0 set black to the least value. So do whole numbers and fractions above 255 that all lie in the upper
  half of their range.
* 8-bit values of few levels, whole numbers and fractions above 1 that come together share one range: equal numbers are
  equal shades.

A kind of values that training did not see takes the range of those that it saw, if equal numbers can be equal shades
there; otherwise 0..255, 0..65535 for 16 bits and 0..1 for fractions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
from PIL import Image

__all__ = [
    "KINDS",
    "STANDARD",
    "Range",
    "ValueKind",
    "decide_ranges",
    "kind_of_values",
    "next_power_of_two",
    "outside",
    "range_for",
]

Range = tuple[float, float]
ValueKind = Literal["uint8", "uint16", "integer", "float"]
KINDS: tuple[ValueKind, ...] = get_args(ValueKind)
STANDARD: Mapping[ValueKind, Range] = {
    "uint8": (0.0, 255.0),
    "uint16": (0.0, 65535.0),
    "integer": (0.0, 255.0),
    "float": (0.0, 1.0),
}
"""The ranges where training saw nothing that says otherwise."""

# 8-bit values that never exceed this are counts of few levels, such as masks of 0 and 1 and digits of 0 to 16.
_FEW_LEVELS = 16
# A value is outside when it is farther away than this share of the range; what is nearer is clipped without a word.
_TOLERANCE = 0.05


def kind_of_values(image: np.ndarray | Image.Image) -> ValueKind | None:
    """Return the kind of an image's values; None for truth values, which are black and white."""
    if isinstance(image, Image.Image):
        if image.mode == "F":
            return "float"
        if image.mode.startswith("I"):
            return "integer" if image.mode == "I" else "uint16"
        return None if image.mode == "1" else "uint8"
    if image.dtype.kind == "b":
        return None
    if image.dtype.kind == "f":
        return "float"
    if image.dtype.kind == "u" and image.dtype.itemsize <= 2:
        return "uint8" if image.dtype.itemsize == 1 else "uint16"
    return "integer"


def decide_ranges(seen: Mapping[ValueKind, Range], given: Range | None = None) -> dict[ValueKind, Range]:
    """Return the range of each kind of values that the training images hold.

    Args:
        seen: The least and the greatest value of each kind.
        given: A range to take instead. 8-bit values keep 0..255 where it cannot be meant for them: where it leaves
            0..255, or is 0..1 and other kinds are there, too.
    """
    decided: dict[ValueKind, Range] = {}
    joint = {kind: seen[kind] for kind in KINDS if kind in seen and not _is_apart(kind, seen[kind])}
    together = (
        min((low for low, _ in joint.values()), default=0.0),
        max((high for _, high in joint.values()), default=0.0),
    )
    whole = any(kind != "float" for kind in joint)
    for kind, (low, high) in seen.items():
        if given is not None and (kind != "uint8" or _is_for_bytes(given, alone=len(seen) == 1)):
            decided[kind] = given
        elif kind in joint:
            decided[kind] = _joint_range(*together, whole=whole)
        elif kind == "uint8":
            decided[kind] = STANDARD["uint8"]
        else:
            decided[kind] = (min(low, 0.0), 1.0 if high > 1 / _FEW_LEVELS or high <= 0 else high)
    return decided


def range_for(kind: ValueKind, known: Mapping[ValueKind, Range]) -> Range | None:
    """Return the range of a kind of values, given those that training saw; None where these do not tell."""
    if kind in known:
        return known[kind]
    same = next(
        (known[other] for other in reversed(KINDS) if other in known and not _is_apart(other, known[other])), None
    )
    if same is None or (kind == "uint8" and not 0 <= same[0] < same[1] <= 255):
        return None
    return same


def outside(values: Range, allowed: Range) -> bool:
    """Whether the least and the greatest value of an image leave a range by more than a twentieth of its width."""
    slack = _TOLERANCE * (allowed[1] - allowed[0])
    return values[0] < allowed[0] - slack or values[1] > allowed[1] + slack


def _is_for_bytes(given: Range, *, alone: bool) -> bool:
    return given[0] >= 0 and given[1] <= 255 and (alone or given[1] > 1)


def _is_apart(kind: ValueKind, values: Range) -> bool:
    """Whether equal numbers of other kinds are other shades: those of 8-bit pictures, and of fractions of 1."""
    return (kind == "uint8" and values[1] > _FEW_LEVELS) or (kind == "float" and values[1] <= 1)


def _joint_range(low: float, high: float, *, whole: bool) -> Range:
    """Return the range of numbers that are equal shades where they are equal numbers."""
    if low < 0:
        return low, max(high, low + 1)
    if high > 255:
        white = next_power_of_two(high) if whole else high
        return (low, high) if high / 2 < low < high else (0.0, white)
    if 0 < high <= _FEW_LEVELS:
        return 0.0, next_power_of_two(high) if whole else high
    return 0.0, 255.0


def next_power_of_two(high: float) -> float:
    """Return the least power of two that is not below, or the number before it if that is not below either."""
    power = 2.0 ** math.ceil(math.log2(max(high, 1)))
    return power - 1 if high <= power - 1 else power
