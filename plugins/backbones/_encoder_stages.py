"""The stages of an encoder of transformers: what comes before its blocks, then each block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

__all__ = ["EncoderStages", "find_stages"]


@dataclass(frozen=True, kw_only=True)
class EncoderStages:
    """Stages in order.

    Attributes:
        names: Unique names; stage 0 is nearest the input.
        of: Stage of each parameter and buffer, by name.
    """

    names: tuple[str, ...]
    of: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class _Call:
    """The first call of a module in a forward pass.

    Attributes:
        order: Its place among the first calls.
        shapes: Shapes of the tensors that it returned.
    """

    order: int
    shapes: tuple[torch.Size, ...]


def find_stages(model: nn.Module, run: Callable[[int], Any]) -> EncoderStages:
    """Divide an encoder into stages, and free modules that give the same for all examples from hooks.

    Stage 0 is what comes before the blocks; the last stage holds what follows them. Blocks that share their weights, as
    those of ALBERT do, are one stage. Where a layer takes part between two blocks, as in some DeBERTa models, the
    blocks before it belong to stage 0.

    Tables of positions, such as rotary embeddings, are made from the lengths alone and serve several blocks. They run
    without hooks, so that a cut leaves them to be made anew where the blocks after it need them.

    Args:
        model: The encoder, in eval mode.
        run: Runs the encoder on so many examples.
    """
    blocks = _blocks(model)
    inside = [f"{blocks}.{position}" for position in range(len(model.get_submodule(blocks)))]  # type: ignore[arg-type]
    few, many = _first_calls(model, lambda: run(2)), _first_calls(model, lambda: run(3))
    for name, call in few.items():
        outside = not name.startswith((f"{blocks}.", "embeddings."))
        if outside and call.shapes and name in many and call.shapes == many[name].shapes:
            _unhook(model.get_submodule(name))
            del many[name]
    order = [many[name].order for name in inside if name in many]
    used = [name for name in inside if name in many]
    between = [
        call.order
        for name, call in many.items()
        if not f"{blocks}.".startswith(f"{name}.") and not name.startswith(f"{blocks}.") and _has_own(model, name)
    ]
    merged = max((sum(each < place for each in order) for place in between if place < order[-1]), default=0)
    of = {
        name: _stage(name, blocks, used, merged, many, order)
        for name in (*dict(model.named_parameters(remove_duplicate=False)), *dict(model.named_buffers()))
    }
    stem = "embeddings" if hasattr(model, "embeddings") else "stem"
    return EncoderStages(names=(stem, *used[merged:]), of=of)


def _stage(name: str, blocks: str, used: list[str], merged: int, calls: Mapping[str, _Call], order: list[int]) -> int:
    """Return the stage of a parameter or buffer."""
    last = len(used) - merged
    if name.startswith(f"{blocks}."):
        block = ".".join(name.split(".")[: blocks.count(".") + 2])
        return max(used.index(block) + 1 - merged, 0) if block in used else last
    module = name
    while module := module.rpartition(".")[0]:
        if module in calls and not blocks.startswith(f"{module}."):
            return last if calls[module].order > order[-1] else 0
    return 0


def _blocks(model: nn.Module) -> str:
    """Return the name of the list of modules that holds most parameters; of equal ones, the outermost.

    Raises:
        ValueError: The model has no list of blocks.
    """
    lists = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    sizes: dict[str, int] = {name: sum(p.numel() for p in module.parameters()) for name, module in lists.items()}
    if not sizes:
        raise ValueError("it has no list of blocks")
    return max(sizes, key=lambda name: sizes[name])


def _has_own(model: nn.Module, name: str) -> bool:
    return any(True for _ in model.get_submodule(name).parameters(recurse=False))


def _first_calls(model: nn.Module, run: Callable[[], Any]) -> dict[str, _Call]:
    """Return the first call of each module that is called within the model."""
    started: dict[str, int] = {}
    calls: dict[str, _Call] = {}
    hooks = []
    for name, module in model.named_modules():
        if not name:
            continue

        def enter(module: nn.Module, args: Any, name: str = name) -> None:
            started.setdefault(name, len(started))

        def leave(module: nn.Module, args: Any, output: Any, name: str = name) -> None:
            shapes = tuple(leaf.shape for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor))
            calls.setdefault(name, _Call(order=started[name], shapes=shapes))

        hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return calls


class _Unhooked(nn.Module):
    """A module whose call runs no hooks."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run ``forward``."""
        return self.forward(*args, **kwargs)


@cache
def _unhooked_class(kind: Any) -> Any:
    return type(kind.__name__, (_Unhooked, kind), {"__module__": kind.__module__})


def _unhook(module: nn.Module) -> None:
    if not isinstance(module, _Unhooked):
        kind: Any = type(module)
        module.__class__ = _unhooked_class(kind)
