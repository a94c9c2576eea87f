"""The boundary: a backbone cut into a frozen prefix that runs once and a suffix that trains."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autotransfer.backbones.inputs import (
    but_last,
    each,
    joined,
    length_of,
    mask_of,
    rows_of,
    shortened,
    without_padding,
)
from autotransfer.backbones.outlines import Outline, blank, outline, outlines_of
from autotransfer.backbones.units import outlined_units
from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import Inputs

__all__ = ["Activation", "Cut", "TOLERANCE"]

Activation = tuple[Tensor, ...]
"""The tensors (N, ...) that cross a boundary."""

TOLERANCE = 1e-4
"""Largest relative difference, in float32, between suffix(prefix(x)) and the whole forward pass."""


# In place of the number of rows that a tensor has for each example: it is made anew from the inputs, not cached.
_JOINED = -1


class _Reached(Exception):
    """Stops a forward pass at the boundary."""


class Cut:
    """A backbone cut at a boundary; usable only if ``exact``.

    The cut works on any backbone that calls its stages as modules: a first pass with hooks finds the units in call
    order. The boundary is the first unit of a stage that trains. The prefix stops there and returns what would go in.
    The suffix replays the backbone's own forward function, with every earlier unit returning NaN tensors that are
    backed by one element, and puts the cached inputs in at the boundary: what leaks around it shows as NaN.

    Whole numbers and truth values among the inputs, such as tokens and their mask, are given to the suffix again, so
    that what the backbone's own code makes of them, such as an attention mask, is made anew and not cached.

    Inputs with a mask (N, L) may be longer or shorter than the recorded ones: a pass of inputs that are one position
    shorter finds which axis of which tensor follows the length. What crosses the boundary follows it in axis 1 or not
    at all, and is not looked at where the mask says that nothing is there.

    Args:
        backbone: In eval mode; it is not changed.
        depth: Number of leading stages before the boundary, 0 < depth < number of stages.
        inputs: Inputs (N, ...) with N >= 3, for the check; floats are float32.
        others: Other inputs (N, ...) of the same shapes, on which the cut is checked; None takes opposite ones.

    Attributes:
        exact: Whether suffix(prefix(x)) equals the whole forward pass.
        reason: Why not; empty when exact.
        seconds: Seconds that an example takes up to the boundary, in float32; one of those that were recorded.
        share: Share of the time of a forward pass that lies before the boundary.
        numbers: How many numbers cross the boundary for each example; for one of those that were recorded.
        follows: Whether each tensor that crosses follows the length of the examples.
        joins: Whether ``suffix`` takes the inputs again.
        length: Number of positions of the recorded inputs; None where examples have no lengths.
    """

    def __init__(self, backbone: Backbone, depth: int, inputs: Inputs, others: Inputs | None = None) -> None:
        self.depth = depth
        self.exact, self.reason, self.seconds, self.share, self.numbers = False, "", 0.0, 0.0, 0
        self.follows: tuple[bool, ...] = ()
        self.joins, self.length = joined(inputs) is not None, length_of(inputs)
        self._rows = rows_of(inputs) - 1  # recorded and checked with different batch sizes
        try:
            with torch.no_grad():
                self._record(backbone, inputs)
                self._refuse_trained(backbone, but_last(inputs))
                # Other inputs than the recorded ones: what depends on them must cross, not be remembered.
                others = each(_opposite, inputs) if others is None else others
                self.reason = self._difference(backbone, others)
                if self.length is not None and not self.reason:
                    self.reason = self._difference(backbone, shortened(others, (self.length + 1) // 2))
        except Exception as error:
            self.reason = f"{type(error).__name__}: {error}".splitlines()[0]
        self.exact = not self.reason

    def prefix(self, backbone: Backbone, inputs: Inputs) -> Activation:
        """Run the frozen stages on inputs (N, ...)."""
        return self._crossing(self._entering(backbone, inputs)[0], rows_of(inputs))

    def numbers_of(self, length: float) -> float:
        """Return how many numbers cross the boundary for an example of so many positions."""
        return self._fixed_numbers + length * self._numbers_of_position

    @contextmanager
    def recorded(self, backbone: Backbone, inputs: Inputs) -> Iterator[list[Tensor]]:
        """Note what crosses the boundary when a batch of inputs passes it within, on its way further."""
        noted: list[Tensor] = []
        rows = rows_of(inputs)

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
        given = None if inputs is None else joined(inputs)
        if self.joins and given is None:
            raise ValueError("the suffix takes whole numbers or truth values among the inputs again: give them")
        dtype = cached[0].dtype

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

        blanks = self._blanks(given, len(cached[0]), cached[0].new_full((1,), float("nan")))
        with self._replaying(backbone, enter, blanks):
            return (forward or backbone)(self._blanked(given, blanks))

    def _blanks(self, inputs: Inputs | None, rows: int, like: Tensor) -> Callable[[Any], Any]:
        """Return what makes NaN tensors of outlines, for so many examples as long as these inputs."""
        length = None if inputs is None else length_of(inputs)
        longer = 0 if length is None or self.length is None else length - self.length
        return lambda outlines: blank(outlines, rows, longer, like)

    def _blanked(self, given: Inputs | None, blanks: Callable[[Any], Any]) -> Inputs:
        """Return inputs of NaN, with the whole numbers and truth values that were given."""
        if isinstance(self._outlines, Outline):
            return blanks(self._outlines) if given is None else given
        known = {} if given is None or isinstance(given, Tensor) else given
        return {name: known[name] if name in known else blanks(one) for name, one in self._outlines.items()}

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

        tensor = inputs if isinstance(inputs, Tensor) else next(iter(inputs.values()))
        blanks = self._blanks(inputs, rows_of(inputs), torch.full((1,), float("nan"), device=tensor.device))
        with suppress(_Reached), self._replaying(backbone, stop, blanks):
            backbone(self._blanked(joined(inputs), blanks))
        return caught

    def _record(self, backbone: Backbone, inputs: Inputs) -> None:
        rows, shorter = rows_of(inputs), self._shorter(inputs)
        fewer = but_last(inputs)
        self._outlines = self._outlines_of_inputs(inputs, shorter)
        units, seconds = outlined_units(backbone, inputs, None if shorter is None else but_last(shorter))
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
            _JOINED if self.joins and _equal(leaf, new) else _parts(a, leaf, rows)
            for a, leaf, new in zip(few, leaves, fresh, strict=True)
        ]
        if all(parts <= 0 for parts in self._parts):
            raise ValueError("nothing that crosses the boundary follows the batch size")
        short = few if shorter is None else self._entering(backbone, but_last(shorter))[0]
        self._count(self._crossing(leaves, rows), self._following(few, short), rows)
        self._constants = [None if parts else leaf for parts, leaf in zip(self._parts, leaves, strict=True)]

    def _shorter(self, inputs: Inputs) -> Inputs | None:
        """Return inputs that are one position shorter; None where examples have no lengths."""
        if self.length is None:
            return None
        if self.length < 2:
            raise ValueError("the probe has a single position: nobody can see what follows the length")
        return shortened(inputs, self.length - 1)

    def _outlines_of_inputs(self, inputs: Inputs, shorter: Inputs | None) -> Any:
        outlines = each(outline, inputs)
        if shorter is None:
            return outlines_of(outlines, rows_of(inputs))
        fewer, less = each(outline, but_last(inputs)), each(outline, but_last(shorter))
        return outlines_of(fewer, self._rows, outlines, less)

    def _following(self, few: list[Any], short: list[Any]) -> list[bool]:
        """Return whether each tensor that crosses follows the length.

        Raises:
            ValueError: One follows it along another axis than the second, or a constant does.
        """
        follows = []
        for whole, less, parts in zip(few, short, self._parts, strict=True):
            if parts == _JOINED or not isinstance(whole, Tensor):
                continue
            sizes = zip(whole.shape, less.shape, strict=True)
            changed = [axis for axis, (size, other) in enumerate(sizes) if size != other]
            if changed and not (parts == 1 and changed == [1] and whole.shape[1] == self.length):
                raise ValueError(f"a tensor {tuple(whole.shape)} crosses that follows the length along {changed}")
            follows += [bool(changed)] if parts else []
        return follows

    def _count(self, crossing: Activation, follows: list[bool], rows: int) -> None:
        sizes = [tensor.numel() // rows for tensor in crossing]
        growing = sum(size for size, grows in zip(sizes, follows, strict=True) if grows)
        self.follows, self.numbers = tuple(follows), sum(sizes)
        self._fixed_numbers, self._numbers_of_position = self.numbers - growing, growing // (self.length or 1)

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
        crossing = zip(self.prefix(backbone, inputs), self.follows, strict=True)
        mask = mask_of(inputs)
        cached = tuple(without_padding(tensor, mask) if grows else tensor for tensor, grows in crossing)
        split = self.suffix(backbone, cached, inputs=inputs)
        if not bool(split.isfinite().all()):
            return "something leaks around the boundary"
        difference = float((split - whole).abs().max() / whole.abs().max().clamp(min=1e-12))
        return "" if difference < TOLERANCE else f"the outputs differ by {difference:.0e}"

    @contextmanager
    def _replaying(
        self, backbone: Backbone, enter: Callable[[Any, Any], Any], blanks: Callable[[Any], Any]
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
                return blanks(next(calls))

            return forward

        patched = [(backbone.get_submodule(unit.name), unit.outputs) for unit in self._before if not unit.runs]
        hook = backbone.get_submodule(self._boundary).register_forward_pre_hook(swap, with_kwargs=True)
        for module, outputs in patched:
            module.forward = skip(module, outputs)
        try:
            yield
        finally:
            hook.remove()
            for module, _ in patched:
                del module.forward


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


def _opposite(tensor: Tensor) -> Tensor:
    """Return other values of the same kind: negative ones, or those from the end to the beginning."""
    return -tensor if tensor.is_floating_point() else tensor.flip(tuple(range(tensor.ndim)))


def _equal(leaf: Any, fresh: Any) -> bool:
    if not isinstance(leaf, Tensor):
        return isinstance(leaf, (bool, int, float, str, type(None))) and type(leaf) is type(fresh) and leaf == fresh
    alike = isinstance(leaf, Tensor) and isinstance(fresh, Tensor) and leaf.dtype == fresh.dtype
    return alike and leaf.shape == fresh.shape and torch.equal(leaf, fresh)


def _as(constant: Any, dtype: torch.dtype) -> Any:
    """Bring a constant that was recorded in float32 to the type of what crosses with it."""
    floating = isinstance(constant, Tensor) and constant.is_floating_point()
    return constant.to(dtype) if floating else constant
