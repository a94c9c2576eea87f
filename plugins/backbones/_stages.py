"""The ordered stages of a timm model: which of them each parameter and buffer belongs to, and what to call them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile

from timm.models import group_parameters
from torch import Tensor, nn

__all__ = ["Stages", "find_stages", "reached"]


@dataclass(frozen=True, kw_only=True)
class Stages:
    """Stages in order.

    Attributes:
        names: Readable, unique names; stage 0 is nearest the input.
        of: Stage of each parameter and buffer, by its name in the model.
    """

    names: tuple[str, ...]
    of: Mapping[str, int]


def reached(output: Tensor) -> set[int]:
    """Return the ``id`` of every parameter that took part in computing ``output``, read from its autograd graph."""
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

    timm's own coarse groups are the stages: parts of a hierarchical net, single blocks of a plain transformer. A group
    without parameters that the feature map depends on is no place to cut: it joins its successor, or the last stage
    when only pooling uses it.

    Args:
        model: A timm model.
        mapped: ``id`` of the parameters that the feature map depends on.
        pooled: ``id`` of the parameters that the pooled features depend on.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    groups = _groups(model)
    group_of = {id(parameters[name]): group for name, group in groups.items()}
    alive = sorted({group_of[key] for key in mapped if key in group_of}) or [0]
    last = len(alive) - 1

    def stage(parameter: nn.Parameter) -> int:
        if id(parameter) in pooled - mapped:
            return last
        return min(bisect_left(alive, group_of[id(parameter)]), last)

    of = {name: stage(parameter) for name, parameter in parameters.items()}
    of |= {name: _nearest(name, of) for name, _ in model.named_buffers(remove_duplicate=False)}
    members: list[list[str]] = [[] for _ in alive]
    for name, parameter in parameters.items():
        if id(parameter) in mapped:
            members[of[name]].append(name)
    return Stages(names=_names(members), of=of)


def _groups(model: nn.Module) -> dict[str, int]:
    """Return timm's group of each parameter, or the child that holds it where timm gives none."""
    try:
        groups: dict[str, int] = group_parameters(model, model.group_matcher(coarse=True), reverse=True)
    except (AttributeError, AssertionError):  # a few families have no matcher, or refuse coarse groups
        groups = {}
    if len(set(groups.values())) < 2:
        children: dict[str, int] = {}
        groups = {
            name: children.setdefault(_child(name), len(children)) if "." in name else 0  # tokens and positions
            for name, _ in model.named_parameters()
        }
    return groups


def _child(name: str) -> str:
    """Return the child that a name lies in; one of a list where the child is a list: ``stages.2``, ``head``."""
    parts = name.split(".")
    return ".".join(parts[:2]) if len(parts) > 1 and parts[1].isdigit() else parts[0]


def _nearest(buffer: str, of: Mapping[str, int]) -> int:
    """Return the stage of the parameters beside a buffer, or else of the first ones in the module around it."""
    module = buffer
    while module:
        module = module.rpartition(".")[0]
        prefix = f"{module}." if module else ""
        beside = [stage for name, stage in of.items() if name.startswith(prefix)]
        if beside:
            return min(beside)
    return 0


def _names(members: Sequence[list[str]]) -> tuple[str, ...]:
    """Name each stage after the outermost module that holds it alone, or else after the child that holds most of it."""
    names: list[str] = []
    for stage, parameters in enumerate(members):
        others = [name for other in members if other is not parameters for name in other]
        children = Counter(map(_child, parameters))
        prefixes = accumulate(_common_module(parameters), lambda outer, inner: f"{outer}.{inner}")
        alone = (prefix for prefix in prefixes if not any(name.startswith(f"{prefix}.") for name in others))
        fallback = "stem" if stage == 0 else max(children, key=lambda child: children[child])
        name = next(alone, fallback)
        names.append(name if name not in names else f"{name}#{stage}")
    return tuple(names)


def _common_module(parameters: list[str]) -> list[str]:
    """Return the path of the innermost module that holds all of the parameters."""
    modules = [name.split(".")[:-1] for name in parameters]
    return [names[0] for names in takewhile(lambda names: len(set(names)) == 1, zip(*modules, strict=False))]
