"""Models as ONNX, which runs in onnxruntime and in many other programs, on every kind of device."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autotransfer.contract.export_inputs import ExportInputs
from autotransfer.data.examples import Examples
from autotransfer.errors import ExportError
from autotransfer.model.export.exporters import ExportRequest, Predict
from autotransfer.model.export.metadata import inputs_to_json, write_files
from autotransfer.model.export.pipeline import ExportedModel, export_inputs_of
from autotransfer.model.export.tracing import BATCH, batches_of, traced
from autotransfer.runtime.text import one_line

__all__ = ["write"]

# From 18 on, there is an antialiased Resize; from 20 on, GELU is one node.
_OPSET = 20
# Larger models keep their weights in a file beside: a file of ONNX holds 2 GB.
_MAX_BYTES_IN_ONE_FILE = 1_500_000_000
_TRACE = "pkg.torch.onnx.stack_trace"


def write(request: ExportRequest) -> Predict:
    """Write a model; see ``WriteFormat``."""
    inputs = export_inputs_of(request.model)
    module = ExportedModel(request.model, inputs)
    program = traced(module, inputs, request.examples)
    size = sum(tensor.nbytes for tensor in program.state_dict.values())
    try:
        with _quiet_exporter():
            made = torch.onnx.export(
                program,
                input_names=[given.name for given in inputs.inputs],
                output_names=request.about["outputs"],
                opset_version=_OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # the exporter has no form for some operators
        raise ExportError(f"The model cannot be written as ONNX: {type(error).__name__}: {one_line(error)}") from error
    assert made is not None
    _name_axes(made.model.graph, inputs)
    _remove_traces(made.model.graph)
    for key, value in _properties(request.about, inputs).items():
        made.model.metadata_props[key] = value
    made.save(str(request.path), external_data=size > _MAX_BYTES_IN_ONE_FILE)
    write_files(inputs, request.path.parent)
    return _runner(request.path, inputs)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep what the exporter warns of, its own parts and what it does not simplify, from users."""
    exporter = logging.getLogger("onnxscript")
    level = exporter.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exporter.setLevel(logging.ERROR)
        try:
            yield
        finally:
            exporter.setLevel(level)


def _remove_traces(graph: Any) -> None:
    """Remove where in the code each node was made, which names folders of the machine."""
    for node in graph:
        node.metadata_props.pop(_TRACE, None)
        for attribute in node.attributes.values():
            if attribute.type.name == "GRAPH":
                _remove_traces(attribute.value)


def _name_axes(graph: Any, inputs: ExportInputs) -> None:
    """Give free axes the names that the modality has for them, in place of torch's symbols."""
    names: dict[str, str] = {}
    for value, given in zip(graph.inputs, inputs.inputs, strict=True):
        axes = (BATCH, *(axis if isinstance(axis, int) else axis.name for axis in given.axes))
        symbols = (str(getattr(length, "value", length)) for length in value.shape)
        names |= {symbol: axis for symbol, axis in zip(symbols, axes, strict=True) if isinstance(axis, str)}
    for value in (*graph.inputs, *graph.outputs, *(one for node in graph.all_nodes() for one in node.outputs)):
        for position, length in enumerate(value.shape or ()):
            if (name := names.get(str(getattr(length, "value", length)))) is not None:
                value.shape[position] = name


def _properties(about: Mapping[str, Any], inputs: ExportInputs) -> dict[str, str]:
    """Return what the file says of itself: a JSON text for each entry."""
    return {key: json.dumps(value) for key, value in {**about, "inputs": inputs_to_json(inputs)}.items()}


def _runner(path: Path, inputs: ExportInputs) -> Predict:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def predict(examples: Examples) -> np.ndarray:
        found = [session.run(None, dict(arrays))[0] for arrays in batches_of(inputs, examples)]
        return np.concatenate(found)

    return predict
