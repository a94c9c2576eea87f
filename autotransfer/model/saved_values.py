"""Values of a saved model, each checked when it is read: files may come from strangers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from autotransfer.contract.modality import Modality
from autotransfer.contract.registry import Registry
from autotransfer.errors import DataNotFoundError, ModelFormatError
from autotransfer.model.temperature import MAX_TEMPERATURE, MIN_TEMPERATURE
from autotransfer.report.card_usage import CARD

__all__ = [
    "FORMAT",
    "find_model",
    "read_card",
    "read_columns",
    "read_json",
    "read_modality",
    "read_temperature",
    "without_shared_memory",
]

FORMAT = 6
"""Number of the format of saved models."""


_MAX_CARD_BYTES = 2**20


def find_model(folder: Path) -> Path:
    """Return the folder that holds a saved model: this one, or ``model/`` in the folder of a run.

    Raises:
        DataNotFoundError: There is none.
    """
    for place in (folder, folder / "model"):
        if (place / "model.json").is_file():
            return place
    raise DataNotFoundError(f"There is no model in {folder}: expected model.json in it or in its folder model/.")


def read_card(folder: Path) -> str:
    """Return the model card beside a saved model; empty where there is none."""
    file = folder / CARD
    if not file.is_file() or file.stat().st_size > _MAX_CARD_BYTES:
        return ""
    return file.read_text(encoding="utf-8", errors="replace")


def read_modality(name: Any, registry: Registry) -> Modality:
    """Return the modality of a saved model.

    Raises:
        ModelFormatError: No installed plugin has it.
    """
    if name not in registry.modalities:
        raise ModelFormatError(
            f"The model takes examples of the modality {name!r:.60}, which no installed plugin has; there are "
            f"{sorted(registry.modalities)}: install the plugin, and see 'autotransfer plugins'."
        )
    return registry.modalities[name]


def read_columns(value: Any) -> tuple[str, ...]:
    """Return the columns of a saved model.

    Raises:
        ModelFormatError: The value is no list of texts.
    """
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ModelFormatError(f"The columns of a model are a list of names; got {value!r:.60}.")
    return tuple(value)


def read_temperature(value: Any) -> float:
    """Return the temperature of a saved model.

    Raises:
        ModelFormatError: The value is no temperature, or every probability would be 0 or 1 at it.
    """
    if type(value) is not float or not MIN_TEMPERATURE <= value <= MAX_TEMPERATURE:
        raise ModelFormatError(
            f"A temperature is a number from {MIN_TEMPERATURE} to {MAX_TEMPERATURE}; got {value!r:.60}."
        )
    return value


def without_shared_memory(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors that share memory: safetensors stores each by itself."""
    seen: set[int] = set()
    for name, tensor in tensors.items():
        if tensor.data_ptr() in seen and tensor.numel():
            tensors[name] = tensor.clone()
        seen.add(tensor.data_ptr())
    return tensors


def read_json(file: Path) -> dict[str, Any]:
    """Return what a ``model.json`` holds.

    Raises:
        ModelFormatError: It is not readable, or of another format.
    """
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFormatError(f"{file} is not readable JSON: {error}") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        given = about.get("format") if isinstance(about, dict) else type(about).__name__
        raise ModelFormatError(f"{file} is not a model of format {FORMAT}: it says {given!r}.")
    return about
