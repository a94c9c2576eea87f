"""Fusion of layers of a frozen backbone on a CPU: packed weights, activations and padding inside oneDNN's kernels.

On a CPU, convnets are limited by memory bandwidth: reading and writing the output of one of the first layers takes
longer than its convolution.
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

# An activation that oneDNN computes with a layer: name, parameters and algorithm.
_Kernel = tuple[str, list[float], str]
_NO_ACTIVATION: _Kernel = ("none", [], "")
_KERNELS: dict[type[nn.Module], _Kernel] = {
    nn.GELU: ("gelu", [], "none"),  # or "tanh"
    nn.Hardswish: ("hardswish", [], ""),
    nn.ReLU: ("relu", [], ""),
    nn.ReLU6: ("hardtanh", [0.0, 6.0], ""),
    nn.SiLU: ("swish", [], ""),
}
# Largest difference of a rewritten convolution, relative to the largest output.
_MAX_RELATIVE_DIFFERENCE = 2e-2
# Most input channels of a convolution whose kernel is enlarged; with more channels, copying the input is faster.
_MAX_CHANNELS_TO_ENLARGE_KERNEL = 4
# Batch size for which weights are packed; other batch sizes work, too.
_PACKED_BATCH_SIZE = 16


def can_fuse(device: torch.device) -> bool:
    """Whether the device has fused kernels, which are private functions of torch."""
    return device.type == "cpu" and all(
        hasattr(torch.ops.mkldnn, name)
        for name in ("_convolution_pointwise", "_linear_pointwise", "_reorder_linear_weight")
    )


@dataclass
class _Call:
    """A layer with its input and output in a forward pass, and the name of the activation after it."""

    name: str
    inputs: Tensor
    output: Tensor
    activation: str = ""


class _FusedConv(nn.Conv2d):
    """A convolution fused with its activation; it shares the weights of the original convolution."""

    def __init__(self, conv: nn.Conv2d, weight: Tensor, padding: list[int], kernel: _Kernel) -> None:
        nn.Module.__init__(self)
        self.weight, self.bias = nn.Parameter(weight, requires_grad=False), conv.bias
        self._geometry = [padding, list(conv.stride), list(conv.dilation), conv.groups]
        self._kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the activation of the convolution's output."""
        if x.dtype != self.weight.dtype:
            raise TypeError(f"a convolution of {self.weight.dtype} got {x.dtype}")
        fused: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self.weight, self.bias, *self._geometry, *self._kernel
        )
        return fused

    def extra_repr(self) -> str:
        """Return the shape of the weight and the activation."""
        return f"{tuple(self.weight.shape)}, {self._kernel[0]}"


class _FusedLinear(nn.Module):
    """A linear layer fused with its activation; its weight is packed for the kernel."""

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
    """Fuse the layers of a backbone for inference, in place, for inputs of this size and type.

    The caller checks that the features do not change.

    Args:
        backbone: Backbone in eval mode, on the CPU, with folded batch norms.
        inputs: Inputs (N, ...) for a forward pass that finds the activation after each layer.
    """
    with torch.no_grad():
        for call in _calls(backbone, each(lambda tensor: tensor[:1], inputs)):
            fused = _fused(backbone.get_submodule(call.name), call, _kernel(backbone, call.activation))
            if fused is not None:
                _replace_module(backbone, call.name, fused.eval())
                if call.activation:
                    _replace_module(backbone, call.activation, nn.Identity())


def _fused(layer: nn.Module, call: _Call, kernel: _Kernel) -> nn.Module | None:
    if isinstance(layer, nn.Linear):
        rows = _PACKED_BATCH_SIZE * (call.inputs.numel() // layer.in_features)
        return _FusedLinear(layer, rows, kernel)
    assert isinstance(layer, nn.Conv2d)  # nothing else is recorded
    found = _symmetric(layer, call)
    return None if found is None else _FusedConv(layer, *found, kernel)


def _kernel(backbone: Backbone, name: str) -> _Kernel:
    if not name:
        return _NO_ACTIVATION
    activation = backbone.get_submodule(name)
    if isinstance(activation, nn.GELU):
        return "gelu", [], activation.approximate
    return _KERNELS[type(activation)]


def _calls(backbone: Backbone, inputs: Inputs) -> Iterator[_Call]:
    """Yield the layers that are called once, with the activation after them in the same stage."""
    calls: dict[int, _Call] = {}  # by the id of the output
    kept: list[Tensor] = []  # keeps outputs alive, so that no other tensor gets their id
    times: Counter[str] = Counter()
    follows: dict[str, _Call] = {}
    hooks = []
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Conv2d) or type(module) is nn.Linear:

            def record_layer(module: nn.Module, args: Any, output: Tensor, name: str = name) -> None:
                times[name] += 1
                kept.append(output)
                calls[id(output)] = _Call(name, args[0].clone(), output.clone())  # the next layer may work in place

            hooks.append(module.register_forward_hook(record_layer))
        elif type(module) is nn.Identity:  # a folded norm

            def pass_on(module: nn.Module, args: Any, output: Tensor) -> None:
                if id(args[0]) in calls:
                    calls[id(output)] = calls[id(args[0])]

            hooks.append(module.register_forward_hook(pass_on))
        elif type(module) in _KERNELS:

            def record_activation(module: nn.Module, args: Any, name: str = name) -> None:
                times[name] += 1
                if (call := calls.get(id(args[0]))) is not None:
                    follows[name] = call

            hooks.append(module.register_forward_pre_hook(record_activation))
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
    """Yield the stage of an activation; nothing if the module around it spans several stages."""
    module = activation
    while module := module.rpartition(".")[0]:
        # Biases are left out, since folding adds biases that have no stage.
        named = backbone.get_submodule(module).named_parameters()
        inner = [f"{module}.{name}" for name, _ in named if not name.endswith("bias")]
        if inner:
            stages = {backbone.stage_of(name) for name in inner}
            yield from stages if len(stages) == 1 else ()
            return


def _symmetric(conv: nn.Conv2d, call: _Call) -> tuple[Tensor, list[int]] | None:
    """Return weight and padding of an equivalent convolution with symmetric padding, as the kernel needs it.

    TensorFlow's "same" padding adds one more row and column at the end, which takes a copy of the input. A row and a
    column of zeros at the beginning of the weight have the same effect, and are cheap with few input channels.
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
        if max(conv.dilation) > 1 or weight.shape[1] > _MAX_CHANNELS_TO_ENLARGE_KERNEL:
            return None
        weight = F.pad(weight, (front[1], 0, front[0], 0)).contiguous(memory_format=torch.channels_last)
    rewritten = F.conv2d(call.inputs, weight, conv.bias, conv.stride, padding, conv.dilation, conv.groups)
    difference = (rewritten - call.output).abs().max() / call.output.abs().max().clamp(min=1e-12)
    return (weight.detach(), padding) if float(difference) < _MAX_RELATIVE_DIFFERENCE else None


def _replace_module(backbone: Backbone, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    backbone.get_submodule(parent)._modules[child] = module
