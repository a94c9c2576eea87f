"""How the numbers of a column of texts are written."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

__all__ = ["NumberFormat"]

# A space, a no-break space, a narrow one and an apostrophe group digits beside the mark that is no decimal one.
_GROUPING = " \u00a0\u202f'\u2019"


@dataclass(frozen=True, kw_only=True)
class NumberFormat:
    """How the numbers of a column are written.

    Attributes:
        decimal: The decimal mark, a point or a comma.
        grouped: Whether marks group the digits by three.
        percent: Whether each ends in a percent sign; the number before it is taken.
    """

    decimal: str = "."
    grouped: bool = False
    percent: bool = False

    @property
    def unusual(self) -> bool:
        """Whether other forms than Python's are among them."""
        return self.decimal != "." or self.grouped or self.percent

    @classmethod
    def of(cls, texts: Sequence[str], *, comma: bool = False) -> NumberFormat | None:
        """Find the form that all texts have; None where there is none.

        Args:
            texts: The texts.
            comma: Whether a comma is rather a decimal mark, where ``62,125`` could be one number or the other.
        """
        percent = all(text.rstrip().endswith("%") for text in texts)
        bare = [text.rstrip().removesuffix("%").rstrip() for text in texts] if percent else texts
        for decimal in ",." if comma and any("," in text for text in bare) else ".,":
            form = cls(decimal=decimal, percent=percent)
            if texts and all((number := form.number(text)) is not None and math.isfinite(number) for text in texts):
                return replace(form, grouped=any(_grouping(decimal).search(text) for text in bare))
        return None

    def number(self, text: str) -> float | None:
        """Read a number; None where the text has another form."""
        bare = text.rstrip().removesuffix("%").rstrip() if self.percent else text
        if not _pattern(self.decimal).fullmatch(bare):
            return None
        return float(_grouping(self.decimal).sub("", bare).replace(",", ".").replace("\u2212", "-"))


def _pattern(decimal: str) -> re.Pattern[str]:
    """Return what a number with this decimal mark looks like; leading zeros are a mark of labels."""
    group = re.escape(("," if decimal == "." else ".") + _GROUPING)
    mark = re.escape(decimal)
    whole = rf"(?:[1-9]\d{{0,2}}(?:[{group}]\d{{3}})+|0|[1-9]\d*)"
    return re.compile(rf"[+\-\u2212]?(?:{whole}(?:{mark}\d*)?|{mark}\d+)(?:[eE][+-]?\d+)?")


def _grouping(decimal: str) -> re.Pattern[str]:
    return re.compile(f"[{re.escape((',' if decimal == '.' else '.') + _GROUPING)}]")
