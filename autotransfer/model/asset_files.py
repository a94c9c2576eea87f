"""Files beside the JSON of a saved model that its input formats need. They may come from strangers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from autotransfer.errors import ModelFormatError
from autotransfer.runtime.files import replacing

__all__ = ["digests_of", "read_asset_files", "write_asset_files"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,150}")
_RESERVED = frozenset({"README.md", "model.json", "model.safetensors"})
_MAX_FILES, _MAX_BYTES = 16, 2**28


def digests_of(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the hash of each file by its name, as JSON for ``read_asset_files``."""
    return {name: _digest(data) for name, data in sorted(files.items())}


def write_asset_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write each file at once into a folder; a file that is there with the same content stays as it is.

    Raises:
        OSError: A file cannot be written.
        ValueError: A name is not of letters, digits, dots, dashes and underscores, or is the name of a model's file.
    """
    for name, data in files.items():
        if not _allowed(name):
            raise ValueError(f"a file of an input format cannot be called {name!r}")
        if (folder / name).is_file() and (folder / name).read_bytes() == data:
            continue
        with replacing(folder / name) as temporary:
            temporary.write_bytes(data)


def read_asset_files(saved: Any, folder: Path) -> dict[str, bytes]:
    """Return the files of a saved model by name.

    Args:
        saved: What ``digests_of`` returned.
        folder: The folder of the model.

    Raises:
        ModelFormatError: A file is missing, too large, or has another content than when the model was saved.
    """
    if not isinstance(saved, dict) or len(saved) > _MAX_FILES:
        raise ModelFormatError(f"The files of a model are at most {_MAX_FILES}, each a name with its digest.")
    files: dict[str, bytes] = {}
    for name, digest in saved.items():
        if not _allowed(name):
            raise ModelFormatError(f"A file of a model cannot be called {name!r:.60}.")
        try:
            size = (folder / name).stat().st_size
            data = (folder / name).read_bytes() if size <= _MAX_BYTES else b""
        except OSError as error:
            raise ModelFormatError(
                f"The model in {folder} lacks the file {name}: {error.strerror}. Copy the whole folder."
            ) from error
        if size > _MAX_BYTES or _digest(data) != digest:
            raise ModelFormatError(f"The file {name} of the model in {folder} was changed since the model was saved.")
        files[name] = data
    return files


def _allowed(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and name not in _RESERVED


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()
