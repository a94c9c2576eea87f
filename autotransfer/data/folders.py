"""Folders of examples: their files, which are recognised by name, else by content."""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

from autotransfer.contract.modality import Modality

__all__ = ["LINKS", "Found", "kind_of", "open_regular", "printable", "walk"]

# Why links are left out unless they are to be followed.
LINKS = ("a link to a folder: not followed", "a link that leads out of the folder")
# What belongs to no data, or says something about them.
_IGNORED_SUFFIXES = frozenset(
    {".txt", ".md", ".rst", ".pdf", ".html", ".htm", ".doc", ".docx", ".rtf", ".json", ".jsonl", ".csv", ".tsv"}
    | {".xml", ".yaml", ".yml", ".toml", ".cfg", ".ini", ".xls", ".xlsx", ".mat", ".pkl", ".npy", ".npz", ".h5"}
    | {".py", ".ipynb", ".sh", ".bat", ".m", ".log", ".db", ".lnk", ".url", ".aae", ".xmp", ".md5", ".sha256"}
    | {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".rar", ".7z"}
)
_IGNORED_NAMES = frozenset({"readme", "license", "licence", "copying", "changelog", "makefile", "thumbs.db", "icon\r"})
_NO_DATA = frozenset({"__macosx", "__pycache__", "@eadir", "$recycle.bin", "lost+found"})


@dataclass(frozen=True, kw_only=True)
class Found:
    """What is below a folder.

    Attributes:
        files: The examples, sorted.
        skipped: What cannot be used, each with the reason.
        folders: All folders that were read.
        ignored_files: Number of files that are no examples, by suffix or name.
    """

    files: list[Path] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    ignored_files: Counter[str] = field(default_factory=Counter)


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


def walk(root: Path, modality: Modality, *, follow_links: bool = False) -> Found:
    """Find the examples below a folder.

    A file without a known suffix is one if the modality knows it by what it holds.

    Args:
        root: The folder; it may be a link.
        modality: What kind of examples.
        follow_links: Whether to enter links to folders, and take files that a link finds outside of the folder. No
            folder is read twice in one sub-folder of the root, so that loops end.
    """
    found = Found()
    inside = Path(os.path.realpath(root))
    entered: set[tuple[str, ...]] = set()

    def closed(error: OSError) -> None:
        found.skipped.append((Path(error.filename), f"cannot be listed: {error.strerror}"))

    for here, folders, files in os.walk(root, onerror=closed, followlinks=True):
        folder, real = Path(here), os.path.realpath(here)
        top = folder.relative_to(root).parts[:1]
        found.folders.append(folder)
        entered.add((*top, real))
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name.lower() not in _NO_DATA)
        for link in [path for name in folders if (path := Path(folder, name)).is_symlink()]:
            target = os.path.realpath(link)
            key = (*(top or (link.name,)), target)
            reason = "" if follow_links else LINKS[0]
            if follow_links and (key in entered or any(Path(place).is_relative_to(target) for place in (inside, real))):
                reason = "a link back to a folder that is read already"
            entered.add(key)
            if reason:
                folders.remove(link.name)
                found.skipped.append((link, reason))
        for name in sorted(files):
            _sort_in(Path(folder, name), modality, None if follow_links else inside, found)
    found.files.sort()
    return found


def _sort_in(path: Path, modality: Modality, inside: Path | None, found: Found) -> None:
    """Put a file where it belongs; with ``inside``, a link must not lead out of that folder."""
    known, reason = path.suffix.lower() in modality.suffixes, ""
    if path.name.startswith("."):
        found.ignored_files["hidden"] += 1
        return
    if inside is not None and path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(inside):
        reason = LINKS[1]
    elif kind_of(path) != "file":
        reason = "a broken link, or no regular file"
    elif not known and not modality.holds(path):
        reason = f"no {modality.noun} that can be read"
    if not reason:
        found.files.append(path)
    elif known or not (ignored_files := _ignored_kind(path)):
        found.skipped.append((path, reason))
    else:
        found.ignored_files[ignored_files] += 1


def _ignored_kind(path: Path) -> str:
    """Return by which suffix or name nobody takes a file for an example; empty for no such file."""
    for known, names in ((path.suffix.lower(), _IGNORED_SUFFIXES), (path.name.lower(), _IGNORED_NAMES)):
        if known in names:
            return known
    return ""


def printable(path: str | Path) -> str:
    """Return the path as text that can be printed and saved, whatever bytes it holds."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
