"""Folders of images."""

from __future__ import annotations

import os
from pathlib import Path

from autotransfer.data.examples import Skipped

__all__ = ["printable", "walk"]

# HEIC needs a plugin of Pillow: where it is missing these files are reported, not passed over.
_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".avif"}
    | {".heic", ".heif", ".jp2", ".j2k", ".tga", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm"}
)


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
            elif path.is_file():
                found.append(path)
            else:
                skipped.append(Skipped(name=printable(path), reason="a broken link, or no regular file"))
    return sorted(found), skipped


def printable(path: str | Path) -> str:
    """Return the path as text that can be printed and saved, whatever bytes it holds."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
