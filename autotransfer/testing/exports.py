"""The conformance check of what a modality says of exported models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from autotransfer.contract.export_inputs import ExportInputs
from autotransfer.contract.modality import InputFormat, Inputs, Item, Modality, Store
from autotransfer.errors import ExportError
from autotransfer.testing.rules import require

__all__ = ["check_export_inputs"]

_CPU = torch.device("cpu")
# Mean difference of inputs, as a share of their standard deviation: a few values are rounded to another whole number.
_MAX_RELATIVE_DIFFERENCE = 1e-3


def check_export_inputs(
    name: str, modality: Modality, items: Sequence[Item], formats: Sequence[InputFormat], store: Store
) -> None:
    """Check that what exported models make of arrays is what a store gives; a modality without exports passes.

    Args:
        name: The modality in messages.
        modality: The modality.
        items: Examples as they are given to ``load``.
        formats: How backbones want their inputs.
        store: The examples, read.
    """
    for how in formats:
        try:
            exported = modality.export_inputs([how], store.reading)
        except ExportError:
            continue  # a refusal that says what to do
        if exported is None:
            return
        decoded = list(exported.decoded(items))
        names = [f"example {number}" for number in range(len(decoded))]
        again = modality.load(decoded, names, [how], options={}, reading=store.reading, strict=True)
        done = 0
        for arrays in exported.arrays(decoded):
            count = _check_arrays(name, exported, arrays)
            _check_views(name, exported, arrays, again, how, slice(done, done + count))
            done += count
        require(done == len(items), name, f"arrays() yields a row for each of {len(items)} examples; got {done}")


def _check_arrays(name: str, exported: ExportInputs, arrays: Mapping[str, np.ndarray]) -> int:
    """Check arrays against what is said of them, and return the number of rows."""
    known = [given.name for given in exported.inputs]
    require(sorted(arrays) == sorted(known), name, f"arrays() yields the inputs {known}; got {sorted(arrays)}")
    for given in exported.inputs:
        array = arrays[given.name]
        good = str(array.dtype) == given.dtype and array.ndim == 1 + len(given.axes)
        for length, axis in zip(array.shape[1:], given.axes, strict=False):
            limits = (axis, axis) if isinstance(axis, int) else (axis.least, axis.greatest or length)
            good = good and limits[0] <= length <= limits[1]
        rule = f"the input {given.name!r} is {given.dtype} of the axes {given.axes}"
        require(good, name, f"{rule}; got {array.dtype} of the shape {array.shape}")
    rows = {len(array) for array in arrays.values()}
    require(len(rows) == 1, name, f"all inputs have a row for each example; got {sorted(rows)}")
    return rows.pop()


def _check_views(
    name: str, exported: ExportInputs, arrays: Mapping[str, np.ndarray], store: Store, how: InputFormat, rows: slice
) -> None:
    read = exported.reader()(*(torch.from_numpy(arrays[given.name]) for given in exported.inputs))
    for view in store.modality.views:
        found, expected = exported.view(how, view)(read), store.inputs(rows, how, _CPU, view)
        require(_alike(found, expected), name, f"export_inputs() makes the inputs that a store gives (view {view!r})")


def _alike(found: Inputs, expected: Inputs) -> bool:
    """Whether inputs are equal but for a few values that are rounded to another whole number."""
    one, other = ({"": each} if isinstance(each, Tensor) else dict(each) for each in (found, expected))
    if one.keys() != other.keys() or any(one[key].shape != other[key].shape for key in one):
        return False
    for key, tensor in other.items():
        if not tensor.is_floating_point():
            if not torch.equal(one[key], tensor):
                return False
        elif float((one[key] - tensor).abs().mean()) > _MAX_RELATIVE_DIFFERENCE * max(float(tensor.std()), 1e-12):
            return False
    return True
