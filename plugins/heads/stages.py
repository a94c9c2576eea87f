"""A ridge regression on the features of all stages of a frozen backbone.

For a target that is far from the source task, early stages hold more information than the last one. Source: Evci et
al., Head2Toe (ICML 2022, arXiv 2201.03529); here one weight of all early stages replaces the group lasso.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from autotransfer.tasks.task import Task
from autotransfer_plugins.heads._solving import Standardised, fill, one_thread, without_weightless
from autotransfer_plugins.heads.closed_form import fit_ridge

__all__ = ["DEFAULTS", "build", "solve"]

DEFAULTS: Mapping[str, Any] = {"alpha": 300.0, "early": 0.3}

# Total variance of the features, so that ``alpha`` has about the same effect as in a ridge regression on pooled
# features.
_TOTAL_VARIANCE = 1000.0


class _StageLinear(nn.Linear):
    """A linear layer with the number of features of each stage.

    Args:
        widths: Number of features of each stage, the pooled features last.
        outputs: Number of outputs.
    """

    def __init__(self, widths: tuple[int, ...], outputs: int) -> None:
        super().__init__(sum(widths), outputs)
        self.widths = widths


def build(shape: tuple[int, ...], outputs: int, params: Mapping[str, Any]) -> nn.Module:
    """Return an untrained head; see ``HeadSpec.build``."""
    return _StageLinear(shape, outputs)


@one_thread
def solve(
    module: nn.Module,
    features: np.ndarray,
    targets: np.ndarray,
    task: Task,
    params: Mapping[str, Any],
    weights: np.ndarray | None,
    sample_weight: np.ndarray | None = None,
) -> None:
    """Fit a ridge regression in which every early stage has ``early`` times the variance of the pooled features."""
    if not isinstance(module, _StageLinear):
        raise TypeError(f"stage_ridge fills what it has built; got {type(module).__name__}")
    features, targets, sample_weight = without_weightless(features, targets, sample_weight)
    x, settings = Standardised.of(features, sample_weight), {**DEFAULTS, **params}
    variances = np.array([settings["early"]] * (len(module.widths) - 1) + [1.0])
    factors = np.repeat(np.sqrt(_TOTAL_VARIANCE * variances / variances.sum() / module.widths), module.widths)
    # With thousands of columns, single precision takes half of the time and is exact enough.
    scaled = (x.values * factors).astype(np.float32)
    weight, bias = fit_ridge(scaled, targets, task, settings["alpha"], weights, sample_weight)
    fill(module, weight * factors, bias, x)
