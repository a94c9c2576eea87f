"""Folders of images."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO, Literal

from autotransfer.data.examples import Skipped

__all__ = ["kind_of", "open_regular", "printable", "walk"]

# HEIC needs a plugin of Pillow: where it is missing these files are reported, not passed over.
_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".avif"}
    | {".heic", ".heif", ".jp2", ".j2k", ".tga", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm"}
)


def kind_of(path: Path) -> Literal["file", "folder", "other", "missing"]:
    """Say what is at a path, links followed; nothing is where it cannot be reached, or can be no path at all."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # ValueError: it holds a NUL
        return "missing"
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read; a pipe or device in its place, which could keep us waiting for ever, is refused.

    Raises:
        OSError: It cannot be opened, or is no regular file.
    """

    def without_waiting(name: str, flags: int) -> int:
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    file = open(path, "rb", opener=without_waiting)  # noqa: SIM115  # pathlib takes no opener
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError("no regular file")
    return file


def walk(root: Path) -> tuple[list[Path], list[Skipped]]:
    """Find the images below a folder, sorted. Links to folders are not entered, so that loops end."""
    found: list[Path] = []
    skipped: list[Skipped] = []

    def closed(error: OSError) -> None:
        skipped.append(Skipped(name=printable(error.filename), reason=f"cannot be listed: {error.strerror}"))

    inside = Path(os.path.realpath(root))
    for folder, folders, files in os.walk(root, onerror=closed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        linked = [path for name in folders if (path := Path(folder, name)).is_symlink()]
        skipped += [Skipped(name=printable(path), reason="a link to a folder: not followed") for path in linked]
        for name in sorted(files):
            path = Path(folder, name)
            if name.startswith(".") or path.suffix.lower() not in _SUFFIXES:
                continue
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(inside):
                skipped.append(Skipped(name=printable(path), reason="a link that leads out of the folder"))
            elif kind_of(path) == "file":
                found.append(path)
            else:
                skipped.append(Skipped(name=printable(path), reason="a broken link, or no regular file"))
    return sorted(found), skipped


def printable(path: str | Path) -> str:
    """Return the path as text that can be printed and saved, whatever bytes it holds."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
