"""Texts from files and from memory: what is one, in which encoding, and what tells copies apart."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from autotransfer.errors import UnreadableExampleError

__all__ = ["Text", "digest_of", "is_file_name", "read_text", "texts_of_array", "to_text"]

Text = "str | tuple[str, ...]"
"""One example: a text, or the texts of several columns."""

# The largest text file that is read: a thousand novels.
_MAX_FILE_BYTES = 2**28
_SURROGATES = re.compile("[\ud800-\udfff]")
# The end of a file name: a dot, and up to five letters and digits, one letter at least.
_FILE_NAME = re.compile(r"[^\n]{0,1000}\.(?=[0-9]{0,4}[A-Za-z])[A-Za-z0-9]{1,5}")
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"))
_BOMS_OF_UTF16 = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def to_text(value: str) -> str:
    """Return a text without lone surrogates, which no encoding knows; U+FFFD takes their place."""
    return _SURROGATES.sub("\ufffd", value)


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, with or without a byte order mark, or in UTF-16 or UTF-32 with one.

    Raises:
        UnreadableExampleError: The file cannot be read, or is in another encoding.
    """
    try:
        if (size := path.stat().st_size) > _MAX_FILE_BYTES:
            raise UnreadableExampleError(f"it has {size / 1e6:.0f} MB: give a text of at most {_MAX_FILE_BYTES >> 20}")
        data = path.read_bytes()
    except UnreadableExampleError:
        raise
    except (OSError, ValueError) as error:
        raise UnreadableExampleError(getattr(error, "strerror", None) or str(error)) from error
    encoding = next((name for bom, name in (*_BOMS, *_BOMS_OF_UTF16) if data.startswith(bom)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        likely = _likely_encoding(data)
        raise UnreadableExampleError(
            f"it is not valid {encoding.removesuffix('-sig').upper()} (byte {error.start}), and probably {likely}: "
            f"convert it, such as with iconv -f {likely} -t utf-8"
        ) from None


def _likely_encoding(data: bytes) -> str:
    """Return the encoding that bytes are probably in, which are not UTF-8."""
    even, odd = data[0::2].count(0), data[1::2].count(0)
    if even + odd > len(data) // 4:  # Latin letters in UTF-16 have a zero byte each
        return "utf-16le" if odd > even else "utf-16be"
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return "iso-8859-1"
    return "windows-1252"


def is_file_name(value: str) -> bool:
    """Whether a text looks like the name of a file: it ends like one, and has no space outside of a path."""
    name = value.strip()
    return bool(_FILE_NAME.fullmatch(name)) and (" " not in name or "/" in name or "\\" in name)


def digest_of(parts: Sequence[str]) -> str:
    """Return the hash of a text; copies up to case and white space have the same."""
    folded = "\x1f".join(" ".join(part.casefold().split()) for part in parts)
    return blake2b(folded.encode(), digest_size=16).hexdigest()


def texts_of_array(value: Any) -> list[Any] | None:
    """Return the texts of an array (N,) or (N, 1), those of a row together in one (N, columns), or None for others."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "UO" or value.ndim not in (1, 2) or not value.size:
        return None
    if value.dtype.kind == "O" and not all(isinstance(cell, str) for cell in value.flat):
        return None
    if value.ndim == 1 or value.shape[1] == 1:
        return [to_text(str(cell)) for cell in value.ravel()]
    return [tuple(to_text(str(cell)) for cell in row) for row in value]
