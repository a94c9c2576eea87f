"""Inputs of a backbone, a tensor or several by name: what is the same to do with both."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import Inputs

__all__ = [
    "but_last",
    "cells",
    "dense",
    "each",
    "joined",
    "laid_out",
    "length_of",
    "mask_of",
    "moved",
    "pooled",
    "rows_of",
    "shortened",
    "without_padding",
]


def each(change: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    """Return the inputs with each tensor changed."""
    if isinstance(inputs, Tensor):
        return change(inputs)
    return {name: change(tensor) for name, tensor in inputs.items()}


def but_last(inputs: Inputs) -> Inputs:
    """Return the inputs without the last example."""
    return each(lambda tensor: tensor[:-1], inputs)


def rows_of(inputs: Inputs) -> int:
    """Return the number of examples."""
    # Not len(): it would make a fixed number of a batch size that is free in an export.
    return (inputs if isinstance(inputs, Tensor) else next(iter(inputs.values()))).shape[0]


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


def dense(features: Tensor) -> Tensor:
    """Return features (N, width) with all their zeros: those of some backbones are sparse."""
    return features if features.layout == torch.strided else features.to_dense()


def mask_of(inputs: Inputs | None) -> Tensor | None:
    """Return the mask (rows, L) of inputs of unequal length: the positions that are there; None without one."""
    mask = None if inputs is None or isinstance(inputs, Tensor) else inputs.get("mask")
    return mask if mask is not None and mask.dtype == torch.bool and mask.ndim == 2 else None


def length_of(inputs: Inputs | None) -> int | None:
    """Return the number of positions of inputs with a mask; None without one."""
    return None if (mask := mask_of(inputs)) is None else mask.shape[1]


def shortened(inputs: Inputs, length: int) -> Inputs:
    """Return inputs with a mask without the positions behind a length."""
    whole = length_of(inputs)
    return each(lambda t: t[:, :length] if t.ndim > 1 and t.shape[1] == whole else t, inputs)


def without_padding(features: Tensor, mask: Tensor | None) -> Tensor:
    """Return features (rows, L, ...) with zeros where nothing is there; others as they are."""
    if mask is None or features.ndim < 3 or features.shape[:2] != mask.shape:
        return features
    return features.masked_fill(~mask[(...,) + (None,) * (features.ndim - 2)], 0.0)


def cells(features: Tensor, mask: Tensor, count: int) -> Tensor:
    """Average features (rows, L, C) over a fixed number of cells (rows, count, C), each row over its own length.

    Of a row with fewer positions than cells, each position is a cell, and the mean of the row fills up the others. So
    an example has the same cells whatever others are in its batch.
    """
    lengths, device = mask.sum(1, keepdim=True)[..., None], mask.device
    cell = torch.arange(count, device=device)[:, None]
    position = torch.arange(mask.shape[1], device=device)
    start, end = cell * lengths // count, -(-(cell + 1) * lengths // count)
    # Where there are fewer positions than cells. Not torch.where: onnxruntime has none of truth values.
    there, few = position < lengths, lengths < count
    own = ((cell < lengths) & (position == cell)) | ((cell >= lengths) & there)
    within = (few & own) | (~few & (start <= position) & (position < end))
    weights = within.to(features.dtype)
    return (weights / weights.sum(2, keepdim=True).clamp(min=1.0)) @ without_padding(features, mask)


def laid_out(backbone: Backbone, features: Tensor, inputs: Inputs | None, positions: int | None) -> Tensor:
    """Return the result of ``forward_map`` as a map (N, C, h, w) that holds no padding.

    Args:
        backbone: The backbone.
        features: What ``forward_map`` returned.
        inputs: The inputs, or what of them is given to pooling; None where that is nothing.
        positions: Number of cells in place of the positions of inputs of unequal length.
    """
    mask = mask_of(inputs)
    if mask is not None and positions is not None and features.ndim == 3 and features.shape[:2] == mask.shape:
        features = cells(features, mask, positions)
    return backbone.as_map(features)
