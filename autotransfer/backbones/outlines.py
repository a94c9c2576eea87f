"""Outlines of tensors that were seen in a forward pass: their shapes for other examples, without their memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

__all__ = ["Outline", "blank", "outline", "outlines_of"]


@dataclass(frozen=True, kw_only=True)
class Outline:
    """The shape and type of a tensor, and how the shape follows the examples.

    Attributes:
        shape: The shape as it was seen.
        dtype: The type.
        per_row: How many rows of the tensor belong to each example; 0 where the tensor does not follow the examples.
        growth: By how much each axis grows with each position of the examples; the first one for each example, where it
            follows them.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    per_row: int
    growth: tuple[int, ...]

    def sizes(self, rows: int, longer: int) -> list[int]:
        """Return the shape for so many examples that are longer by so many positions."""
        sizes = [size + grows * longer for size, grows in zip(self.shape, self.growth, strict=True)]
        if self.per_row:
            sizes[0] = rows * (self.per_row + self.growth[0] * longer)
        return sizes


def outline(tensor: Tensor) -> Tensor:
    """Keep a tensor's shape and type without its memory."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")


def outlines_of(seen: Any, rows: int, more: Any = None, shorter: Any = None) -> Any:
    """Return the outlines of nested tensors.

    Args:
        seen: The tensors.
        rows: Of how many examples.
        more: The tensors of one example more. None guesses that what is a multiple of the rows follows them.
        shorter: The tensors of examples that are one position shorter; None where all are equally long.

    Raises:
        ValueError: They are nested in another way where there are fewer or shorter examples.
    """
    leaves, spec = pytree.tree_flatten(seen)
    others = [leaves if other is None else _alike(spec, other) for other in (more, shorter)]
    found = [
        leaf if not isinstance(leaf, Tensor) else _outlined(leaf, rows, None if more is None else above, below)
        for leaf, above, below in zip(leaves, *others, strict=True)
    ]
    return pytree.tree_unflatten(found, spec)


def blank(outlines: Any, rows: int, longer: int, like: Tensor) -> Any:
    """Return NaN tensors for other examples: cheap, and any leak shows.

    Args:
        outlines: Nested outlines.
        rows: Number of examples.
        longer: By how many positions they are longer than those that were seen.
        like: A tensor of the type that is used in place of float32, on the device.
    """

    def made(one: Outline) -> Tensor:
        floating = one.dtype.is_floating_point
        dtype = like.dtype if one.dtype == torch.float32 else one.dtype
        value = torch.full((1,) * len(one.shape), float("nan") if floating else 0, dtype=dtype, device=like.device)
        return value.expand(one.sizes(rows, longer))

    return pytree.tree_map_only(Outline, made, outlines)


def _alike(spec: Any, other: Any) -> list[Any]:
    leaves, other_spec = pytree.tree_flatten(other)
    if other_spec != spec:
        raise ValueError("what a module returns is nested in another way for examples of another length")
    return leaves


def _outlined(tensor: Tensor, rows: int, more: Any, shorter: Any) -> Outline:
    shape = tuple(tensor.shape)
    if more is None:
        per_row = shape[0] // rows if len(shape) > 1 and shape[0] % rows == 0 else 0
    else:
        per_row = len(more) - shape[0] if shape else 0
    growth = [size - less for size, less in zip(shape, shorter.shape, strict=True)]
    if per_row:
        growth[0] //= rows
    return Outline(shape=shape, dtype=tensor.dtype, per_row=per_row, growth=tuple(growth))
