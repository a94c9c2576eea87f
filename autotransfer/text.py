"""Text from outside, made harmless."""

from __future__ import annotations

__all__ = ["escape", "one_line"]


def escape(text: object) -> str:
    r"""Return text with control characters written as ``\xNN``: names from data must not steer the terminal."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(text))


def one_line(text: object) -> str:
    """Return text with every run of white space, line breaks included, as one space."""
    return " ".join(str(text).split())
