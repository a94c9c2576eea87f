"""Batch norm folded into the convolutions before it: a frozen prefix needs no statistics of its own."""

from __future__ import annotations

import copy
import logging
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from autotransfer.backbones.inputs import each
from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import Inputs

__all__ = ["fold_batch_norm"]

log = logging.getLogger("autotransfer")

# Largest relative difference of the features, in float32, that folding may make.
_TOLERANCE = 1e-3


class _Rest(nn.Module):
    """What a batch norm with an activation does beside normalising."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.drop, self.act = norm.drop, norm.act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(x))  # type: ignore[no-any-return]


def fold_batch_norm(backbone: Backbone, inputs: Inputs) -> Backbone:
    """Return a copy in eval mode whose batch norms are folded, or the backbone itself where that changes its features.

    Args:
        backbone: In eval mode, float32.
        inputs: Inputs (N, ...), to see which convolution feeds which norm, and to check the result.
    """
    with torch.no_grad():  # convolutions of some shapes refuse weights that were made in inference mode
        pairs = _pairs(backbone, inputs)
        if not pairs:
            return backbone
        exact = backbone(inputs)
        folded = copy.deepcopy(backbone)
        for conv, norm in pairs:
            _fold(folded, conv, norm)
        difference = float((folded(inputs) - exact).abs().max() / exact.abs().max().clamp(min=1e-12))
    if difference < _TOLERANCE:
        return folded
    log.info("batch norm is not folded: the features would differ by %.0e", difference)
    return backbone


def _pairs(backbone: Backbone, inputs: Inputs) -> list[tuple[str, str]]:
    """Return names of convolutions and of the norms that alone take their outputs, in the same stage.

    A norm of the next stage is none of them: at the boundary between the two it belongs to what trains.
    """
    makers: dict[int, str] = {}
    kept: list[Tensor] = []  # an output that is freed could lend its id to another
    pairs: list[tuple[str, str]] = []
    hooks = []
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Conv2d):

            def made(module: nn.Module, args: Any, output: Tensor, name: str = name) -> None:
                makers[id(output)] = name
                kept.append(output)

            hooks.append(module.register_forward_hook(made))
        elif isinstance(module, _BatchNorm) and (type(module) is nn.BatchNorm2d or hasattr(module, "act")):

            def taken(module: nn.Module, args: Any, name: str = name) -> None:
                if (maker := makers.get(id(args[0]))) is not None:
                    pairs.append((maker, name))

            hooks.append(module.register_forward_pre_hook(taken))
    try:
        backbone(each(lambda tensor: tensor[:1], inputs))
    finally:
        for hook in hooks:
            hook.remove()
    once = {name for name in {conv for conv, _ in pairs} if sum(conv == name for conv, _ in pairs) == 1}
    stage = backbone.stage_of
    return [(c, n) for c, n in pairs if c in once and stage(f"{c}.weight") == stage(f"{n}.running_mean")]


def _fold(backbone: nn.Module, conv_name: str, norm_name: str) -> None:
    conv: Any = backbone.get_submodule(conv_name)
    norm: Any = backbone.get_submodule(norm_name)
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    parent, _, child = norm_name.rpartition(".")
    rest = _Rest(norm) if hasattr(norm, "act") else nn.Identity()
    backbone.get_submodule(parent)._modules[child] = rest.eval()
