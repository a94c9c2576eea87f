"""What an exported file says of itself, so that a program can use it without this package."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from autotransfer._version import __version__
from autotransfer.contract.export_inputs import ExportInputs
from autotransfer.model.transfer_model import TransferModel

__all__ = ["describe", "inputs_to_json", "write_files"]

_LIBRARIES = ("torch", "onnx", "onnxscript", "timm", "transformers")


def describe(model: TransferModel, trained_on: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of a model as JSON: labels, task, preprocessing, members, versions, training examples."""
    task = model.task
    return {
        "labels": list(task.classes),
        "task": task.to_json(),
        "outputs": [
            "values" if task.kind == "regression" else "probabilities",
            *(() if model.outliers is None else ("outlier_scores",)),
        ],
        "modality": model.modality.name,
        "reading": dict(model.reading),
        "temperature": model.temperature,
        "members": [
            {
                "candidate": member.candidate.to_json(),
                "preprocessing": member.network.backbone.preprocessing.to_json(),
                "views": list(model.modality.views[: member.views]),
                "weight": member.weight,
            }
            for member in model.members
        ],
        "trained_on": dict(trained_on),
        "versions": {"autotransfer": __version__, **{name: found for name in _LIBRARIES if (found := _version(name))}},
    }


def inputs_to_json(inputs: ExportInputs) -> list[dict[str, Any]]:
    """Return what a program has to give the model as JSON."""
    return [
        {
            "name": given.name,
            "dtype": given.dtype,
            "shape": ["batch", *(axis if isinstance(axis, int) else axis.name for axis in given.axes)],
            "about": given.about,
        }
        for given in inputs.inputs
    ]


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def write_files(inputs: ExportInputs, folder: Path) -> None:
    """Write what a program needs beside the model to make its inputs."""
    for name, data in inputs.files.items():
        (folder / name).write_bytes(data)
