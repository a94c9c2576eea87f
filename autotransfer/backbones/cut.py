"""The boundary: a backbone cut into a frozen prefix that runs once and a suffix that trains."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autotransfer.backbones.inputs import each, joined, rows_of
from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import Inputs

__all__ = ["Activation", "Cut", "TOLERANCE", "call_order"]

Activation = tuple[Tensor, ...]
"""The tensors (N, ...) that cross a boundary."""

TOLERANCE = 1e-4
"""Largest relative difference, in float32, between suffix(prefix(x)) and the whole forward pass."""


# In place of the number of rows that a tensor has for each example: it is made anew from the inputs, not cached.
_JOINED = -1


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

    Whole numbers and truth values among the inputs, such as tokens and their mask, are given to the suffix again, so
    that what the backbone's own code makes of them, such as an attention mask, is made anew and not cached.

    Args:
        backbone: In eval mode; it is not changed.
        depth: Number of leading stages before the boundary, 0 < depth < number of stages.
        inputs: Inputs (N, ...) with N >= 3, for the check; floats are float32.
        others: Other inputs (N, ...) of the same shapes, on which the cut is checked; None takes opposite ones.

    Attributes:
        exact: Whether suffix(prefix(x)) equals the whole forward pass.
        reason: Why not; empty when exact.
        seconds: Seconds that an example takes up to the boundary, in float32.
        share: Share of the time of a forward pass that lies before the boundary.
        numbers: How many numbers cross the boundary for each example.
        joins: Whether ``suffix`` takes the inputs again.
    """

    def __init__(self, backbone: Backbone, depth: int, inputs: Inputs, others: Inputs | None = None) -> None:
        self.depth = depth
        self.exact, self.reason, self.seconds, self.share, self.numbers = False, "", 0.0, 0.0, 0
        self._outlines = each(_outline, inputs)
        self.joins = joined(inputs) is not None
        self._rows = rows_of(inputs) - 1  # recorded and checked with different batch sizes
        try:
            with torch.no_grad():
                self._record(backbone, inputs)
                self._refuse_trained(backbone, _but_last(inputs))
                # Other inputs than the recorded ones: what depends on them must cross, not be remembered.
                self.reason = self._difference(backbone, each(_opposite, inputs) if others is None else others)
        except Exception as error:
            self.reason = f"{type(error).__name__}: {error}".splitlines()[0]
        self.exact = not self.reason

    def prefix(self, backbone: Backbone, inputs: Inputs) -> Activation:
        """Run the frozen stages on inputs (N, ...)."""
        return self._crossing(self._entering(backbone, inputs)[0], rows_of(inputs))

    @contextmanager
    def recorded(self, backbone: Backbone, rows: int) -> Iterator[list[Tensor]]:
        """Note what crosses the boundary when a batch of rows passes it within, on its way further."""
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
        crossing = ((leaf, parts) for leaf, parts in zip(leaves, self._parts, strict=True) if parts > 0)
        return tuple(leaf if parts == 1 else leaf.unflatten(0, (rows, parts)) for leaf, parts in crossing)

    def suffix(
        self,
        backbone: Backbone,
        cached: Activation,
        forward: Callable[[Any], Any] | None = None,
        inputs: Inputs | None = None,
    ) -> Any:
        """Run the stages after the boundary.

        Args:
            backbone: The backbone.
            cached: What ``prefix`` returned.
            forward: The backbone, its ``forward_map``, or a deeper prefix; None for the backbone.
            inputs: The inputs of the same examples, where the cut ``joins`` them; floats in them are not looked at.
        """
        rows, dtype = len(cached[0]), cached[0].dtype

        def enter(args: Any, kwargs: Any) -> Any:
            filled = iter(cached)
            arriving = pytree.tree_leaves((args, kwargs)) if self.joins else self._constants
            leaves = [
                _as(constant, dtype)
                if not parts
                else fresh
                if parts == _JOINED
                else next(filled)
                if parts == 1
                else next(filled).flatten(0, 1)
                for parts, constant, fresh in zip(self._parts, self._constants, arriving, strict=True)
            ]
            return pytree.tree_unflatten(leaves, self._spec)

        like = cached[0].new_full((1,), float("nan"))
        with self._replaying(backbone, enter, rows, like):
            return (forward or backbone)(self._blanked(inputs, rows, like))

    def _blanked(self, inputs: Inputs | None, rows: int, like: Tensor) -> Inputs:
        """Return inputs of NaN, with the whole numbers and truth values that were given."""
        given = None if inputs is None else joined(inputs)
        if self.joins and given is None:
            raise ValueError("the suffix takes whole numbers or truth values among the inputs again: give them")
        if isinstance(self._outlines, Tensor):
            return _blank(self._outlines, rows, self._rows + 1, like) if given is None else given
        known = {} if given is None or isinstance(given, Tensor) else given
        return {
            name: known[name] if name in known else _blank(outline, rows, self._rows + 1, like)
            for name, outline in self._outlines.items()
        }

    def _entering(self, backbone: Backbone, inputs: Inputs) -> tuple[list[Any], Any]:
        """Return what goes into the boundary, flattened, and how it was nested."""
        caught: list[tuple[Any, Any]] = []

        def stop(module: nn.Module, args: Any, kwargs: Any) -> None:
            caught.append((args, kwargs))
            raise _Reached

        hook = backbone.get_submodule(self._boundary).register_forward_pre_hook(stop, with_kwargs=True)
        try:
            backbone(inputs)
        except _Reached:
            pass
        finally:
            hook.remove()
        if not caught:
            raise ValueError(f"the forward pass does not reach {self._boundary!r}")
        return pytree.tree_flatten(caught[0])

    def _made_anew(self, backbone: Backbone, inputs: Inputs) -> list[Any]:
        """Return what arrives at the boundary where all units before it give NaN: the joined inputs suffice for it."""
        caught: list[Any] = []

        def stop(args: Any, kwargs: Any) -> Any:
            caught.extend(pytree.tree_leaves((args, kwargs)))
            raise _Reached

        rows = rows_of(inputs)
        tensor = inputs if isinstance(inputs, Tensor) else next(iter(inputs.values()))
        like = torch.full((1,), float("nan"), device=tensor.device)
        with suppress(_Reached), self._replaying(backbone, stop, rows, like):
            backbone(self._blanked(inputs, rows, like))
        return caught

    def _record(self, backbone: Backbone, inputs: Inputs) -> None:
        fewer, rows = _but_last(inputs), rows_of(inputs)
        units, seconds = call_order(backbone, fewer)
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
        few, _ = self._entering(backbone, fewer)
        leaves, self._spec = self._entering(backbone, inputs)
        fresh = self._made_anew(backbone, inputs) if self.joins else [None] * len(leaves)
        # What follows the batch size crosses the boundary for each example; the rest (masks, tables) is constant.
        self._parts = [
            _JOINED if _equal(leaf, new) else _parts(a, leaf, rows)
            for a, leaf, new in zip(few, leaves, fresh, strict=True)
        ]
        if all(parts <= 0 for parts in self._parts):
            raise ValueError("nothing that crosses the boundary follows the batch size")
        self.numbers = sum(t.numel() for t in self._crossing(leaves, rows)) // rows
        self._constants = [None if parts else leaf for parts, leaf in zip(self._parts, leaves, strict=True)]

    def _refuse_trained(self, backbone: Backbone, inputs: Inputs) -> None:
        """Refuse a prefix that uses a parameter which trains, such as a token of a later stage: it would go stale."""
        copied = copy.deepcopy(backbone)  # some models keep what they computed: none of this graph may stay in ours
        for name, parameter in copied.named_parameters():
            parameter.requires_grad_(copied.stage_of(name) >= self.depth)
        with torch.enable_grad():
            leaves, _ = self._entering(copied, inputs)
        if any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in leaves):
            raise ValueError(f"what crosses the boundary depends on parameters of stage {self.depth} or later")

    def _difference(self, backbone: Backbone, inputs: Inputs) -> str:
        whole = backbone(inputs)
        split = self.suffix(backbone, self.prefix(backbone, inputs), inputs=inputs)
        if not bool(split.isfinite().all()):
            return "something leaks around the boundary"
        difference = float((split - whole).abs().max() / whole.abs().max().clamp(min=1e-12))
        return "" if difference < TOLERANCE else f"the outputs differ by {difference:.0e}"

    @contextmanager
    def _replaying(
        self, backbone: Backbone, enter: Callable[[Any, Any], Any], rows: int, like: Tensor
    ) -> Iterator[None]:
        """Let the units before the boundary return NaN, and ``enter`` say what goes into the boundary instead."""
        reached = False

        def swap(module: nn.Module, args: Any, kwargs: Any) -> Any:
            nonlocal reached
            if reached:
                return None
            reached = True
            return enter(args, kwargs)

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


