"""Low-rank adapters of linear layers (Hu et al., LoRA, ICLR 2022).

A frozen weight W is used as W + s B A, with A (rank, inputs) drawn at random and B (outputs, rank) zero at first, so that
the network begins as the frozen one. Only A and B train. ``merge_adapters`` adds the product to the weight, so that a
trained network has the tensors of any other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import Inputs
from autotransfer.contract.specs import Adapters, FreezePlan
from autotransfer.errors import ConfigError

__all__ = ["add_adapters", "base_name", "is_adapter", "merge_adapters"]

# Parts of the names of the layers that make queries and values of attention, alone or with keys in one matrix.
_ATTENTION = frozenset(
    {"in_proj", "q", "q_lin", "q_proj", "qkv", "query", "query_proj", "to_q", "to_qkv", "to_v"}
    | {"v", "v_lin", "v_proj", "value", "value_proj", "wqkv"}
)
# Scale of the product for a rank of 1; divided by the rank, so that one learning rate suits all ranks.
_ALPHA = 16.0
_A, _B = "adapter_a", "adapter_b"


class _AdaptedLinear(nn.Linear):
    """A linear layer with an adapter; its weight and its bias keep their names."""

    adapter_a: Tensor
    adapter_b: Tensor

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        low = F.linear(F.linear(input, self.adapter_a), self.adapter_b)
        return F.linear(input, self.weight, self.bias) + low * (_ALPHA / len(self.adapter_a))


def add_adapters(backbone: Backbone, plan: FreezePlan, inputs: Inputs) -> None:
    """Add an adapter to each linear layer that a plan trains so, in place; nothing is added for other plans.

    Args:
        backbone: In eval mode, on its device.
        plan: What trains.
        inputs: Inputs (N, ...) for a forward pass, which shows what layers are called: some models read their weights.

    Raises:
        ConfigError: No stage that trains has such a layer.
    """
    if plan.adapters is None:
        return
    called = [name for name in _called(backbone, inputs) if _adapts(backbone, name, plan, plan.adapters)]
    if not called:
        raise ConfigError(
            f"The stages from {plan.depth} on of a {type(backbone).__name__} call no linear layer that takes an "
            "adapter: choose another freeze policy for this backbone."
        )
    for name in called:
        linear = backbone.get_submodule(name)
        assert isinstance(linear, nn.Linear)  # nothing else is chosen
        first = torch.empty(plan.adapters.rank, linear.in_features)
        nn.init.kaiming_uniform_(first, a=math.sqrt(5))
        weight = linear.weight
        linear.register_parameter(_A, nn.Parameter(first.to(weight)))
        linear.register_parameter(_B, nn.Parameter(weight.new_zeros(linear.out_features, plan.adapters.rank)))
        linear.__class__ = _AdaptedLinear


def merge_adapters(network: nn.Module) -> None:
    """Add each adapter to the weight of its layer, and remove it."""
    for module in network.modules():
        if isinstance(module, _AdaptedLinear):
            with torch.no_grad():
                module.weight += module.adapter_b @ module.adapter_a * (_ALPHA / len(module.adapter_a))
            del module._parameters[_A], module._parameters[_B]
            module.__class__ = nn.Linear  # type: ignore[assignment]


def is_adapter(parameter: str) -> bool:
    """Whether a name in ``state_dict()`` is of a matrix of an adapter."""
    return parameter.endswith((f".{_A}", f".{_B}"))


def base_name(parameter: str) -> str:
    """Return the name of the weight that an adapter belongs to; other names stay."""
    return f"{parameter.rpartition('.')[0]}.weight" if is_adapter(parameter) else parameter


def _called(backbone: Backbone, inputs: Inputs) -> Iterator[str]:
    """Yield the names of the plain linear layers that a forward pass calls."""
    found: dict[str, None] = {}
    hooks = []
    for name, module in backbone.named_modules():
        if type(module) is nn.Linear:

            def note(module: nn.Module, args: object, name: str = name) -> None:
                found[name] = None

            hooks.append(module.register_forward_pre_hook(note))
    try:
        with torch.no_grad():
            backbone(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    yield from found


def _adapts(backbone: Backbone, name: str, plan: FreezePlan, adapters: Adapters) -> bool:
    if backbone.stage_of(f"{name}.weight") < plan.depth:
        return False
    return adapters.matrices == "all" or name.rpartition(".")[2].lower() in _ATTENTION
