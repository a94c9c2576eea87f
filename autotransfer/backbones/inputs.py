"""Inputs of a backbone, a tensor or several by name: what is the same to do with both."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import Inputs

__all__ = ["each", "joined", "moved", "pooled", "rows_of"]


def each(change: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    """Return the inputs with each tensor changed."""
    if isinstance(inputs, Tensor):
        return change(inputs)
    return {name: change(tensor) for name, tensor in inputs.items()}


def rows_of(inputs: Inputs) -> int:
    """Return the number of examples."""
    return len(inputs if isinstance(inputs, Tensor) else next(iter(inputs.values())))


def joined(inputs: Inputs) -> Inputs | None:
    """Return what is given again to a suffix, and to pooling: whole numbers and truth values; None where none are."""
    if isinstance(inputs, Tensor):
        return None if inputs.is_floating_point() else inputs
    return {name: tensor for name, tensor in inputs.items() if not tensor.is_floating_point()} or None


def pooled(backbone: Backbone, features: Tensor, inputs: Inputs | None) -> Tensor:
    """Pool what ``forward_map`` returned; a backbone whose inputs have a mask is given them."""
    given = None if inputs is None else joined(inputs)
    return backbone.pool(features) if given is None else backbone.pool(features, given)


def moved(inputs: Inputs, device: torch.device, dtype: torch.dtype | None = None) -> Inputs:
    """Bring inputs to a device, and floats among them to a type."""
    return each(lambda t: t.to(device, dtype if t.is_floating_point() else None), inputs)
