"""The stages of a timm model: their order, their names, and the stage of each parameter and buffer."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from timm.models import group_parameters
from torch import Tensor, nn

__all__ = ["Stages", "find_stages", "reached"]


@dataclass(frozen=True, kw_only=True)
class Stages:
    """Stages in order.

    Attributes:
        names: Unique names; stage 0 is nearest the input.
        of: Stage of each parameter and buffer, by name.
    """

    names: tuple[str, ...]
    of: Mapping[str, int]


def reached(output: Tensor) -> set[int]:
    """Return the ``id`` of every parameter in the autograd graph of ``output``."""
    found, seen, stack = set(), set(), [output.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        stack.extend(following for following, _ in node.next_functions)
    return found


def find_stages(model: nn.Module, mapped: set[int], pooled: set[int]) -> Stages:
    """Divide a model into stages.

    The stages are timm's coarse groups: parts of a hierarchical network, or single blocks of a plain transformer. A
    group on whose parameters the feature map does not depend joins the next group, or the last stage if only pooling
    uses it.

    Args:
        model: A timm model.
        mapped: ``id`` of the parameters that the feature map depends on.
        pooled: ``id`` of the parameters that the pooled features depend on.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    groups = _groups(model)
    group_of = {id(parameters[name]): group for name, group in groups.items()}
    used = sorted({group_of[key] for key in mapped if key in group_of}) or [0]
    last = len(used) - 1

    def stage(parameter: nn.Parameter) -> int:
        if id(parameter) in pooled - mapped:
            return last
        return min(bisect_left(used, group_of[id(parameter)]), last)

    of = {name: stage(parameter) for name, parameter in parameters.items()}
    of |= {name: _nearest(name, of) for name, _ in model.named_buffers(remove_duplicate=False)}
    members: list[list[str]] = [[] for _ in used]
    for name, parameter in parameters.items():
        if id(parameter) in mapped:
            members[of[name]].append(name)
    return Stages(names=_names(members), of=of)


def _groups(model: Any) -> dict[str, int]:
    """Return timm's group of each parameter; where timm has no groups, the number of the child that holds it."""
    try:
        groups: dict[str, int] = group_parameters(model, model.group_matcher(coarse=True), reverse=True)
    except (AttributeError, AssertionError):  # a few models have no matcher, or refuse coarse groups
        groups = {}
    if len(set(groups.values())) < 2:
        children: dict[str, int] = {}
        groups = {
            name: children.setdefault(_child(name), len(children)) if "." in name else 0  # tokens and positions
            for name, _ in model.named_parameters()
        }
    return groups


def _child(name: str) -> str:
    """Return the child module of a name, or the element of a child that is a list: ``stages.2``, ``head``."""
    parts = name.split(".")
    return ".".join(parts[:2]) if len(parts) > 1 and parts[1].isdigit() else parts[0]


def _nearest(buffer: str, of: Mapping[str, int]) -> int:
    """Return the earliest stage of the parameters in the innermost module around a buffer that has parameters."""
    module = buffer
    while module:
        module = module.rpartition(".")[0]
        prefix = f"{module}." if module else ""
        beside = [stage for name, stage in of.items() if name.startswith(prefix)]
        if beside:
            return min(beside)
    return 0


def _names(members: Sequence[list[str]]) -> tuple[str, ...]:
    """Name each stage by its outermost module that lies in this stage only and holds most of its parameters."""
    found_in = Counter(prefix for parameters in members for prefix in {p for name in parameters for p in _path(name)})
    names: list[str] = []
    for stage, parameters in enumerate(members):
        alone = Counter(next(prefix for prefix in _path(name) if found_in[prefix] == 1) for name in parameters)
        names.append("stem" if stage == 0 and len(alone) > 1 else alone.most_common(1)[0][0])
    return tuple(names)


def _path(name: str) -> Iterator[str]:
    """Yield the modules around a parameter from the outermost on, and the parameter at last."""
    return accumulate(name.split("."), lambda outer, inner: f"{outer}.{inner}")
