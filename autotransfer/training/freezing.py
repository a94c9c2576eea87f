"""Application of a freeze plan: trainable parameters, training mode and learning rates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from autotransfer.contract.backbone import Backbone
from autotransfer.contract.specs import FreezePlan
from autotransfer.errors import PluginError
from autotransfer.training.adapters import base_name, is_adapter

__all__ = ["check_plan", "freeze", "parameter_groups", "train_mode"]


def check_plan(plan: FreezePlan, stages: int, policy: str) -> FreezePlan:
    """Check a plan for a number of stages, and return the plan.

    Raises:
        PluginError: The plan is invalid.
    """
    if not isinstance(plan, FreezePlan):
        raise PluginError(f"The freeze policy {policy!r} plans a {type(plan).__name__}; expected a FreezePlan.")
    starts = [phase.start for phase in plan.phases]
    if not starts or starts[0] != 0 or starts != sorted(starts) or starts[-1] >= 1:
        raise PluginError(
            f"The freeze policy {policy!r} plans phases that start at {starts}: 0 first, rising, below 1."
        )
    if not all(0 <= phase.depth <= stages for phase in plan.phases):
        raise PluginError(f"The freeze policy {policy!r} plans a depth outside 0..{stages}: {plan.phases}.")
    if plan.learning_rates and len(plan.learning_rates) != stages:
        raise PluginError(f"The freeze policy {policy!r} gives {len(plan.learning_rates)} factors for {stages} stages.")
    if (plan.trained == "adapters") != (plan.adapters is not None):
        raise PluginError(f"The freeze policy {policy!r} plans adapters where they train, and only there.")
    return plan


def depth_at(plan: FreezePlan, epoch: int, epochs: int) -> int:
    """Return the number of frozen leading stages in an epoch; the first epoch is 0."""
    return [phase.depth for phase in plan.phases if phase.start * epochs <= epoch][-1]


def freeze(backbone: Backbone, plan: FreezePlan, depth: int) -> None:
    """Set ``requires_grad`` of the parameters that the plan trains while ``depth`` stages are frozen."""
    norms = {name for name, module in backbone.named_modules() if _is_norm(module)}
    for name, parameter in backbone.named_parameters():
        if plan.trained == "adapters":
            allowed = is_adapter(name)
        else:
            allowed = plan.trained == "all" or name.endswith("bias") or name.rpartition(".")[0] in norms
        parameter.requires_grad_(allowed and backbone.stage_of(base_name(name)) >= depth)


def train_mode(backbone: Backbone, plan: FreezePlan, depth: int, *, update_norms: bool) -> None:
    """Put the training stages into training mode; frozen stages and their statistics stay in eval mode.

    Args:
        backbone: The backbone.
        plan: Freeze plan; statistics are not updated where only norms and biases or adapters train.
        depth: Number of frozen leading stages.
        update_norms: Whether batch norms of the training stages use and update batch statistics.
    """
    backbone.eval()
    update = update_norms and plan.trained == "all"
    for module in _training_modules(backbone, depth):
        module.train()
        for inner in module.modules():
            if _has_statistics(inner) and not update:
                inner.eval()


def parameter_groups(
    backbone: Backbone, head: nn.Module, plan: FreezePlan, *, lr: float, backbone_lr: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Return parameter groups with a learning rate for each stage; one-dimensional parameters have no weight decay.

    Parameters of stages that a later phase unfreezes are included; without gradients, they do not change.
    """
    factors = plan.learning_rates or (1.0,) * len(backbone.stages)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}

    def add(parameter: nn.Parameter, rate: float) -> None:
        groups.setdefault((rate, weight_decay if parameter.ndim > 1 else 0.0), []).append(parameter)

    for parameter in head.parameters():
        add(parameter, lr)
    for name, parameter in backbone.named_parameters():
        trains = plan.adapters is None or is_adapter(name)
        if trains and (stage := backbone.stage_of(base_name(name))) >= plan.depth:
            add(parameter, lr * backbone_lr * factors[stage])
    return [{"params": p, "lr": rate, "weight_decay": decay} for (rate, decay), p in groups.items()]


def _training_modules(backbone: Backbone, depth: int) -> Iterator[nn.Module]:
    """Yield the largest modules whose parameters all lie in training stages."""

    def visit(prefix: str, module: nn.Module) -> Iterator[nn.Module]:
        stages = {backbone.stage_of(base_name(f"{prefix}{name}")) for name, _ in module.named_parameters()}
        if stages and min(stages) >= depth:
            yield module
        elif stages and max(stages) >= depth:
            for name, child in module.named_children():
                yield from visit(f"{prefix}{name}.", child)

    # The backbone itself stays in eval mode, since its ``forward`` may differ in training mode.
    for name, child in backbone.named_children():
        yield from visit(f"{name}.", child)


def _has_statistics(module: nn.Module) -> bool:
    """Whether a module normalises with running statistics, as batch norm does."""
    return hasattr(module, "running_var")


def _is_norm(module: nn.Module) -> bool:
    """Whether a module is a normalisation layer; a network called ``NormFreeNet`` is not."""
    inside = any(True for child in module.children() for _ in child.parameters())
    named = isinstance(module, (nn.LayerNorm, nn.GroupNorm)) or "norm" in type(module).__name__.lower()
    return (named or _has_statistics(module)) and not inside
