"""Linear classifiers within the classification heads of transformers, whose layers have activations between them.

A head of one linear layer holds a linear map as it is. A head of two holds it in one of these forms, the first that
gives the answers of the linear map on a few examples:

* nothing between the layers but a mean: the first layer passes its inputs on;
* an activation with f(z) - f(-z) = z (ReLU, GELU, SiLU): the first layer computes z and -z, the second one subtracts;
* tanh: the first layer computes z times a power of two so small that tanh is linear to the precision of float32;
* a layer norm: beside z and -z, the first layer computes constants so large that the norm divides by a constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["fill_head", "head_layers"]

# Largest difference between the outputs of a head and of the linear map, relative to the largest output.
_MAX_RELATIVE_DIFFERENCE = 2e-5
# Largest input of a tanh: its square, over three, is the relative error.
_MAX_TANH_INPUT = 2.0**-11
# How much larger constants are than outputs, where a layer norm is to divide by a constant.
_CONSTANT_FACTOR = 64.0


@dataclass(frozen=True, kw_only=True)
class _Filling:
    """Weights of the two layers of a head, each a weight (out, in) and a bias (out,)."""

    first: tuple[Tensor, Tensor]
    second: tuple[Tensor, Tensor]


def head_layers(model: nn.Module, encoder: nn.Module, run: Callable[[], Tensor]) -> list[nn.Linear]:
    """Return the linear layers behind an encoder, in the order in which a forward pass calls them."""
    inside = {id(module) for name, module in encoder.named_modules() if not name.startswith("pooler")}
    called: dict[int, nn.Linear] = {}

    def note(module: nn.Module, args: object) -> None:
        assert isinstance(module, nn.Linear)
        called.setdefault(id(module), module)

    outside = [m for m in model.modules() if isinstance(m, nn.Linear) and id(m) not in inside]
    hooks = [module.register_forward_pre_hook(note) for module in outside]
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return list(called.values())


def fill_head(
    layers: list[nn.Linear], classifier: tuple[Tensor, Tensor], expected: Tensor, run: Callable[[], Tensor]
) -> bool:
    """Set the layers of a head so that it computes a linear map of what enters it, and return whether there is a form.

    Args:
        layers: The layers, in the order in which they are called; the last two at most are the head.
        classifier: Weight (outputs, width) and bias (outputs,).
        expected: Outputs (N, outputs) of the linear map for some examples.
        run: Returns the outputs of the model for these examples.
    """
    weight, bias = classifier

    def answers() -> bool:
        with torch.no_grad():
            difference = (run() - expected).abs().max()
        return bool(difference <= _MAX_RELATIVE_DIFFERENCE * expected.abs().max().clamp(min=1.0))

    if not layers:
        return False
    if _set(layers[-1], weight, bias) and answers():
        return True
    if len(layers) == 1 or layers[-1].in_features != layers[-2].out_features:
        return False
    for filling in _fillings(layers[-2], weight, bias, (expected - bias).abs().max()):
        if _set(layers[-2], *filling.first) and _set(layers[-1], *filling.second) and answers():
            return True
    return False


def _fillings(first: nn.Linear, weight: Tensor, bias: Tensor, largest: Tensor) -> Iterator[_Filling]:
    """Yield the forms in which two layers may hold a linear map; ``largest`` is the largest output without bias."""
    inner, outputs = first.out_features, len(weight)
    none = torch.zeros(inner)
    if inner == first.in_features:
        yield _Filling(first=(torch.eye(inner), none), second=(weight, bias))
    both, difference = torch.zeros(inner, first.in_features), torch.zeros(outputs, inner)
    if 2 * outputs <= inner:
        both[:outputs], both[outputs : 2 * outputs] = weight, -weight
        difference[:, :outputs], difference[:, outputs : 2 * outputs] = torch.eye(outputs), -torch.eye(outputs)
        yield _Filling(first=(both, none), second=(difference, bias))
    small = 2.0 ** math.floor(math.log2(_MAX_TANH_INPUT / max(float(largest), 1e-6)))
    if outputs <= inner:
        single, back = torch.zeros(inner, first.in_features), torch.zeros(outputs, inner)
        single[:outputs], back[:, :outputs] = small * weight, torch.eye(outputs) / small
        yield _Filling(first=(single, none), second=(back, bias))
    free = (inner - 2 * outputs) // 2
    if free > 0:
        constant = 2.0 ** math.ceil(math.log2(_CONSTANT_FACTOR * max(float(largest), 1e-6)))
        constants = none.clone()
        constants[2 * outputs : 2 * outputs + free], constants[2 * outputs + free : 2 * (outputs + free)] = (
            constant,
            -constant,
        )
        deviation = constant * math.sqrt(2 * free / inner)
        yield _Filling(first=(both, constants), second=(difference * deviation / 2, bias))


def _set(layer: nn.Linear, weight: Tensor, bias: Tensor) -> bool:
    """Set a linear layer, and return whether it has a place for both."""
    own: Tensor | None = layer.bias
    if layer.weight.shape != weight.shape or (own is None and bool(bias.any())):
        return False
    with torch.no_grad():
        layer.weight.copy_(weight)
        if own is not None:
            own.copy_(bias)
    return True
