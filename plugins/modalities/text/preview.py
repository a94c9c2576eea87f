"""What a page shows of a text: its first words, on one line."""

from __future__ import annotations

from pathlib import Path

from autotransfer.contract.modality import Item, Preview
from autotransfer_plugins.modalities.text.reading import read_text, to_text

__all__ = ["first_words", "parts_of", "shown"]

_MAX_CHARACTERS = 400
# What holds words of several scripts, and emoji, together; all else that cannot be printed is shown by its number.
_JOINERS = "\u200c\u200d"


def first_words(item: Item) -> Preview:
    """Return the first words of a text, or of each of its parts, on a line each.

    Raises:
        UnreadableExampleError: Its file cannot be read.
    """
    return Preview(media_type="text/plain", text="\n".join(map(shown, parts_of(item))))


def parts_of(item: Item) -> tuple[str, ...]:
    """Return the parts of a text, one for most.

    Raises:
        UnreadableExampleError: Its file cannot be read.
    """
    if isinstance(item, Path):
        return (read_text(item),)
    return (to_text(item),) if isinstance(item, str) else tuple(map(to_text, item))


def shown(text: str) -> str:
    r"""Return the first words of a text on one line; what cannot be printed, or turns the line around, as ``\xNN``."""
    line = " ".join(text[: 10 * _MAX_CHARACTERS].split())
    if len(line) > _MAX_CHARACTERS or len(text) > 10 * _MAX_CHARACTERS:
        line = line[:_MAX_CHARACTERS].rstrip() + "…"
    return "".join(c if c.isprintable() or c in _JOINERS else f"\\x{ord(c):02x}" for c in line)
