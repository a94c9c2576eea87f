"""The format of numbers in a column of texts."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

__all__ = ["NumberFormat"]

# Characters that group digits: spaces and apostrophes, beside the comma or the point that is not the decimal mark.
_GROUP_MARKS = " \u00a0\u202f'\u2019"


@dataclass(frozen=True, kw_only=True)
class NumberFormat:
    """Format of the numbers of a column.

    Attributes:
        decimal: The decimal mark, a point or a comma.
        grouped: Whether marks group the digits by three.
        percent: Whether each number ends in a percent sign; the value is the number before the sign.
    """

    decimal: str = "."
    grouped: bool = False
    percent: bool = False

    @property
    def unusual(self) -> bool:
        """Whether Python would not read the numbers as they are written."""
        return self.decimal != "." or self.grouped or self.percent

    @classmethod
    def of(cls, texts: Sequence[str], *, comma: bool = False) -> NumberFormat | None:
        """Return the format that all texts have; None without one.

        Args:
            texts: The texts.
            comma: Whether a comma is read as the decimal mark in ``62,125``, which could also be 62125.
        """
        percent = all(text.rstrip().endswith("%") for text in texts)
        stripped = [text.rstrip().removesuffix("%").rstrip() for text in texts] if percent else texts
        for decimal in ",." if comma and any("," in text for text in stripped) else ".,":
            found = cls(decimal=decimal, percent=percent)
            if texts and all((number := found.number(text)) is not None and math.isfinite(number) for text in texts):
                return replace(found, grouped=any(_grouping(decimal).search(text) for text in stripped))
        return None

    def number(self, text: str) -> float | None:
        """Read a number; None where the text has another format."""
        stripped = text.rstrip().removesuffix("%").rstrip() if self.percent else text
        if not _pattern(self.decimal).fullmatch(stripped):
            return None
        return float(_grouping(self.decimal).sub("", stripped).replace(",", ".").replace("\u2212", "-"))


def _pattern(decimal: str) -> re.Pattern[str]:
    """Return the pattern of numbers with a decimal mark; numbers with leading zeros are labels and do not match."""
    group = re.escape(("," if decimal == "." else ".") + _GROUP_MARKS)
    mark = re.escape(decimal)
    whole = rf"(?:[1-9]\d{{0,2}}(?:[{group}]\d{{3}})+|0|[1-9]\d*)"
    return re.compile(rf"[+\-\u2212]?(?:{whole}(?:{mark}\d*)?|{mark}\d+)(?:[eE][+-]?\d+)?")


def _grouping(decimal: str) -> re.Pattern[str]:
    return re.compile(f"[{re.escape((',' if decimal == '.' else '.') + _GROUP_MARKS)}]")
