"""Low-rank adapters of linear layers (Hu et al., LoRA, ICLR 2022).

A frozen weight W is used as W + s B A, with A (rank, inputs) drawn at random and B (outputs, rank) zero at first: the
network begins as the frozen one. Only A and B train. ``merge_adapters`` adds the product to the weight, so that a
trained network has the tensors of any other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autotransfer.contract.backbone import Backbone
from autotransfer.contract.specs import FreezePlan
from autotransfer.errors import ConfigError
from autotransfer.training.network import Network

__all__ = ["adapted_layers", "add_adapters", "base_name", "is_adapter", "merge_adapters"]

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


def adapted_layers(backbone: Backbone, plan: FreezePlan, called: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the linear layers that get an adapter: all where there is no attention.

    Args:
        backbone: The backbone.
        plan: What trains, with adapters.
        called: The plain linear layers that a forward pass calls. Other code may read their weights, past an adapter.

    Raises:
        ConfigError: No stage that trains has such a layer.
    """
    assert plan.adapters is not None  # asked for such plans only
    found = [name for name in called if backbone.stage_of(f"{name}.weight") >= plan.depth]
    attention = [name for name in found if name.rpartition(".")[2].lower() in _ATTENTION]
    if found:
        return tuple(attention if attention and plan.adapters.matrices == "attention" else found)
    raise ConfigError(
        f"No stage of a {type(backbone).__name__} from {plan.depth} on has a linear layer for an adapter "
        f"({plan.adapters.matrices}): choose another freeze policy for this backbone."
    )


def add_adapters(backbone: Backbone, rank: int, layers: Iterable[str]) -> None:
    """Add an adapter to each of the linear layers, in place."""
    for name in layers:
        linear = backbone.get_submodule(name)
        assert isinstance(linear, nn.Linear)  # nothing else is chosen
        first = torch.empty(rank, linear.in_features)
        nn.init.kaiming_uniform_(first, a=math.sqrt(5))
        weight = linear.weight
        linear.register_parameter(_A, nn.Parameter(first.to(weight)))
        linear.register_parameter(_B, nn.Parameter(weight.new_zeros(linear.out_features, rank)))
        linear.__class__ = _AdaptedLinear


def merge_adapters(network: Network) -> Network:
    """Add each adapter to the weight of its layer, and remove it; return the network."""
    for module in network.modules():
        if isinstance(module, _AdaptedLinear):
            with torch.no_grad():
                module.weight += module.adapter_b @ module.adapter_a * (_ALPHA / len(module.adapter_a))
            del module._parameters[_A], module._parameters[_B]
            module.__class__ = nn.Linear  # type: ignore[assignment]
    return network


def is_adapter(parameter: str) -> bool:
    """Whether a name in ``state_dict()`` is of a matrix of an adapter."""
    return parameter.endswith((f".{_A}", f".{_B}"))


def base_name(parameter: str) -> str:
    """Return the name of the weight that an adapter belongs to; other names stay."""
    return f"{parameter.rpartition('.')[0]}.weight" if is_adapter(parameter) else parameter
