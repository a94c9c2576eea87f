"""The log loss of probabilities, by weights where there are any."""

from __future__ import annotations

import numpy as np

__all__ = ["log_loss"]

# Probabilities below this count as this: one that is sure and wrong must not be infinitely bad.
_MIN_PROBABILITY = 1e-7


def log_loss(
    encoded: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None, *, single_label: bool
) -> float:
    """Return the mean log loss of probabilities.

    Args:
        encoded: Class indices (N,), or indicators (N, classes) of several labels.
        predictions: Probabilities (N, classes).
        weights: Weight (N,) of each example; None weights all examples equally.
        single_label: Whether each example has exactly one class.
    """
    if single_label:
        right = predictions[np.arange(len(encoded)), encoded]
    else:
        right = np.where(encoded > 0, predictions, 1 - predictions)
    losses = -np.log(np.clip(right, _MIN_PROBABILITY, 1.0))
    if weights is None:
        return float(losses.mean())
    return float(np.average(losses if single_label else losses.mean(1), weights=weights))
