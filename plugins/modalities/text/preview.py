"""What a page shows of a text: its first words, on one line; and the text without each of them."""

from __future__ import annotations

import math
import re
from pathlib import Path

from autotransfer.contract.modality import Item, Occlusions, Preview
from autotransfer_plugins.modalities.text.reading import read_text, to_text

__all__ = ["first_words", "without_words"]

_MAX_CHARACTERS = 400
# What holds words of several scripts, and emoji, together; all else that cannot be printed is shown by its number.
_JOINERS = "\u200c\u200d"
# Most parts of a text that are left out, one at a time: longer texts lose several words at once.
_MAX_OCCLUSIONS = 32
# Scripts without spaces, and what else has no end, count as words of so many characters.
_MAX_CHARACTERS_OF_WORD, _CHARACTERS_OF_PIECE = 24, 4
_WORD, _SPACE = re.compile(r"\S+\s*"), re.compile(r"\s+")


def first_words(item: Item) -> Preview:
    """Return the first words of a text, or of each of its parts, on a line each.

    Raises:
        UnreadableExampleError: Its file cannot be read.
    """
    return Preview(media_type="text/plain", text="\n".join(map(_shown, _parts_of(item))))


def without_words(item: Item) -> Occlusions:
    """Return a text without each of the first words that are shown; of a long text, without several at once.

    Raises:
        UnreadableExampleError: Its file cannot be read.
    """
    parts = _parts_of(item)
    words = [_words(part) for part in parts]
    size = max(math.ceil(sum(map(len, words)) / _MAX_OCCLUSIONS), 1)
    shown, items = list[str](), list[Item]()
    for number, (part, own) in enumerate(zip(parts, words, strict=True)):
        for first in range(0, len(own), size):
            start, end = own[first][0], own[min(first + size, len(own)) - 1][1]
            changed = (*parts[:number], part[:start] + part[end:], *parts[number + 1 :])
            shown.append(_printed(part[start:end]))
            items.append(changed if len(parts) > 1 else changed[0])
        if own:
            more = "…" if own[-1][1] < len(part.rstrip()) else ""
            shown[-1] = shown[-1].rstrip() + more + ("\n" if number + 1 < len(parts) else "")
    preview = Preview(media_type="text/plain", text="".join(shown))
    return Occlusions(preview=preview, parts=tuple(shown), items=tuple(items))


def _parts_of(item: Item) -> tuple[str, ...]:
    """Return the parts of a text, one for most.

    Raises:
        UnreadableExampleError: Its file cannot be read.
    """
    if isinstance(item, Path):
        return (read_text(item),)
    return (to_text(item),) if isinstance(item, str) else tuple(map(to_text, item))


def _words(text: str) -> list[tuple[int, int]]:
    """Return where the first words of a text begin and end, with the white space that follows them."""
    found = list[tuple[int, int]]()
    for match in _WORD.finditer(text, 0, _MAX_CHARACTERS):
        start, end = match.span()
        step = _CHARACTERS_OF_PIECE if end - start > _MAX_CHARACTERS_OF_WORD else end - start
        found += [(place, min(place + step, end)) for place in range(start, end, step)]
    return found


def _shown(text: str) -> str:
    """Return the first words of a text on one line."""
    line = text[:_MAX_CHARACTERS].strip()
    return _printed(line) + ("…" if len(text.strip()) > len(line) else "")


def _printed(text: str) -> str:
    r"""Return text with white space as one space; what cannot be printed, or turns the line around, as ``\xNN``."""
    line = _SPACE.sub(" ", text)
    return "".join(c if c.isprintable() or c in _JOINERS else f"\\x{ord(c):02x}" for c in line)
