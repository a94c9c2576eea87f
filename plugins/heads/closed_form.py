"""Linear heads that are solved on cached features in closed form: logistic, ridge, ncm.

The solution for standardised features is folded into an ``nn.Linear`` for raw features.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.lapack import dpotri
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import nn

from autotransfer.tasks.task import Task
from autotransfer_plugins.heads._solving import (
    Standardised,
    fill,
    indicators,
    one_thread,
    prior_shift,
    temperature_factor,
    without_weightless,
)

__all__ = ["DEFAULTS", "build", "fit_logistic", "fit_ridge", "solve_logistic", "solve_ncm", "solve_ridge"]

DEFAULTS: Mapping[str, Any] = {"C": 0.1, "alpha": 1e3}

# The logit of a class without training examples is this much below the lowest logit.
_ABSENT_CLASS_MARGIN = 10.0
# Gradient at which a logistic regression on dense features stops: a trial needs no exact solution.
_TOLERANCE = 1e-3


def build(shape: tuple[int, ...], outputs: int, params: Mapping[str, Any]) -> nn.Module:
    """Return an untrained head; see ``HeadSpec.build``."""
    return nn.Linear(shape[0], outputs)


@one_thread
def solve_logistic(
    module: nn.Module,
    features: np.ndarray,
    targets: np.ndarray,
    task: Task,
    params: Mapping[str, Any],
    weights: np.ndarray | None,
    sample_weight: np.ndarray | None = None,
) -> None:
    """Fit a logistic regression; for several labels, one for each label."""
    features, targets, sample_weight = without_weightless(features, targets, sample_weight)
    x = Standardised.of(features, sample_weight)
    strength = {**DEFAULTS, **params}["C"]
    weight, bias = fit_logistic(x.values, targets, task, strength, weights, sample_weight=sample_weight)
    fill(module, weight, bias, x)


def fit_logistic(
    x: Any,
    targets: np.ndarray,
    task: Task,
    strength: float,
    weights: np.ndarray | None,
    *,
    sample_weight: np.ndarray | None = None,
    tolerance: float = _TOLERANCE,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a softmax regression, or one logistic regression for each of several labels.

    Args:
        x: Features (N, width), an array or a sparse matrix.
        targets: Encoded targets.
        task: The task.
        strength: Inverse of the strength of the penalty.
        weights: Class weights (classes,), or None.
        sample_weight: Weights (N,) of the examples, which multiply those of their classes; or None.
        tolerance: Gradient at which the solver stops.

    Returns:
        Weight (outputs, width) and bias (outputs,).
    """
    if task.single_label:
        return _logistic(x, targets, task.outputs, strength, weights, sample_weight, tolerance)
    rows = []
    for label in range(task.outputs):
        pair = None if weights is None else np.array([1.0, weights[label]])
        rows.append(_logistic(x, targets[:, label].astype(int), 2, strength, pair, sample_weight, tolerance))
    # The logit of a label is the difference of its two logits.
    weight = np.stack([pair_weight[1] - pair_weight[0] for pair_weight, _ in rows])
    return weight, np.array([pair_bias[1] - pair_bias[0] for _, pair_bias in rows])


