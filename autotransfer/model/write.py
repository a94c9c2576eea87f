"""Writing a model into a folder: tensors, what is said of them, and what input formats need beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save_file

from autotransfer._version import __version__
from autotransfer.model.asset_files import digests_of, write_asset_files
from autotransfer.model.saved_values import FORMAT, without_shared_memory
from autotransfer.model.serialization import describe_members, tensors_of
from autotransfer.report.card_usage import CARD
from autotransfer.runtime.files import replacing, write_atomically

if TYPE_CHECKING:
    from autotransfer.model.transfer_model import TransferModel

__all__ = ["write_model"]


def write_model(model: TransferModel, folder: Path) -> Path:
    """Write the files of ``TransferModel.save``, each at once; return the folder."""
    tensors = tensors_of(model.members) | ({} if model.outliers is None else model.outliers.tensors())
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    files = _format_files(model)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "model.safetensors") as temporary:
        save_file(without_shared_memory(tensors), temporary)
    write_asset_files(files, folder)
    if model.card:
        write_atomically(folder / CARD, model.card)
    write_atomically(folder / "model.json", json.dumps(_describe(model, files), indent=2))
    return folder


def _format_files(model: TransferModel) -> dict[str, bytes]:
    """Return the files that the input formats of the backbones need, by name."""
    formats = [member.network.backbone.preprocessing for member in model.members]
    return {name: data for how in formats for name, data in model.modality.format_files(how).items()}


def _describe(model: TransferModel, files: dict[str, bytes]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "autotransfer": __version__,
        "task": model.task.to_json(),
        "modality": model.modality.name,
        "reading": dict(model.reading),
        "columns": [*map(str, model.columns)],
        "temperature": model.temperature,
        "conformal": model.conformal and model.conformal.to_json(),
        "outliers": model.outliers and model.outliers.to_json(),
        "files": digests_of(files),
        "members": describe_members(model.members),
    }
