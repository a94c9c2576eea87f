"""Text from outside, made harmless."""

from __future__ import annotations

__all__ = ["cell", "escape", "one_line"]

# What a spreadsheet begins to calculate at, in some languages in full width, too (OWASP, "CSV Injection").
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def escape(text: object) -> str:
    r"""Return text with control characters written as ``\xNN``: names from data must not steer the terminal."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(text))


def one_line(text: object) -> str:
    """Return text with every run of white space, line breaks included, as one space."""
    return " ".join(str(text).split())


def cell(value: object) -> object:
    """Return a cell of a CSV file: text that a spreadsheet would run as a formula gets an apostrophe before it.

    Numbers stay as they are, also those that are text.
    """
    if not isinstance(value, str) or not value.startswith(_FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
