"""Reading a saved model. Its files may come from strangers: nothing in them can run code, and each value is checked."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file

from autotransfer.contract.registry import Registry
from autotransfer.errors import AutoTransferError, ModelFormatError
from autotransfer.model.asset_files import read_asset_files
from autotransfer.model.conformal import Conformal
from autotransfer.model.outliers import Outliers
from autotransfer.model.saved_values import (
    find_model,
    read_card,
    read_columns,
    read_json,
    read_modality,
    read_temperature,
)
from autotransfer.model.serialization import read_members
from autotransfer.model.transfer_model import TransferModel
from autotransfer.runtime.device import resolve_device
from autotransfer.runtime.text import one_line
from autotransfer.tasks.task import Task

__all__ = ["load_model"]


def load_model(folder: Path, *, device: str = "auto", registry: Registry | None = None) -> TransferModel:
    """Read what ``TransferModel.save`` wrote, or the model of a run folder.

    Raises:
        DataNotFoundError: There is no model in this folder.
        ModelFormatError: The files are damaged, or not a model.
    """
    folder = find_model(folder)
    about = read_json(folder / "model.json")
    try:
        state = load_file(folder / "model.safetensors")
        registry = registry or Registry.load()
        task, temperature = Task.from_json(about["task"]), read_temperature(about["temperature"])
        modality = read_modality(about["modality"], registry)
        reading = modality.read_reading(about["reading"])
        files = read_asset_files(about.get("files", {}), folder)
        members = read_members(about["members"], task, modality, registry, state, files)
        conformal = None if about["conformal"] is None else Conformal.from_json(about["conformal"], task)
        outliers = None if about["outliers"] is None else Outliers.from_json(about["outliers"], members, state)
    except AutoTransferError:
        raise
    except Exception as error:  # a stranger may have written the files: anything can be in the place of anything
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise ModelFormatError(f"The model in {folder} cannot be read: {reason}") from error
    for name, tensor in state.items():
        if not bool(tensor.isfinite().all()):
            raise ModelFormatError(f"The model in {folder} is damaged: {name!r} holds values that are not finite.")
    where = resolve_device(device)
    for member in members:
        where.place(member.network.eval().requires_grad_(False))
    if outliers is not None:
        outliers.detector.to(where.torch)
    return TransferModel(
        members=members,
        task=task,
        modality=modality,
        reading=reading,
        columns=read_columns(about.get("columns", [])),
        device=where,
        temperature=temperature,
        conformal=conformal,
        outliers=outliers,
        card=read_card(folder),
    )
