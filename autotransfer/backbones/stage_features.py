"""Features of all stages of a frozen backbone, at most 1,024 numbers for each stage before the last.

The last features of a network fit the task that it was trained on. For a very different target, earlier stages hold
information that the last stage has dropped. Source: Evci et al., Head2Toe (ICML 2022, arXiv 2201.03529).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from autotransfer.backbones.cut import Activation
from autotransfer.backbones.inputs import cells, mask_of, rows_of
from autotransfer.backbones.units import call_order
from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import Inputs

__all__ = ["StageFeatures"]

log = logging.getLogger("autotransfer")

# Most features of a stage, unless it has more channels.
_MAX_FEATURES_OF_STAGE = 1024
# Most stages before the last one.
_MAX_STAGES = 8


class StageFeatures:
    """Features of the stages of a backbone: the map at the end of each stage, averaged over a grid.

    Args:
        backbone: Backbone in eval mode.
        inputs: inputs (N, ...) for a forward pass that finds the ends of the stages.

    Attributes:
        widths: Number of features of each stage before the last one; at most eight stages, evenly spaced.
    """

    def __init__(self, backbone: Backbone, inputs: Inputs) -> None:
        self._ends: tuple[str, ...] = ()
        try:
            with torch.no_grad():
                self._ends = _evenly_spaced(_stage_entrances(backbone, inputs))
                with self.recorded(backbone, inputs) as found:
                    backbone(inputs)
        except Exception as error:  # code of a model; its pooled features still work
            log.info("no features of the stages of a %s: %s", type(backbone).__name__, error)
            self._ends, found = (), []
        self.widths = tuple(features.shape[1] for features in found)

    @contextmanager
    def recorded(
        self, backbone: Backbone, inputs: Inputs, seen: Callable[[Tensor], Tensor] = lambda tensor: tensor
    ) -> Iterator[list[Tensor]]:
        """Yield a list that gets the features (rows, width) of the stages when inputs pass through the backbone.

        Args:
            backbone: The backbone.
            inputs: The inputs that are going to pass.
            seen: Is given what leaves each stage, and returns what is averaged in its place.
        """
        features: dict[str, Tensor] = {}
        rows, mask = rows_of(inputs), mask_of(inputs)

        def watch(end: str) -> Any:
            def note(module: Any, args: Any, kwargs: Any) -> None:
                if end not in features:
                    features[end] = _summary(backbone, seen(_crossing(args, kwargs, rows)), mask)
                    found[:] = [features[name] for name in self._ends if name in features]

            return backbone.get_submodule(end).register_forward_pre_hook(note, with_kwargs=True)

        found: list[Tensor] = []
        with ExitStack() as hooks:
            for end in self._ends:
                hooks.callback(watch(end).remove)
            yield found

    def __call__(self, backbone: Backbone, inputs: Inputs) -> Activation:
        """Map inputs (N, ...) to the features of the stages before the last one, and the pooled features."""
        with self.recorded(backbone, inputs) as found:
            pooled = backbone(inputs)
        return (*found, pooled)


def _stage_entrances(backbone: Backbone, inputs: Inputs) -> list[str]:
    """Return the modules at which the second and later stages begin; their inputs are outputs of the stage before."""
    found: dict[int, str] = {}
    deepest = 0
    for unit in call_order(backbone, inputs)[0]:
        if unit.stage is not None and unit.stage > deepest:
            deepest = unit.stage
            found[deepest] = unit.name
    return list(found.values())


def _evenly_spaced(names: list[str]) -> tuple[str, ...]:
    """Return at most eight names, evenly spaced, with the last one among them."""
    step = max(len(names) / _MAX_STAGES, 1.0)
    return tuple(names[-1 - math.floor(i * step)] for i in range(min(len(names), _MAX_STAGES)))[::-1]


def _crossing(args: Any, kwargs: Any, rows: int) -> Tensor:
    """Return the first argument that is a tensor of features with a row for each example.

    Raises:
        ValueError: There is no such tensor.
    """
    for leaf in pytree.tree_leaves((args, kwargs)):
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.ndim in (2, 3, 4) and leaf.shape[0] == rows:
            return leaf
    raise ValueError("no output of a stage is a map, tokens or features of each example")


def _summary(backbone: Backbone, output: Tensor, mask: Tensor | None) -> Tensor:
    """Average a map, tokens or features over a grid, to (N, width); what is not there counts for nothing."""
    if mask is not None and output.ndim == 3 and output.shape[:2] == mask.shape:
        return cells(output, mask, _cells_of(output.shape[2])).transpose(1, 2).flatten(1)
    features = backbone.as_map(output)
    _, channels, height, width = features.shape
    count = _cells_of(channels)
    return F.adaptive_avg_pool2d(features, (min(count, height), min(count, width))).flatten(1)


def _cells_of(channels: int) -> int:
    """Return the cells along each side of the grid."""
    return max(math.isqrt(_MAX_FEATURES_OF_STAGE // channels), 1)
