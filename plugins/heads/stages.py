"""A ridge regression on what all stages of a frozen backbone give, not its last features alone.

Where the target is far from what the backbone was trained on, early stages know more of it than the last one. Source:
Evci et al., Head2Toe (ICML 2022, arXiv 2201.03529), whose group lasso is one weight for all early stages here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from autotransfer.tasks.task import Task
from autotransfer_plugins.heads._solving import Standardised, fill, one_thread
from autotransfer_plugins.heads.closed_form import fit_ridge

__all__ = ["DEFAULTS", "build", "solve"]

DEFAULTS: Mapping[str, Any] = {"alpha": 300.0, "early": 0.3}

# Variance of all features together, so that equal strengths mean about the same as in a ridge on pooled features.
_VARIANCE = 1000.0


class _StageLinear(nn.Linear):
    """A linear layer that knows which of its inputs come from which stage.

    Args:
        widths: Numbers that each stage gives, those of the pooled features last.
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
) -> None:
    """Fit a ridge regression in which every early stage has ``early`` times the variance of the pooled features."""
    if not isinstance(module, _StageLinear):
        raise TypeError(f"stage_ridge fills what it has built; got {type(module).__name__}")
    x, settings = Standardised.of(features), {**DEFAULTS, **params}
    variances = np.array([settings["early"]] * (len(module.widths) - 1) + [1.0])
    factors = np.repeat(np.sqrt(_VARIANCE * variances / variances.sum() / module.widths), module.widths)
    # Thousands of columns: single precision halves the time, and the products of the rows are exact enough.
    weight, bias = fit_ridge((x.values * factors).astype(np.float32), targets, task, settings["alpha"], weights)
    fill(module, weight * factors, bias, x)
