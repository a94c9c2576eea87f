"""What every stage of a frozen backbone gives, in a few hundred numbers each.

The last features of a network are made for what it was trained on; where the target is far from that, earlier stages
still hold what the last ones have dropped. Source: Evci et al., Head2Toe (ICML 2022, arXiv 2201.03529).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from autotransfer.backbones.cut import Activation, call_order
from autotransfer.backbones.inputs import rows_of
from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import Inputs

__all__ = ["StageFeatures"]

log = logging.getLogger("autotransfer")

# Numbers that a stage is summarised in, as far as it has no more channels than that.
_NUMBERS = 1024
# Stages that are looked at, beside the last, which is pooled as the backbone does.
_MOST = 8


class StageFeatures:
    """Where the stages of a backbone end, and what they give there: maps averaged over a grid as fine as there is room.

    Args:
        backbone: In eval mode; it is not changed.
        inputs: Inputs (N, ...), to see what happens in a forward pass.

    Attributes:
        widths: Numbers that each stage before the last gives; of deep backbones, some evenly spread stages.
    """

    def __init__(self, backbone: Backbone, inputs: Inputs) -> None:
        self._ends: tuple[str, ...] = ()
        try:
            with torch.no_grad():
                self._ends = _spread(_entrances(backbone, inputs))
                with self.tapped(backbone, rows_of(inputs)) as found:
                    backbone(inputs)
        except Exception as error:  # a model's own code: its last features are still there
            log.info("no features of the stages of a %s: %s", type(backbone).__name__, error)
            self._ends, found = (), []
        self.widths = tuple(features.shape[1] for features in found)

    @contextmanager
    def tapped(self, backbone: Backbone, rows: int) -> Iterator[list[Tensor]]:
        """Note what the stages give, (rows, width) each, when a batch of so many rows passes within."""
        noted: dict[str, Tensor] = {}

        def watch(end: str) -> Any:
            def note(module: Any, args: Any, kwargs: Any) -> None:
                if end not in noted:
                    noted[end] = _summary(backbone, _crossing(args, kwargs, rows))
                    found[:] = [noted[name] for name in self._ends if name in noted]

            return backbone.get_submodule(end).register_forward_pre_hook(note, with_kwargs=True)

        found: list[Tensor] = []
        with ExitStack() as hooks:
            for end in self._ends:
                hooks.callback(watch(end).remove)
            yield found

    def __call__(self, backbone: Backbone, inputs: Inputs) -> Activation:
        """Map inputs (N, ...) to what each stage before the last gives, and the pooled features."""
        with self.tapped(backbone, rows_of(inputs)) as found:
            pooled = backbone(inputs)
        return (*found, pooled)


def _entrances(backbone: Backbone, inputs: Inputs) -> list[str]:
    """Return the modules at which stages begin, but for the first: what enters there, the stages before have given."""
    found: dict[int, str] = {}
    deepest = 0
    for unit in call_order(backbone, inputs)[0]:
        if unit.stage is not None and unit.stage > deepest:
            deepest = unit.stage
            found[deepest] = unit.name
    return list(found.values())


def _spread(names: list[str]) -> tuple[str, ...]:
    """Return at most so many as are looked at, evenly spread, the last one among them."""
    step = max(len(names) / _MOST, 1.0)
    return tuple(names[-1 - math.floor(i * step)] for i in range(min(len(names), _MOST)))[::-1]


def _crossing(args: Any, kwargs: Any, rows: int) -> Tensor:
    """Return the first tensor of features for each example.

    Raises:
        ValueError: There is none.
    """
    for leaf in pytree.tree_leaves((args, kwargs)):
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.ndim in (2, 3, 4) and len(leaf) == rows:
            return leaf
    raise ValueError("nothing that a stage gives is a map, tokens or features of each example")


def _summary(backbone: Backbone, given: Tensor) -> Tensor:
    """Average a map, tokens or features over a grid: (N, width)."""
    features = backbone.as_map(given)
    _, channels, height, width = features.shape
    cells = max(math.isqrt(_NUMBERS // channels), 1)
    return F.adaptive_avg_pool2d(features, (min(cells, height), min(cells, width))).flatten(1)