def call_order(backbone: Backbone, inputs: Inputs) -> tuple[list[_Unit], list[float]]:
    """Run once; return the units in call order and, for each, the seconds before it, with the whole time at the end."""
    device = (inputs if isinstance(inputs, Tensor) else next(iter(inputs.values()))).device
    if device.type != "cpu":
        backbone(inputs)  # the first pass of a GPU sets up each layer, which takes longer than to run it
    stage = {id(parameter): backbone.stage_of(name) for name, parameter in backbone.named_parameters()}
    started: dict[str, float] = {}
    outputs: dict[str, list[Any]] = {}
    hooks = []
    for name, module in backbone.named_modules():
        if not name:
            continue

        def enter(module: nn.Module, args: Any, name: str = name) -> None:
            if name not in started:
                started[name] = _now(device)

        def leave(module: nn.Module, args: Any, output: Any, name: str = name) -> None:
            outputs.setdefault(name, []).append(pytree.tree_map_only(Tensor, _outline, output))

        hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    begin = _now(device)
    try:
        backbone(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    end = _now(device)
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
    """Return the time in seconds, after the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _parts(few: Any, more: Any, rows: int) -> int:
    """Return how many rows of what was seen with ``rows - 1`` and with ``rows`` examples belong to each; 0 for none."""
    if not isinstance(few, Tensor) or few.ndim == 0 or len(few) == len(more):
        return 0
    parts = len(more) // rows
    if (len(few), len(more)) != (parts * (rows - 1), parts * rows) or not few.is_floating_point():
        raise ValueError(
            f"a tensor {tuple(few.shape)} of {few.dtype} crosses that is not so many numbers for each example"
        )
    return parts


def _but_last(inputs: Inputs) -> Inputs:
    return each(lambda tensor: tensor[:-1], inputs)


def _opposite(tensor: Tensor) -> Tensor:
    """Return other values of the same kind: negative ones, or those from the end to the beginning."""
    return -tensor if tensor.is_floating_point() else tensor.flip(tuple(range(tensor.ndim)))


def _equal(leaf: Any, fresh: Any) -> bool:
    alike = isinstance(leaf, Tensor) and isinstance(fresh, Tensor) and leaf.dtype == fresh.dtype
    return alike and leaf.shape == fresh.shape and torch.equal(leaf, fresh)


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