def _logistic(
    x: Any,
    targets: np.ndarray,
    classes: int,
    strength: float,
    weights: np.ndarray | None,
    sample_weight: np.ndarray | None,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return weight (classes, width) and bias (classes,) of a softmax regression."""
    present = np.unique(targets)
    weight, bias = np.zeros((classes, x.shape[1])), np.zeros(classes)
    if len(present) > 1:
        balance = None if weights is None else {int(c): float(weights[c]) for c in present}
        model = LogisticRegression(C=strength, class_weight=balance, tol=tolerance, max_iter=300)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a trial needs no exact solution
            model.fit(x.astype(np.float32), targets, sample_weight=sample_weight)
        two = len(present) == 2  # scikit-learn has one row of logits for two classes
        weight[present] = np.concatenate([-model.coef_, model.coef_]) / 2 if two else model.coef_
        bias[present] = np.concatenate([-model.intercept_, model.intercept_]) / 2 if two else model.intercept_
    return weight, _without_absent(x, weight, bias, present)


def _without_absent(x: Any, weight: np.ndarray, bias: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Return the bias, with the classes without examples below all other classes."""
    absent = np.setdiff1d(np.arange(len(bias)), present)
    bias[absent] = (x @ weight[present].T + bias[present]).min() - _ABSENT_CLASS_MARGIN
    return bias


@one_thread
def solve_ridge(
    module: nn.Module,
    features: np.ndarray,
    targets: np.ndarray,
    task: Task,
    params: Mapping[str, Any],
    weights: np.ndarray | None,
    sample_weight: np.ndarray | None = None,
) -> None:
    """Fit a ridge regression, to the targets or to classes coded -1 and 1.

    For classes, leave-one-out scores give the factor from scores to logits (see ``temperature_factor``). Class weights
    shift the logits as a change of the prior does.
    """
    features, targets, sample_weight = without_weightless(features, targets, sample_weight)
    x, alpha = Standardised.of(features, sample_weight), {**DEFAULTS, **params}["alpha"]
    fill(module, *fit_ridge(x.values, targets, task, alpha, weights, sample_weight), x)


def fit_ridge(
    x: np.ndarray,
    targets: np.ndarray,
    task: Task,
    alpha: float,
    weights: np.ndarray | None,
    sample_weight: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return weight (outputs, width) and bias (outputs,) for centred features (N, width) and encoded targets.

    Class weights (classes,) shift the logits; weights (N,) of the examples multiply their squared errors.
    """
    y = targets.astype(np.float64) if task.kind == "regression" else 2 * indicators(targets, task) - 1
    bias = np.average(y, axis=0, weights=sample_weight)
    weight, loo = _ridge(x, y - bias, alpha, sample_weight)
    if task.kind != "regression":
        factor = temperature_factor(loo + bias, targets, task, sample_weight)
        weight, bias = factor * weight, factor * bias + prior_shift(weights, targets, task)
    return weight, bias


def _ridge(
    x: np.ndarray, y: np.ndarray, alpha: float, sample_weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Solve a ridge regression for centred x (N, width) and y (N, outputs), by weights (N,) of the examples if any.

    Returns:
        The weight (outputs, width), and the leave-one-out predictions (N, outputs), which follow from the diagonal of
        the hat matrix (Golub, Heath and Wahba 1979).
    """
    n, width = x.shape
    plain, centred, share_of_bias = x, y, np.full(n, 1 / n)
    if sample_weight is not None:  # least squares of rows that are scaled
        root = np.sqrt(sample_weight)[:, None].astype(x.dtype)
        x, y, share_of_bias = root * x, root * y, sample_weight / sample_weight.sum()
    if n <= width:
        factor = cho_factor(x @ x.T + alpha * np.eye(n))
        weight = cho_solve(factor, y).T @ x
        hat = 1 - alpha * dpotri(*factor)[0].diagonal()  # takes a third of the time of ``cho_solve``
    else:
        solved = cho_solve(cho_factor(x.T @ x + alpha * np.eye(width)), x.T)
        weight = (solved @ y).T
        hat = np.einsum("nd,dn->n", x, solved)
    residual_share = np.maximum(1 - hat - share_of_bias, 1e-6)[:, None]
    return weight, centred - (centred - plain @ weight.T) / residual_share


@one_thread
def solve_ncm(
    module: nn.Module,
    features: np.ndarray,
    targets: np.ndarray,
    task: Task,
    params: Mapping[str, Any],
    weights: np.ndarray | None,
    sample_weight: np.ndarray | None = None,
) -> None:
    """Predict the class with the nearest mean (Mensink et al. 2013); class weights have no effect.

    Up to a term that is equal for all classes, the negative squared distance is twice x.m - m.m / 2, linear in x.
    """
    features, targets, sample_weight = without_weightless(features, targets, sample_weight)
    x, members = Standardised.of(features, sample_weight), indicators(targets, task)
    each = np.ones(len(targets)) if sample_weight is None else sample_weight
    numbers, members = members.sum(0), members * each[:, None]
    counts = members.sum(0)
    means = (members.T @ x.values) / np.where(counts > 0, counts, 1)[:, None]
    scores = x.values @ means.T - (means**2).sum(1) / 2
    # The mean of an example's class without the example, for leave-one-out scores.
    rest = np.where(numbers[targets] > 1, counts[targets] - each, each)
    others = (counts[targets][:, None] * means[targets] - each[:, None] * x.values) / rest[:, None]
    scores[np.arange(len(targets)), targets] = (x.values * others).sum(1) - (others**2).sum(1) / 2
    factor = temperature_factor(scores, targets, task, sample_weight)
    weight, bias = factor * means, -factor * (means**2).sum(1) / 2
    fill(module, weight, _without_absent(x.values, weight, bias, np.flatnonzero(counts)), x)
