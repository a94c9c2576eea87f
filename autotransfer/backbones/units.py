"""The modules that a backbone calls, in order, with what they return in outline."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autotransfer.backbones.inputs import but_last, rows_of
from autotransfer.backbones.outlines import Outline, outline, outlines_of
from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import Inputs

__all__ = ["Unit", "call_order", "outlined_units"]


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A called module whose parameters all lie in one stage (or that has none), as it was seen in a forward pass.

    Attributes:
        name: Its name in the backbone.
        stage: The stage; None without parameters.
        outputs: What each of its calls returned, in outline.
        runs: Whether it runs in the replay, too, since what it returns depends on shapes alone, as angles of positions.
    """

    name: str
    stage: int | None
    outputs: list[Any]
    runs: bool = False


def outlined_units(backbone: Backbone, inputs: Inputs, shorter: Inputs | None) -> tuple[list[Unit], list[float]]:
    """Return the units in call order with the outlines of what they return, and the seconds before each.

    Args:
        backbone: The backbone, in eval mode.
        inputs: Inputs (N, ...), N >= 3, of which all but the last example pass.
        shorter: All but the last example, one position shorter; None where examples have no lengths.

    Raises:
        ValueError: Other modules are called for examples of another length.
    """
    rows = rows_of(inputs) - 1
    units, seconds = call_order(backbone, but_last(inputs))
    if shorter is None:
        return [replace(unit, outputs=outlines_of(unit.outputs, rows)) for unit in units], seconds
    more, less = ({u.name: u for u in call_order(backbone, given)[0]} for given in (inputs, shorter))
    if not more.keys() == less.keys() == {unit.name for unit in units}:
        raise ValueError("other modules are called for examples of another length")
    found = []
    for unit in units:
        outputs = outlines_of(unit.outputs, rows, more[unit.name].outputs, less[unit.name].outputs)
        tensors = [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Outline)]
        shapes_alone = unit.stage is None and bool(tensors) and not any(t.per_row for t in tensors)
        found.append(replace(unit, outputs=outputs, runs=shapes_alone))
    return found, seconds


def call_order(backbone: Backbone, inputs: Inputs) -> tuple[list[Unit], list[float]]:
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
            outputs.setdefault(name, []).append(pytree.tree_map_only(Tensor, outline, output))

        hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    begin = _now(device)
    try:
        backbone(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    end = _now(device)
    units: list[Unit] = []

    def visit(name: str, module: nn.Module) -> None:
        stages = {stage[id(parameter)] for parameter in module.parameters()}
        if name in started and len(stages) <= 1:
            units.append(Unit(name=name, stage=next(iter(stages), None), outputs=outputs[name]))
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
