"""Models as programs of torch.export (``.pt2``), which torch loads without this package."""

from __future__ import annotations

import json
import warnings

import numpy as np
import torch

from autotransfer.data.examples import Examples
from autotransfer.model.export.exporters import ExportRequest, Predict
from autotransfer.model.export.metadata import inputs_to_json, write_files
from autotransfer.model.export.pipeline import ExportedModel, export_inputs_of
from autotransfer.model.export.tracing import batches_of, traced

__all__ = ["METADATA_FILE", "write"]

METADATA_FILE = "autotransfer.json"
"""Name of the extra file of a program that says what it is; ``torch.export.load`` takes it in ``extra_files``."""


def write(request: ExportRequest) -> Predict:
    """Write a program; see ``WriteFormat``."""
    inputs = export_inputs_of(request.model)
    program = traced(ExportedModel(request.model, inputs), inputs, request.examples)
    about = json.dumps({**request.about, "inputs": inputs_to_json(inputs)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tensors that share memory, whose values are written all the same
        torch.export.save(program, request.path, extra_files={METADATA_FILE: about})
    write_files(inputs, request.path.parent)
    loaded = torch.export.load(request.path).module()

    def predict(examples: Examples) -> np.ndarray:
        with torch.no_grad():
            found = [
                loaded(*(torch.from_numpy(arrays[given.name]) for given in inputs.inputs))
                for arrays in batches_of(inputs, examples)
            ]
        return np.asarray(torch.cat([one[0] if isinstance(one, tuple) else one for one in found]).numpy())

    return predict
