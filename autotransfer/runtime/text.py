"""Safe output of text from data: on a terminal, in one line, in a cell of a CSV file."""

from __future__ import annotations

__all__ = ["cell", "escape", "one_line"]

# First characters of spreadsheet formulas, in half and full width (OWASP, "CSV Injection").
_FORMULA_STARTS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def escape(text: object) -> str:
    r"""Return text with control characters as ``\xNN``, so that names from data cannot control the terminal."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(text))


def one_line(text: object) -> str:
    """Return text with each run of white space, including line breaks, as one space."""
    return " ".join(str(text).split())


def cell(value: object) -> object:
    r"""Return a cell of a CSV file; text that a spreadsheet would run as a formula is prefixed with an apostrophe.

    Numbers, including numbers as text, are unchanged. A NUL character becomes ``\x00``, since not every reader and
    writer of CSV takes one.
    """
    if not isinstance(value, str):
        return value
    value = value.replace("\0", "\\x00")
    if not value.startswith(_FORMULA_STARTS):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
