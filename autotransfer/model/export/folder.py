"""Folders of exports: which files are of an export, so that nothing else is ever replaced."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from autotransfer.errors import ConfigError
from autotransfer.runtime.files import write_atomically

__all__ = ["MANIFEST", "check_folder", "move_folder", "write_manifest"]

MANIFEST = "autotransfer.json"
"""Name of the file that tells the folder of an export from any other one, and names the files of the export."""


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Check that an export may be written into a folder that is there: it is empty, or an earlier export is replaced.

    Raises:
        ConfigError: It holds something else, or an export that is not to be replaced, or cannot be read.
    """
    try:
        if next(folder.iterdir(), None) is None:
            return
        earlier = _files_of(folder)
    except OSError as error:
        raise ConfigError(f"The folder {folder} cannot be read: {error}. Name another place.") from error
    if earlier is None:
        raise ConfigError(
            f"The folder {folder} is not empty and holds no export: it has no {MANIFEST} that names files of one, and "
            "nothing else is replaced. Name another place, or empty it yourself."
        )
    if not overwrite:
        raise ConfigError(f"{folder} is there already: name another place, or pass overwrite=True (--overwrite).")


def write_manifest(folder: Path, format: str, about: Mapping[str, Any]) -> None:
    """Write what names the files of an export into its folder, beside them.

    Args:
        folder: The folder, with all files of the export.
        format: The format.
        about: What exports say of themselves; see ``describe``.
    """
    known = {name: about[name] for name in ("task", "versions") if name in about}
    files = [name for name in _names_in(folder) if name != MANIFEST]
    write_atomically(folder / MANIFEST, json.dumps({"format": format, "files": files, **known}, indent=2))


def move_folder(written: Path, target: Path, *, overwrite: bool) -> tuple[Path, ...]:
    """Move the folder of an export to its place, and return the files of the export there.

    Of an earlier export, exactly its own files are replaced or gone; other files stay.

    Raises:
        ConfigError: The place holds no export, or a file of another origin has the name of a file of this one.
    """
    names = _names_in(written)
    if not target.is_dir():
        written.replace(target)
        return tuple(target / name for name in names)
    check_folder(target, overwrite=overwrite)
    earlier = {MANIFEST, *(_files_of(target) or ())}
    if others := [name for name in names if _is_other(target / name, name, earlier)]:
        raise ConfigError(
            f"{target} holds {', '.join(others[:3])}, which the earlier export did not write and this one would "
            "replace: move that away, or name another place. Nothing was written."
        )
    for name in _names_in(target):  # and not what the manifest names, which may come from a stranger
        if name in earlier and name not in names:
            (target / name).unlink()
    # The manifest comes first: a folder that is left half-written is known for an export.
    for name in sorted(names, key=lambda name: name != MANIFEST):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(written / name, target / name)
    return tuple(target / name for name in names)


def _names_in(folder: Path) -> list[str]:
    """Return the names of all files of a folder, relative to it."""
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def _files_of(folder: Path) -> set[str] | None:
    """Return the names of the files that the export in a folder wrote; None where the folder holds none.

    Raises:
        OSError: The manifest cannot be read.
    """
    if not (folder / MANIFEST).is_file():
        return None
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return None
    names = found.get("files") if isinstance(found, dict) else None
    return set(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def _is_other(file: Path, name: str, earlier: Set[str]) -> bool:
    """Whether there is something of a name that an earlier export did not write."""
    return file.is_dir() or (name not in earlier and (file.exists() or file.is_symlink()))
