"""Files that are never half written."""

from __future__ import annotations

from pathlib import Path

__all__ = ["write_atomically"]


def write_atomically(file: Path, text: str) -> None:
    """Write a text file so that a reader sees the old one or the new one, never half."""
    temporary = file.with_name(f".{file.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(file)
