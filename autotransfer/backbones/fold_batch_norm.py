"""Folding of batch norms into the convolutions before them, for frozen prefixes."""

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

# Largest relative difference of float32 features with folded batch norms.
_MAX_RELATIVE_DIFFERENCE = 1e-3


class _DropAndActivation(nn.Module):
    """The dropout and the activation of a timm batch norm with activation."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.drop, self.act = norm.drop, norm.act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(x))  # type: ignore[no-any-return]


def fold_batch_norm(backbone: Backbone, inputs: Inputs) -> Backbone:
    """Return a copy with folded batch norms, or the backbone itself if folding changes its features.

    Args:
        backbone: Backbone in eval mode, in float32.
        inputs: inputs (N, ...), to find the convolution before each norm and to check the result.
    """
    with torch.no_grad():  # convolutions of some shapes refuse weights from inference mode
        pairs = _pairs(backbone, inputs)
        if not pairs:
            return backbone
        exact = backbone(inputs)
        folded = copy.deepcopy(backbone)
        for conv, norm in pairs:
            _fold(folded, conv, norm)
        difference = float((folded(inputs) - exact).abs().max() / exact.abs().max().clamp(min=1e-12))
    if difference < _MAX_RELATIVE_DIFFERENCE:
        return folded
    log.info("batch norm is not folded: the features would differ by %.0e", difference)
    return backbone


def _pairs(backbone: Backbone, inputs: Inputs) -> list[tuple[str, str]]:
    """Return the names of convolutions and of the norms that alone use their outputs, in the same stage.

    Norms of the next stage are excluded, since they train when the boundary lies between the stages.
    """
    makers: dict[int, str] = {}
    kept: list[Tensor] = []  # keeps outputs alive, so that no other tensor gets their id
    pairs: list[tuple[str, str]] = []
    hooks = []
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Conv2d):

            def record_maker(module: nn.Module, args: Any, output: Tensor, name: str = name) -> None:
                makers[id(output)] = name
                kept.append(output)

            hooks.append(module.register_forward_hook(record_maker))
        elif isinstance(module, _BatchNorm) and (type(module) is nn.BatchNorm2d or hasattr(module, "act")):

            def record_pair(module: nn.Module, args: Any, name: str = name) -> None:
                if (maker := makers.get(id(args[0]))) is not None:
                    pairs.append((maker, name))

            hooks.append(module.register_forward_pre_hook(record_pair))
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
    replacement = _DropAndActivation(norm) if hasattr(norm, "act") else nn.Identity()
    backbone.get_submodule(parent)._modules[child] = replacement.eval()
