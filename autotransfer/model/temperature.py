"""Temperature scaling of probabilities (Guo et al. 2017): logits are divided by a temperature."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, log_softmax, softmax

from autotransfer.tasks.task import Task

__all__ = ["MAX_TEMPERATURE", "MIN_TEMPERATURE", "fit_temperature", "temper"]

# Beyond these, probabilities are all but 0 and 1, or all but equal.
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
# Distance to 0 and 1 that probabilities of several labels keep: float32 holds none between this one and 1.
MIN_DISTANCE_TO_CERTAINTY = 2.0**-24


def temper(task: Task, predictions: np.ndarray, temperature: float) -> np.ndarray:
    """Divide the logits of probabilities (N, classes) by a temperature, without a change of the predicted labels.

    Returns:
        Probabilities (N, classes) as float32; the values (N, targets) of a regression as they are.
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


def fit_temperature(
    task: Task, targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Return the temperature with the least log loss.

    Targets are smoothed as in Platt's scaling (1999): a share of 1 / (n + 2) of each target goes to the other classes.
    Without it, no temperature would be low enough where all examples are right.

    Args:
        task: A classification.
        targets: Encoded targets (n, ...).
        predictions: Probabilities (n, classes).
        weights: Weight (n,) of each example; None weights all examples equally.
    """
    logits, smoothed = _logits(task, predictions), _smoothed_targets(task, targets)

    def loss(log_temperature: float) -> float:
        losses = _losses(task, logits / math.exp(log_temperature), smoothed)
        return float(losses.sum() if weights is None else weights @ losses)

    bounds = (math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE))
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)


def _smoothed_targets(task: Task, targets: np.ndarray) -> np.ndarray:
    """Return the target probabilities (n, outputs)."""
    smoothing = 1 / (len(targets) + 2)
    if task.single_label:
        return np.asarray(np.eye(task.outputs)[targets] * (1 - smoothing) + smoothing / task.outputs)
    return np.asarray(targets * (1 - smoothing) + (1 - targets) * smoothing)


def _losses(task: Task, logits: np.ndarray, smoothed: np.ndarray) -> np.ndarray:
    if task.single_label:
        return np.asarray(-(smoothed * log_softmax(logits, axis=1)).sum(1))
    return np.asarray(-(smoothed * log_expit(logits) + (1 - smoothed) * log_expit(-logits)).sum(1))


def _logits(task: Task, predictions: np.ndarray) -> np.ndarray:
    """Return logits (N, classes) in double precision; of the softmax, up to a constant for each example."""
    exact = predictions.astype(np.float64)
    if task.single_label:
        return np.asarray(np.log(np.maximum(exact, np.finfo(np.float32).tiny)))
    exact = np.clip(exact, MIN_DISTANCE_TO_CERTAINTY, 1 - MIN_DISTANCE_TO_CERTAINTY)
    return np.asarray(np.log(exact) - np.log1p(-exact))
