"""Functions of the closed-form heads: standardised features, folded layers, calibrated logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any, ParamSpec

import numpy as np
import torch
from scipy.special import log_softmax
from threadpoolctl import ThreadpoolController
from torch import nn

from autotransfer.errors import TrialError
from autotransfer.tasks.task import Task

__all__ = [
    "Standardised",
    "fill",
    "indicators",
    "one_thread",
    "prior_shift",
    "require_finite",
    "temperature_factor",
    "without_weightless",
]

P = ParamSpec("P")

# A column whose standard deviation is at most this share of the largest one counts as constant.
_MIN_RELATIVE_DEVIATION = 1e-5
# Scores, examples times classes, on which a temperature is fitted; more are subsampled.
_MAX_SCORES_FOR_TEMPERATURE = 10_000_000


@dataclass(frozen=True, kw_only=True)
class Standardised:
    """Features of mean 0 and variance 1; constant columns are 0.

    Attributes:
        values: float64 (N, width).
        mean: Mean (width,) of the raw features.
        scale: Standard deviation (width,) of the raw features; infinite for constant columns, which get no weight.
    """

    values: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, sample_weight: np.ndarray | None = None) -> Standardised:
        """Standardise raw features (N, width), by weights (N,) of the examples if any.

        Raises:
            TrialError: The features are not finite.
        """
        require_finite(features)
        values = features.astype(np.float64)
        if sample_weight is None:
            mean, scale = values.mean(0), values.std(0)
        else:
            mean = np.average(values, axis=0, weights=sample_weight)
            scale = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=sample_weight))
        scale[scale <= _MIN_RELATIVE_DEVIATION * scale.max()] = np.inf
        return cls(values=(values - mean) / scale, mean=mean, scale=scale)


def without_weightless(
    features: Any, targets: np.ndarray, sample_weight: np.ndarray | None
) -> tuple[Any, np.ndarray, np.ndarray | None]:
    """Return features, targets and weights of the examples whose weight is above 0: the others do not count."""
    if sample_weight is None or (sample_weight > 0).all():
        return features, targets, sample_weight
    kept = np.flatnonzero(sample_weight > 0)
    return features[kept], targets[kept], sample_weight[kept]


def require_finite(features: np.ndarray) -> None:
    """Check that features are finite.

    Raises:
        TrialError: The features are not finite.
    """
    if not np.isfinite(features).all():
        raise TrialError("The backbone's features are not finite (NaN or infinity): it may have overflowed.")


@cache
def _threads() -> ThreadpoolController:
    """Find the thread pools once, since that takes longer than solving a small head."""
    return ThreadpoolController()


def one_thread(solve: Callable[P, None]) -> Callable[P, None]:
    """Decorate a solver to use one BLAS thread.

    Matrices are small and calls are many. Measured on two shared cores, several threads were 30 times slower.
    """

    @wraps(solve)
    def limited(*args: P.args, **kwargs: P.kwargs) -> None:
        with _threads().limit(limits=1):
            solve(*args, **kwargs)

    return limited


def fill(module: nn.Module, weight: np.ndarray, bias: np.ndarray, x: Standardised) -> None:
    """Set a linear layer for raw features from weight (outputs, width) and bias (outputs,) for standardised ones."""
    if not isinstance(module, nn.Linear):
        raise TypeError(f"a closed form fills an nn.Linear; got {type(module).__name__}")
    weight = weight / x.scale
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(weight))
        module.bias.copy_(torch.from_numpy(bias - weight @ x.mean))


def indicators(targets: np.ndarray, task: Task) -> np.ndarray:
    """Return encoded classes as float64 (N, classes) of 0 and 1."""
    return np.eye(task.outputs)[targets] if task.single_label else targets.astype(np.float64)


def prior_shift(weights: np.ndarray | None, targets: np.ndarray, task: Task) -> np.ndarray:
    """Return the logarithms of class weights (classes,), which added to logits change the prior of each class.

    The value of a class without examples is 0.
    """
    if weights is None or task.kind == "regression":
        return np.zeros(task.outputs)
    return np.where(indicators(targets, task).any(0), np.log(weights), 0.0)


def temperature_factor(
    scores: np.ndarray, targets: np.ndarray, task: Task, sample_weight: np.ndarray | None = None
) -> float:
    """Return the factor that calibrates scores (N, classes) as logits, by temperature scaling.

    The scores are out-of-sample scores. Source: Guo et al., On Calibration (ICML 2017).
    """
    sample = slice(None, None, max(1, scores.size // _MAX_SCORES_FOR_TEMPERATURE))
    scores, targets = scores[sample], targets[sample]
    weights = None if sample_weight is None else sample_weight[sample]

    def loss(factor: float) -> float:
        if task.single_label:
            losses = -log_softmax(factor * scores, axis=1)[np.arange(len(scores)), targets]
        else:
            losses = np.logaddexp(0, -factor * scores * (2 * targets - 1)).mean(1)
        return float(np.average(losses, weights=weights))

    return float(min(np.geomspace(1e-3, 1e2, 51), key=loss))
