"""A model as torch traces it, with free lengths: of the batch, and of what the modality leaves free."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from autotransfer.contract.export_inputs import ExportAxis, ExportInputs
from autotransfer.data.examples import Examples
from autotransfer.errors import ExportError
from autotransfer.model.export.pipeline import ExportedModel
from autotransfer.runtime.text import one_line

__all__ = ["BATCH", "batches_of", "dynamic_axes", "traced"]

BATCH = "batch"
"""Name of the axis of the examples."""


def traced(model: ExportedModel, inputs: ExportInputs, examples: Examples) -> ExportedProgram:
    """Trace a model on one of its examples.

    Raises:
        ExportError: A part of it cannot be traced.
    """
    sample = _sample(inputs, examples)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters of them is seen in the comparison
            model(*sample)  # some networks keep what they compute in their first pass, which cannot be traced
            return torch.export.export(model, sample, dynamic_shapes=(dynamic_axes(inputs),), strict=False)
    except Exception as error:  # models are code of others: tracing fails in every way
        backbones = sorted({type(network.backbone).__name__ for network in model.networks})
        raise ExportError(
            f"torch cannot trace the model ({', '.join(backbones)}): {type(error).__name__}: {one_line(error)} "
            "Name other backbones or heads (--backbones, --heads), or leave out the ensemble (--no-ensemble)."
        ) from error


def dynamic_axes(inputs: ExportInputs) -> tuple[dict[int, Any], ...]:
    """Return the free axes of each input by their position, as ``torch.export`` takes them."""
    known: dict[str, Any] = {BATCH: Dim(BATCH)}

    def axis(given: ExportAxis) -> Any:
        limits = {"min": given.least} | ({} if given.greatest is None else {"max": given.greatest})
        return known.setdefault(given.name, Dim(given.name, **limits))

    return tuple(
        {0: known[BATCH]} | {i: axis(each) for i, each in enumerate(given.axes, 1) if isinstance(each, ExportAxis)}
        for given in inputs.inputs
    )


def batches_of(inputs: ExportInputs, examples: Examples) -> Iterator[Mapping[str, np.ndarray]]:
    """Yield the arrays of examples, batch by batch, by the name of the input."""
    yield from inputs.arrays(list(examples.items))


def _sample(inputs: ExportInputs, examples: Examples) -> tuple[Tensor, ...]:
    """Return two rows of each input: torch takes an axis of length 1 for a fixed one."""
    arrays = next(batches_of(inputs, examples))
    return tuple(torch.from_numpy(np.concatenate([arrays[given.name][:1]] * 2)) for given in inputs.inputs)
