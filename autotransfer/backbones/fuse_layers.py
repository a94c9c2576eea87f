"""Layers of a frozen backbone on a CPU: packed weights, activations and uneven padding inside oneDNN's kernels.

Convnets are bound by memory there: a pass over an activation of the first layers costs more than its convolution.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autotransfer.backbones.inputs import each
from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import Inputs

__all__ = ["can_fuse", "fuse_layers"]

# Activations that oneDNN computes with a layer: its name, numbers and algorithm for each.
_Kernel = tuple[str, list[float], str]
_NONE: _Kernel = ("none", [], "")
_KERNELS: dict[type[nn.Module], _Kernel] = {
    nn.GELU: ("gelu", [], "none"),  # or "tanh"
    nn.Hardswish: ("hardswish", [], ""),
    nn.ReLU: ("relu", [], ""),
    nn.ReLU6: ("hardtanh", [0.0, 6.0], ""),
    nn.SiLU: ("swish", [], ""),
}
# Largest difference, relative to the largest output, of a convolution that is written in another way.
_TOLERANCE = 2e-2
# Inputs of a kernel up to which a larger one costs less than a copy of the input.
_FEW_INPUTS = 4
# Rows in a batch for which weights are laid out; others are computed as well.
_ROWS = 16


def can_fuse(device: torch.device) -> bool:
    """Whether there are such kernels: they are torch's own, but not public."""
    return device.type == "cpu" and all(
        hasattr(torch.ops.mkldnn, name)
        for name in ("_convolution_pointwise", "_linear_pointwise", "_reorder_linear_weight")
    )


@dataclass
class _Call:
    """A layer as it was seen in a forward pass, with the activation that takes its output."""

    name: str
    inputs: Tensor
    output: Tensor
    activation: str = ""


class _FusedConv(nn.Conv2d):
    """A convolution with its activation; it shares the weights of the one that it stands for."""

    def __init__(self, conv: nn.Conv2d, weight: Tensor, padding: list[int], kernel: _Kernel) -> None:
        nn.Module.__init__(self)
        self.weight, self.bias = nn.Parameter(weight, requires_grad=False), conv.bias
        self._places = [padding, list(conv.stride), list(conv.dilation), conv.groups]
        self._kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the activation of the convolution's output."""
        if x.dtype != self.weight.dtype:
            raise TypeError(f"a convolution of {self.weight.dtype} got {x.dtype}")
        fused: Tensor = torch.ops.mkldnn._convolution_pointwise(x, self.weight, self.bias, *self._places, *self._kernel)
        return fused

    def extra_repr(self) -> str:
        """Say what is done."""
        return f"{tuple(self.weight.shape)}, {self._kernel[0]}"


class _FusedLinear(nn.Module):
    """A linear layer with its activation; its weight is laid out as the kernel reads it."""

    def __init__(self, linear: nn.Linear, rows: int, kernel: _Kernel) -> None:
        super().__init__()
        self.bias, self._kernel, self._type = linear.bias, kernel, linear.weight.dtype
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), rows)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., inputs) to the activation of the layer's output (..., outputs)."""
        if x.dtype != self._type:
            raise TypeError(f"a linear layer of {self._type} got {x.dtype}")
        fused: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, *self._kernel)
        return fused


def fuse_layers(backbone: Backbone, inputs: Inputs) -> None:
    """Rewrite the layers of a backbone that only infers, for inputs of this size and type.

    Args:
        backbone: In eval mode, on the CPU, its batch norm folded; it is changed.
        inputs: Inputs (N, ...), to see what follows what. That the features stay is for the caller to check.
    """
    with torch.no_grad():
        for call in _calls(backbone, each(lambda tensor: tensor[:1], inputs)):
            fused = _fused(backbone.get_submodule(call.name), call, _kernel(backbone, call.activation))
            if fused is not None:
                _put(backbone, call.name, fused.eval())
                if call.activation:
                    _put(backbone, call.activation, nn.Identity())


