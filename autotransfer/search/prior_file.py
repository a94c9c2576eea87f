"""The file of what was learned from recorded runs: ``prior.safetensors``, a part for each kind of run.

A part has tensors, whose names begin with that of the part, and JSON in the metadata of the file. Nothing in it can run
code. ``examples/benchmarks/fit_prior.py`` writes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from autotransfer.errors import ModelFormatError
from autotransfer.runtime.files import replacing

__all__ = ["read_part", "shipped_prior", "write_part"]

FORMAT = "1"
Tensors = dict[str, np.ndarray[Any, Any]]


def shipped_prior() -> Path:
    """Return the file that ships with this package."""
    return Path(str(resources.files("autotransfer.search") / "prior.safetensors"))


def read_part(part: str, path: Path | None = None) -> tuple[Tensors, dict[str, Any]]:
    """Return the tensors of a part by name, without the name of the part, and what else it says.

    Args:
        part: Name of the part.
        path: The file; None means the one that ships with this package, which is read once. Do not change what it
            returns.

    Raises:
        ModelFormatError: The file cannot be read, or has no such part.
    """
    return _shipped_part(part) if path is None else _read(part, path)


def write_part(path: Path, part: str, tensors: Mapping[str, np.ndarray[Any, Any]], metadata: Mapping[str, Any]) -> None:
    """Write a part of a file; the other parts that the file has are kept.

    Args:
        path: The file; made where there is none.
        part: Name of the part: letters and underscores.
        tensors: Arrays by name.
        metadata: What else the part says, as JSON can hold it.
    """
    every, about = _read_all(path) if path.exists() else ({}, {})
    kept = {name: values for name, values in every.items() if not name.startswith(f"{part}.")}
    kept |= {f"{part}.{name}": np.ascontiguousarray(values) for name, values in tensors.items()}
    about |= {"format": FORMAT, part: json.dumps(metadata, sort_keys=True)}
    with replacing(path) as temporary:
        save_file(dict(sorted(kept.items())), temporary, metadata=about)
    _shipped_part.cache_clear()


@lru_cache
def _shipped_part(part: str) -> tuple[Tensors, dict[str, Any]]:
    return _read(part, shipped_prior())


def _read(part: str, path: Path) -> tuple[Tensors, dict[str, Any]]:
    tensors, about = _read_all(path)
    if part not in about:
        raise ModelFormatError(f"{path} has no part {part!r}; write it with fit_prior.py.")
    try:
        metadata = json.loads(about[part])
    except ValueError as error:
        raise ModelFormatError(f"{path} is not a prior: {part!r} is no JSON; write it with fit_prior.py.") from error
    prefix = f"{part}."
    return {name[len(prefix) :]: values for name, values in tensors.items() if name.startswith(prefix)}, metadata


def _read_all(path: Path) -> tuple[Tensors, dict[str, str]]:
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
            about = dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise ModelFormatError(f"{path} is not a prior ({error}); write one with fit_prior.py.") from error
    if about.get("format") != FORMAT:
        raise ModelFormatError(f"{path} is not a prior of this version; write one with fit_prior.py.")
    return tensors, about
