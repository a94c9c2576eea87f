"""Temperatures: what the logits of a classifier are divided by to be right as often as it says (Guo et al. 2017)."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, log_softmax, softmax

from autotransfer.tasks.task import Task

__all__ = ["fit_temperature", "temper"]

_COOLEST, _HOTTEST = 0.05, 20.0
# Single-precision probabilities of several labels come no nearer to 1 than this.
_ULP = 2.0**-24


def temper(task: Task, predictions: np.ndarray, temperature: float) -> np.ndarray:
    """Divide the logits of probabilities (N, classes) by a temperature; the labels that they predict stay.

    Returns:
        Probabilities (N, classes) as float32; the values of a regression as they are.
    """
    if temperature == 1.0 or task.kind == "regression":
        return predictions
    logits = _logits(task, predictions) / temperature
    if not task.single_label:
        several: np.ndarray = expit(logits).astype(np.float32)
        several[predictions > 0.5] = np.maximum(
            several[predictions > 0.5], np.nextafter(np.float32(0.5), np.float32(1))
        )
        return several
    tempered: np.ndarray = softmax(logits, axis=1).astype(np.float32)
    chosen = predictions.argmax(1)
    # Rounding can make two probabilities equal, and the earlier class would be taken.
    lost = np.flatnonzero(tempered.argmax(1) != chosen)
    tempered[lost, chosen[lost]] = np.nextafter(tempered[lost, chosen[lost]], np.float32(2))
    return tempered


def fit_temperature(task: Task, targets: np.ndarray, predictions: np.ndarray) -> float:
    """Return the temperature with the least log loss.

    As in Platt's scaling (1999), a share of 1 / (n + 2) of each target goes to the other classes: where all examples
    are right, no temperature would be low enough otherwise.
    """
    logits, wanted = _logits(task, predictions), _wanted(task, targets)

    def loss(log_temperature: float) -> float:
        return float(_losses(task, logits / math.exp(log_temperature), wanted).sum())

    bounds = (math.log(_COOLEST), math.log(_HOTTEST))
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)


def _wanted(task: Task, targets: np.ndarray) -> np.ndarray:
    """Return the probabilities (n, outputs) that are wanted."""
    doubt = 1 / (len(targets) + 2)
    if task.single_label:
        return np.asarray(np.eye(task.outputs)[targets] * (1 - doubt) + doubt / task.outputs)
    return np.asarray(targets * (1 - doubt) + (1 - targets) * doubt)


def _losses(task: Task, logits: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    if task.single_label:
        return np.asarray(-(wanted * log_softmax(logits, axis=1)).sum(1))
    return np.asarray(-(wanted * log_expit(logits) + (1 - wanted) * log_expit(-logits)).sum(1))


def _logits(task: Task, predictions: np.ndarray) -> np.ndarray:
    """Return logits (N, classes) in double precision, up to what the softmax takes off."""
    exact = predictions.astype(np.float64)
    if task.single_label:
        return np.asarray(np.log(np.maximum(exact, np.finfo(np.float32).tiny)))
    exact = np.clip(exact, _ULP, 1 - _ULP)
    return np.asarray(np.log(exact) - np.log1p(-exact))