def _fused(layer: nn.Module, call: _Call, kernel: _Kernel) -> nn.Module | None:
    if isinstance(layer, nn.Linear):
        rows = _ROWS * (call.inputs.numel() // layer.in_features)
        return _FusedLinear(layer, rows, kernel)
    assert isinstance(layer, nn.Conv2d)  # nothing else is recorded
    found = _symmetric(layer, call)
    return None if found is None else _FusedConv(layer, *found, kernel)


def _kernel(backbone: Backbone, name: str) -> _Kernel:
    if not name:
        return _NONE
    activation = backbone.get_submodule(name)
    if isinstance(activation, nn.GELU):
        return "gelu", [], activation.approximate
    return _KERNELS[type(activation)]


def _calls(backbone: Backbone, inputs: Inputs) -> Iterator[_Call]:
    """Yield the layers that are called once, with what follows them in the same stage."""
    calls: dict[int, _Call] = {}  # by the id of the output
    kept: list[Tensor] = []  # an output that is freed could lend its id to another
    times: Counter[str] = Counter()
    follows: dict[str, _Call] = {}
    hooks = []
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Conv2d) or type(module) is nn.Linear:

            def computed(module: nn.Module, args: Any, output: Tensor, name: str = name) -> None:
                times[name] += 1
                kept.append(output)
                calls[id(output)] = _Call(name, args[0].clone(), output.clone())  # what follows may work in place

            hooks.append(module.register_forward_hook(computed))
        elif type(module) is nn.Identity:  # a folded norm

            def passed(module: nn.Module, args: Any, output: Tensor) -> None:
                if id(args[0]) in calls:
                    calls[id(output)] = calls[id(args[0])]

            hooks.append(module.register_forward_hook(passed))
        elif type(module) in _KERNELS:

            def activated(module: nn.Module, args: Any, name: str = name) -> None:
                times[name] += 1
                if (call := calls.get(id(args[0]))) is not None:
                    follows[name] = call

            hooks.append(module.register_forward_pre_hook(activated))
    try:
        backbone(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    for name, call in follows.items():
        if times[name] == 1 and set(_stages(backbone, name)) <= {backbone.stage_of(f"{call.name}.weight")}:
            call.activation = name
    yield from (call for call in calls.values() if times[call.name] == 1)


def _stages(backbone: Backbone, activation: str) -> Iterator[int]:
    """Yield the stage that an activation lies in; none where what is around it belongs to several."""
    around = activation
    while around := around.rpartition(".")[0]:
        # Biases are left out: a stage knows nothing of those that folding made.
        named = backbone.get_submodule(around).named_parameters()
        inner = [f"{around}.{name}" for name, _ in named if not name.endswith("bias")]
        if inner:
            stages = {backbone.stage_of(name) for name in inner}
            yield from stages if len(stages) == 1 else ()
            return


def _symmetric(conv: nn.Conv2d, call: _Call) -> tuple[Tensor, list[int]] | None:
    """Return weight and padding of an equal convolution that pads both sides alike, as the kernel does.

    TensorFlow's "same" pads the end by one more, as a copy of the whole input; a row and a column of zeros at the
    beginning of the weight do the same, at no cost where a kernel has few inputs.
    """
    if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return None
    padding, front = list(conv.padding), [0, 0]
    if type(conv).forward is not nn.Conv2d.forward:
        for axis, (size, out) in enumerate(zip(call.inputs.shape[2:], call.output.shape[2:], strict=True)):
            reach = conv.dilation[axis] * (conv.kernel_size[axis] - 1) + 1
            total = max((out - 1) * conv.stride[axis] + reach - size, 0)
            padding[axis], front[axis] = total - total // 2, total % 2
    weight = conv.weight
    if any(front):
        if max(conv.dilation) > 1 or weight.shape[1] > _FEW_INPUTS:
            return None
        weight = F.pad(weight, (front[1], 0, front[0], 0)).contiguous(memory_format=torch.channels_last)
    again = F.conv2d(call.inputs, weight, conv.bias, conv.stride, padding, conv.dilation, conv.groups)
    difference = (again - call.output).abs().max() / call.output.abs().max().clamp(min=1e-12)
    return (weight.detach(), padding) if float(difference) < _TOLERANCE else None


def _put(backbone: Backbone, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    backbone.get_submodule(parent)._modules[child] = module
