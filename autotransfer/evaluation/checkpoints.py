"""Trainings that were paused, on disk: tensors, numbers and text, nothing that can run code."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from autotransfer.candidate import Candidate

__all__ = ["Checkpoints"]

# Share of the free disk space that paused trainings may take.
_SHARE = 0.2


class Checkpoints:
    """A folder of paused trainings by candidate. When it grows too large, those longest untouched go.

    Args:
        folder: Where; made when first needed. None means a temporary one, which goes with this object.
        limit: Bytes that all of them may take; None means a fifth of the free disk space.
    """

    def __init__(self, folder: Path | None = None, *, limit: int | None = None) -> None:
        self._folder, self._limit = folder, limit

    @cached_property
    def folder(self) -> Path:
        """The folder."""
        if self._folder is not None:
            return self._folder
        self._temporary = tempfile.TemporaryDirectory(prefix="autotransfer-", ignore_cleanup_errors=True)
        weakref.finalize(self, self._temporary.cleanup)
        return Path(self._temporary.name)

    def save(self, candidate: Candidate, state: Mapping[str, Any]) -> None:
        """Keep a training's state; a full disk, or a folder that is gone, costs no more than the means to go on."""
        file = self._file(candidate)
        temporary = file.with_suffix(".new")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            torch.save(dict(state), temporary)
            temporary.replace(file)
            self._shrink(file)
        except (OSError, RuntimeError):  # torch reports a failed write as the latter
            _remove(temporary)

    def load(self, candidate: Candidate) -> dict[str, Any] | None:
        """Return the state that was kept; None where there is none, or none that can be read."""
        file = self._file(candidate)
        if not file.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except Exception:  # a damaged file: the training starts anew
            _remove(file)
            return None
        with contextlib.suppress(OSError):  # another worker may have removed it: it is not made anew
            os.utime(file)
        return state

    def clear(self) -> None:
        """Forget all."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, candidate: Candidate) -> Path:
        # How long it trains may be planned anew when it goes on.
        text = json.dumps(candidate.without_epochs.to_json(), sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.pt"

    def _shrink(self, kept: Path) -> None:
        """Remove the oldest until the rest fits; the one just written stays.

        Workers share the folder: files may go in between.
        """
        found = [(file, about) for file in self.folder.glob("*.pt") if (about := _stat(file)) is not None]
        sizes = {file: about.st_size for file, about in sorted(found, key=lambda each: each[1].st_mtime)}
        limit = self._limit
        if limit is None:
            limit = int(_SHARE * (shutil.disk_usage(self.folder).free + sum(sizes.values())))
        for file in list(sizes):
            if sum(sizes.values()) <= limit:
                return
            if file != kept:
                _remove(file)
                del sizes[file]


def _stat(file: Path) -> os.stat_result | None:
    """Return what the disk says of a file; None where it is gone."""
    with contextlib.suppress(OSError):
        return file.stat()
    return None


def _remove(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink()
