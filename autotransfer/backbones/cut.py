"""The boundary: a backbone cut into a frozen prefix that runs once and a suffix that trains."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autotransfer.contract.backbone import Backbone

__all__ = ["Activation", "Cut", "TOLERANCE", "call_order"]

Activation = tuple[Tensor, ...]
"""The tensors (N, ...) that cross a boundary."""

TOLERANCE = 1e-4
"""Largest relative difference, in float32, between suffix(prefix(x)) and the whole forward pass."""


class _Reached(Exception):
    """Stops a forward pass at the boundary."""


@dataclass(frozen=True, kw_only=True)
class _Unit:
    """A called module whose parameters all lie in one stage (or that has none), as it was seen in a forward pass."""

    name: str
    stage: int | None
    outputs: list[Any]


class Cut:
    """A backbone cut at a boundary; usable only if ``exact``.

    The cut works on any backbone that calls its stages as modules: a first pass with hooks finds the units in call
    order. The boundary is the first unit of a stage that trains. The prefix stops there and returns what would go in.
    The suffix replays the backbone's own forward function, with every earlier unit returning NaN tensors that are
    backed by one element, and puts the cached inputs in at the boundary: what leaks around it shows as NaN.

    Args:
        backbone: In eval mode; it is not changed.
        depth: Number of leading stages before the boundary, 0 < depth < number of stages.
        images: float32 (N, 3, H, W) with N >= 3, for the check.

    Attributes:
        exact: Whether suffix(prefix(x)) equals the whole forward pass.
        reason: Why not; empty when exact.
        seconds: Seconds that an image takes up to the boundary, in float32.
        share: Share of the time of a forward pass that lies before the boundary.
        numbers: How many numbers cross the boundary for each image.
    """

    def __init__(self, backbone: Backbone, depth: int, images: Tensor) -> None:
        self.depth = depth
        self.exact, self.reason, self.seconds, self.share, self.numbers = False, "", 0.0, 0.0, 0
        self._input_shape = tuple(images.shape[1:])
        self._rows = len(images) - 1  # recorded and checked with different batch sizes
        try:
            with torch.no_grad():
                self._record(backbone, images)
                self._refuse_trained(backbone, images[:-1])
                # Other images than the recorded ones: what depends on them must cross, not be remembered.
                self.reason = self._difference(backbone, -images)
        except Exception as error:
            self.reason = f"{type(error).__name__}: {error}".splitlines()[0]
        self.exact = not self.reason

    def prefix(self, backbone: Backbone, images: Tensor) -> Activation:
        """Run the frozen stages on images (N, 3, H, W)."""
        return self._crossing(self._inputs(backbone, images)[0], len(images))

    @contextmanager
    def recorded(self, backbone: Backbone, rows: int) -> Iterator[list[Tensor]]:
        """Note what crosses the boundary when a batch of so many images passes it within, on its way further."""
        noted: list[Tensor] = []

        def note(module: nn.Module, args: Any, kwargs: Any) -> None:
            if not noted:  # a copy: what follows may work in place
                noted.extend(t.clone() for t in self._crossing(pytree.tree_flatten((args, kwargs))[0], rows))

        hook = backbone.get_submodule(self._boundary).register_forward_pre_hook(note, with_kwargs=True)
        try:
            yield noted
        finally:
            hook.remove()

    def _crossing(self, leaves: list[Any], rows: int) -> Activation:
        crossing = ((leaf, parts) for leaf, parts in zip(leaves, self._parts, strict=True) if parts)
        return tuple(leaf if parts == 1 else leaf.unflatten(0, (rows, parts)) for leaf, parts in crossing)

    def suffix(self, backbone: Backbone, cached: Activation, forward: Callable[[Tensor], Any] | None = None) -> Any:
        """Run the stages after the boundary; ``forward`` is the backbone, its ``forward_map``, or a deeper prefix."""
        rows, dtype, filled = len(cached[0]), cached[0].dtype, iter(cached)
        leaves = [
            _as(constant, dtype) if not parts else next(filled) if parts == 1 else next(filled).flatten(0, 1)
            for parts, constant in zip(self._parts, self._constants, strict=True)
        ]
        swapped = pytree.tree_unflatten(leaves, self._spec)
        images = cached[0].new_full((1,) * (1 + len(self._input_shape)), float("nan"))
        with self._replaying(backbone, swapped, rows, images):
            return (forward or backbone)(images.expand(rows, *self._input_shape))

    def _inputs(self, backbone: Backbone, images: Tensor) -> tuple[list[Any], Any]:
        """Return what goes into the boundary, flattened, and how it was nested."""
        caught: list[tuple[Any, Any]] = []

        def stop(module: nn.Module, args: Any, kwargs: Any) -> None:
            caught.append((args, kwargs))
            raise _Reached

        hook = backbone.get_submodule(self._boundary).register_forward_pre_hook(stop, with_kwargs=True)
        try:
            backbone(images)
        except _Reached:
            pass
        finally:
            hook.remove()
        if not caught:
            raise ValueError(f"the forward pass does not reach {self._boundary!r}")
        return pytree.tree_flatten(caught[0])

    def _record(self, backbone: Backbone, images: Tensor) -> None:
        units, seconds = call_order(backbone, images[:-1])
        position = next(
            (i for i, unit in enumerate(units) if unit.stage is not None and unit.stage >= self.depth), None
        )
        if position is None:
            raise ValueError(f"no module of stage {self.depth} or later is called")
        if position == 0:
            raise ValueError("the first unit already belongs to a stage that trains")
        self._boundary, self._before = units[position].name, units[:position]
        late = {unit.stage for unit in units[position:] if unit.stage is not None and unit.stage < self.depth}
        if late:
            raise ValueError(f"stages {sorted(late)} run after the boundary at stage {self.depth}")
        self.seconds, self.share = seconds[position] / self._rows, seconds[position] / seconds[-1]
        few, _ = self._inputs(backbone, images[:-1])
        self._constants, self._spec = self._inputs(backbone, images)
        # What follows the batch size crosses the boundary for each image; the rest (masks, tables) is constant.
        self._parts = [_parts(a, b, len(images)) for a, b in zip(few, self._constants, strict=True)]
        if not any(self._parts):
            raise ValueError("nothing that crosses the boundary follows the batch size")
        self.numbers = sum(t.numel() for t in self._crossing(self._constants, len(images))) // len(images)
        self._constants = [None if parts else leaf for parts, leaf in zip(self._parts, self._constants, strict=True)]

    def _refuse_trained(self, backbone: Backbone, images: Tensor) -> None:
        """Refuse a prefix that uses a parameter which trains, such as a token of a later stage: it would go stale."""
        twin = copy.deepcopy(backbone)  # some models keep what they computed: none of this graph may stay in ours
        for name, parameter in twin.named_parameters():
            parameter.requires_grad_(twin.stage_of(name) >= self.depth)
        with torch.enable_grad():
            leaves, _ = self._inputs(twin, images)
        if any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in leaves):
            raise ValueError(f"what crosses the boundary depends on parameters of stage {self.depth} or later")

    def _difference(self, backbone: Backbone, images: Tensor) -> str:
        whole = backbone(images)
        split = self.suffix(backbone, self.prefix(backbone, images))
        if not bool(split.isfinite().all()):
            return "something leaks around the boundary"
        difference = float((split - whole).abs().max() / whole.abs().max().clamp(min=1e-12))
        return "" if difference < TOLERANCE else f"the outputs differ by {difference:.0e}"

    @contextmanager
    def _replaying(self, backbone: Backbone, swapped: Any, rows: int, like: Tensor) -> Iterator[None]:
        reached = False

        def swap(module: nn.Module, args: Any, kwargs: Any) -> Any:
            nonlocal reached
            if reached:
                return None
            reached = True
            return swapped

        def skip(module: nn.Module, outputs: Sequence[Any]) -> Callable[..., Any]:
            calls = iter(outputs)

            def forward(*args: Any, **kwargs: Any) -> Any:
                if reached:
                    return type(module).forward(module, *args, **kwargs)
                return _blank(next(calls), rows, self._rows, like)

            return forward

        patched = [(backbone.get_submodule(unit.name), unit.outputs) for unit in self._before]
        hook = backbone.get_submodule(self._boundary).register_forward_pre_hook(swap, with_kwargs=True)
        for module, outputs in patched:
            module.forward = skip(module, outputs)
        try:
            yield
        finally:
            hook.remove()
            for module, _ in patched:
                del module.forward


def call_order(backbone: Backbone, images: Tensor) -> tuple[list[_Unit], list[float]]:
    """Run once; return the units in call order and, for each, the seconds before it, with the whole time at the end."""
    if images.device.type != "cpu":
        backbone(images)  # the first pass of a GPU sets up each layer, which takes longer than to run it
    stage = {id(parameter): backbone.stage_of(name) for name, parameter in backbone.named_parameters()}
    started: dict[str, float] = {}
    outputs: dict[str, list[Any]] = {}
    hooks = []
    for name, module in backbone.named_modules():
        if not name:
            continue

        def enter(module: nn.Module, args: Any, name: str = name) -> None:
            if name not in started:
                started[name] = _now(images.device)

        def leave(module: nn.Module, args: Any, output: Any, name: str = name) -> None:
            outputs.setdefault(name, []).append(pytree.tree_map_only(Tensor, _outline, output))

        hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    begin = _now(images.device)
    try:
        backbone(images)
    finally:
        for hook in hooks:
            hook.remove()
    end = _now(images.device)
    units: list[_Unit] = []

    def visit(name: str, module: nn.Module) -> None:
        stages = {stage[id(parameter)] for parameter in module.parameters()}
        if name in started and len(stages) <= 1:
            units.append(_Unit(name=name, stage=next(iter(stages), None), outputs=outputs[name]))
            return
        for child, inner in module.named_children():
            visit(f"{name}.{child}" if name else child, inner)

    visit("", backbone)
    units.sort(key=lambda unit: started[unit.name])
    return units, [started[unit.name] - begin for unit in units] + [end - begin]


def _now(device: torch.device) -> float:
    """Return the time in seconds, when the device has done what it was told to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _parts(few: Any, more: Any, rows: int) -> int:
    """Return how many rows of what was seen with ``rows - 1`` and with ``rows`` images belong to each; 0 for none."""
    if not isinstance(few, Tensor) or few.ndim == 0 or len(few) == len(more):
        return 0
    parts = len(more) // rows
    if (len(few), len(more)) != (parts * (rows - 1), parts * rows) or not few.is_floating_point():
        raise ValueError(
            f"a tensor {tuple(few.shape)} of {few.dtype} crosses that is not so many numbers for each image"
        )
    return parts


def _outline(tensor: Tensor) -> Tensor:
    """Keep a tensor's shape and type without its memory."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")


def _as(constant: Any, dtype: torch.dtype) -> Any:
    """Bring a constant that was recorded in float32 to the type of what crosses with it."""
    floating = isinstance(constant, Tensor) and constant.is_floating_point()
    return constant.to(dtype) if floating else constant


def _blank(output: Any, rows: int, recorded: int, like: Tensor) -> Any:
    """Return NaN tensors of the recorded shapes for another batch size: cheap, and any leak shows."""

    def blank(outline: Tensor) -> Tensor:
        floating, first = outline.is_floating_point(), outline.shape[:1]
        dtype = like.dtype if outline.dtype == torch.float32 else outline.dtype
        if outline.ndim > 1 and first[0] % recorded == 0:
            first = torch.Size([rows * (first[0] // recorded)])
        one = torch.full((1,) * outline.ndim, float("nan") if floating else 0, dtype=dtype, device=like.device)
        return one.expand(*first, *outline.shape[1:])

    return pytree.tree_map_only(Tensor, blank, output)
