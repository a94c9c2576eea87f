"""Where a network looks: which positions of an example speak for an output.

* Of a network with a map of 9 positions or more, HiResCAM (Draelos and Carin 2020, arXiv 2011.08891): the gradient of
  the output times the map, summed over channels. With pooling by the mean and a linear head, closed forms included, it
  is the class activation map (Zhou et al. 2016): what each position adds to the output.
* Tokens mix what is at all positions, and many transformers pool one of them alone. There, and where a map says
  nothing, integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365), from the mean of the example to the
  example, summed over cells. In 24 made images in which a shape in a corner is the class, they found the corner in all;
  gradients before the last block of a small transformer, or before any other, found it in 0 to 50% of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from autotransfer.backbones.inputs import laid_out, pooled
from autotransfer.contract.modality import Inputs
from autotransfer.training.network import Network

__all__ = ["relevance"]

log = logging.getLogger("autotransfer")

# Most cells of a heatmap along each side, of a map and of integrated gradients; and fewest positions of a map.
_MAX_CELLS, _MAX_INTEGRATED_CELLS, _MIN_CELLS = 14, 7, 9
# Steps of the integration; 8 and 16 were no better than 4.
_STEPS = 4
# Differences below this share of the largest value are rounding errors.
_ROUNDING = 1e-6


def relevance(
    network: Network,
    inputs: Inputs,
    outputs: Sequence[int],
    *,
    signed: bool = True,
    expired: Callable[[], bool] = lambda: False,
) -> list[np.ndarray | None]:
    """Return where a network looks in each example.

    Args:
        network: In eval mode; its parameters need no gradient, and get none.
        inputs: The inputs (N, ...) of some examples.
        outputs: The output of each of them that is asked for.
        signed: Whether what speaks against the output is left out, as for a class; a value has no direction.
        expired: Whether the time has run out; then nothing is said of the other examples.

    Returns:
        A heatmap from 0 to 1 (h, w) for each, its greatest value being 1; None where nothing is said.
    """
    found: list[np.ndarray | None] = [None] * len(outputs)
    with torch.enable_grad():
        try:
            maps = _mapped(network, inputs, outputs)
            found = [_normalised(heat, signed=signed) for heat in maps]
        except Exception as error:  # code of a model: gradients of the inputs may do
            log.info("no heatmap of the map of a %s: %s", type(network.backbone).__name__, error)
        for i, output in enumerate(outputs):
            if found[i] is None and isinstance(inputs, Tensor) and inputs.ndim == 4 and not expired():
                found[i] = _normalised(_integrated(network, inputs[i : i + 1], output), signed=signed)
    return found


def _mapped(network: Network, inputs: Inputs, outputs: Sequence[int]) -> Tensor:
    """Return what each position of the last map adds to the outputs (N, h, w).

    For a head on all stages, what each position adds as it leaves its stage counts, too.

    Raises:
        ValueError: The network has tokens, or a map of a few positions.
    """
    backbone, maps = network.backbone, list[Tensor]()

    def seen(tensor: Tensor) -> Tensor:
        maps.append(tensor.detach().clone().requires_grad_())
        return maps[-1]

    if network.stages is None:
        last, recorded = backbone.forward_map(inputs), []
    else:
        with network.stages.recorded(backbone, inputs, seen) as recorded:
            last = backbone.forward_map(inputs)
    if last.ndim != 4 or backbone.as_map(last)[0, 0].numel() < _MIN_CELLS:
        raise ValueError(f"it gives features of the shape {tuple(last.shape)}")
    if network.head_takes == "map":
        features = laid_out(backbone, seen(last), inputs, network.map_positions)
    else:
        features = torch.cat([*recorded, pooled(backbone, seen(last), inputs)], 1)
    asked = _asked(network.head_outputs(features), torch.as_tensor(outputs, device=features.device))
    gradients = torch.autograd.grad(asked.sum(), maps)
    heats = [
        _in_cells(backbone.as_map(one.detach() * gradient).sum(1), _MAX_CELLS)
        for one, gradient in zip(maps, gradients, strict=True)
    ]
    height, width = (max(heat.shape[axis] for heat in heats) for axis in (1, 2))
    return torch.stack([_spread(heat, height, width) for heat in heats]).sum(0)


def _integrated(network: Network, inputs: Tensor, output: int) -> Tensor:
    """Return what each cell of an example (1, C, H, W) adds to an output (h, w), compared with the example's mean."""
    mean = inputs.mean((2, 3), keepdim=True)
    shares = ((torch.arange(_STEPS, device=inputs.device) + 0.5) / _STEPS).view(-1, 1, 1, 1)
    steps = (mean + shares * (inputs - mean)).detach().requires_grad_()
    asked = _asked(network.head_outputs(network.features(steps)), torch.full((_STEPS,), output, device=inputs.device))
    (gradients,) = torch.autograd.grad(asked.sum(), steps)
    return _in_cells((gradients.mean(0) * (inputs - mean)[0]).sum(0)[None], _MAX_INTEGRATED_CELLS)[0]


def _asked(found: Tensor, outputs: Tensor) -> Tensor:
    """Return the outputs (N,) that are asked for; what adds to all classes alike changes no probability."""
    asked = found[torch.arange(len(found), device=found.device), outputs.to(found.device)]
    return asked - found.mean(1) if found.shape[1] > 1 else asked


def _in_cells(heat: Tensor, most: int) -> Tensor:
    """Return maps (N, h, w) of fewer cells, each the sum of its positions: single ones of large maps are noise."""
    size = (min(heat.shape[1], most), min(heat.shape[2], most))
    share = heat.shape[1] * heat.shape[2] / (size[0] * size[1])
    return F.adaptive_avg_pool2d(heat[:, None], size)[:, 0] * share


def _spread(heat: Tensor, height: int, width: int) -> Tensor:
    """Return maps (N, h, w) on a finer grid, where the parts of a position add up to it."""
    share = heat.shape[1] * heat.shape[2] / (height * width)
    return F.interpolate(heat[:, None], (height, width), mode="bilinear", align_corners=False)[:, 0] * share


def _normalised(heat: Tensor, *, signed: bool) -> np.ndarray | None:
    """Return what is above the mean of a map, or away from it, in shares of the greatest; None where all is alike."""
    heat = heat.detach().float().cpu()
    spread = float(heat.max() - heat.min())
    if not np.isfinite(spread) or spread <= _ROUNDING * float(heat.abs().max()):
        return None
    above = heat - heat.mean()
    above = above.clamp(min=0) if signed else above.abs()
    return np.asarray((above / above.max()).numpy())
