"""Files that are never half written."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["write_atomically"]


def write_atomically(file: Path, text: str) -> None:
    """Write a text file so that a reader sees the old one or the new one, never half.

    What UTF-8 cannot hold, such as a file name in another encoding, is written as an escape.

    Raises:
        OSError: It cannot be written; then the old one is still there.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
