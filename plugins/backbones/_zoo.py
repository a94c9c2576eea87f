"""Folders of checkpoints, ``NAME/config.json`` with ``NAME/model.safetensors``, as timm and transformers write them.

The authors of checkpoints are unknown, so the configuration is checked and weights are read from safetensors files
only, which cannot run code.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from autotransfer.errors import BackboneError, ConfigError, DataNotFoundError
from autotransfer.runtime.text import escape

__all__ = [
    "CONFIG",
    "REPOSITORY",
    "STATIC_TYPES",
    "WEIGHTS",
    "count_parameters",
    "find_checkpoints",
    "is_of_another_library",
    "model_type",
    "read_config",
    "weights_file",
]

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_MAX_CONFIG_BYTES = 2**24  # timm's configurations have about 1,000 bytes
# What says how to build a model in the configurations of other libraries: transformers, and plugins.
_KEYS_OF_OTHERS = ("model_type", "class")
STATIC_TYPES = frozenset({"static_mean", "model2vec", "wordllama"})
"""Values of ``model_type`` that mean a matrix of word vectors, which is no model of transformers."""

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")
"""Names of repositories of the hub, ``OWNER/NAME`` or ``OWNER/NAME@REVISION``."""

_PICKLES = (".bin", ".pth", ".pt", ".pkl", ".ckpt", ".tar")
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def find_checkpoints(zoos: Iterable[Path]) -> dict[str, Path]:
    """Return the checkpoint folders of all zoos by name, including broken ones.

    Raises:
        DataNotFoundError: A zoo is no folder, or cannot be read.
        ConfigError: A zoo holds no checkpoint, or two zoos hold one of the same name.
    """
    found: dict[str, Path] = {}
    for zoo in dict.fromkeys(Path(zoo).expanduser().resolve() for zoo in zoos):
        if not zoo.is_dir():
            raise DataNotFoundError(f"There is no zoo folder {zoo}.")
        try:
            folders = [folder for folder in sorted(zoo.iterdir()) if _is_checkpoint(folder)]
        except OSError as error:
            raise DataNotFoundError(f"The zoo folder {zoo} cannot be read: {error}") from None
        if not folders:
            raise ConfigError(
                f"The zoo {zoo} holds no checkpoint NAME/{CONFIG} + NAME/{WEIGHTS}. {_advice(zoo)}".rstrip()
            )
        for folder in folders:
            name = escape(folder.name)  # folder names may hold control characters
            if name in found:
                raise ConfigError(f"Two zoos hold {name!r}: {found[name]} and {folder}; rename one.")
            found[name] = folder
    return found


def _advice(zoo: Path) -> str:
    """Return what to do about a folder without checkpoint folders; nothing where no checkpoint is in sight."""
    if (zoo / CONFIG).exists() or (zoo / WEIGHTS).exists():
        return f"It is a checkpoint itself: give {zoo.parent}."
    if weights := sorted(zoo.glob("*.safetensors")):
        name = escape(weights[0].stem)
        return f"Give each of its checkpoints a folder: {name}/{WEIGHTS}, with {name}/{CONFIG} beside it."
    return ""


def _is_checkpoint(folder: Path) -> bool:
    if not folder.is_dir() or folder.name.startswith("."):
        return False
    try:
        return any(file.name == CONFIG or file.suffix in (".safetensors", *_PICKLES) for file in folder.iterdir())
    except OSError:
        return True  # not readable: ``check`` reports that, and the name can be excluded


def read_config(folder: Path, name: str = CONFIG) -> dict[str, Any]:
    """Return the configuration of a checkpoint, or another JSON object that lies beside it.

    Raises:
        BackboneError: There is no such file, or it is no JSON object.
    """
    path = folder / name
    if not path.is_file():
        raise BackboneError(f"{folder} holds no {name}, which says how to build the model.")
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise ValueError("it is larger than 16 MB")
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BackboneError(f"{path} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise BackboneError(f"{path} must hold an object; got a {type(data).__name__}.")
    return data


def is_of_another_library(folder: Path) -> bool:
    """Whether the configuration says how to build a model, and not in timm's way: another plugin may know how."""
    try:
        config = read_config(folder)
    except BackboneError:
        return False
    return "architecture" not in config and any(key in config for key in _KEYS_OF_OTHERS)


def model_type(folder: Path) -> str:
    """Return the ``model_type`` of a configuration that is not timm's; empty where there is none."""
    try:
        config = read_config(folder)
    except BackboneError:
        return ""
    kind = config.get("model_type")
    return kind if isinstance(kind, str) and "architecture" not in config else ""


def weights_file(folder: Path) -> Path:
    """Return the file of a checkpoint's weights.

    Raises:
        BackboneError: There is no safetensors file.
    """
    if (folder / WEIGHTS).is_file():
        return folder / WEIGHTS
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES) if folder.is_dir() else []
    if pickles:
        raise BackboneError(
            f"{folder} holds weights only as {', '.join(pickles)}, a format that can run code and is never loaded: "
            "save them again with timm.models.save_for_hf(model, folder, safe_serialization=True)."
        )
    raise BackboneError(f"{folder} holds no {WEIGHTS}.")


def count_parameters(folder: Path, classifier: Any) -> int | None:
    """Count the parameters without the classifier from the header of the weights; None for an unreadable header."""
    heads = tuple(f"{name}." for name in (classifier if isinstance(classifier, list) else [classifier]))
    try:
        with safe_open(weights_file(folder), framework="np") as file:
            names = [n for n in file.keys() if not n.endswith(_STATISTICS) and not n.startswith(heads)]  # noqa: SIM118
            return sum(math.prod(map(int, file.get_slice(name).get_shape())) for name in names)
    except (SafetensorError, OSError, ValueError):
        return None
