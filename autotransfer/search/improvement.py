"""Expected improvement on the best level so far."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr, ndtr

__all__ = ["expected_improvement", "log_expected_improvement"]

Array = npt.NDArray[np.float64]
# Standard deviations below the best beyond which the logarithm of an improvement is that of the tail.
FAR_BELOW = 5.0


def expected_improvement(ahead: float, deviation: float) -> float:
    """Return the expected improvement by a Gaussian level that is expected to be ahead of the best by so much."""
    return math.exp(float(log_expected_improvement(np.array([ahead]), np.array([deviation]))[0]))


def log_expected_improvement(ahead: Array, deviation: Array) -> Array:
    """Return the logarithm of the expected improvement.

    Far below the best, the improvement is too small for a float, and its logarithm is not.

    Args:
        ahead: By how much levels are expected to be ahead of the best one (n,).
        deviation: Their standard deviations (n,), positive.
    """
    u = ahead / deviation
    gain = deviation * (u * ndtr(u) + np.exp(-u * u / 2) / math.sqrt(2 * math.pi))
    # The tail of u * ndtr(u) + density(u) is about ndtr(u) / -u.
    tail = log_ndtr(u) + np.log(deviation) - np.log(np.maximum(-u, 1.0))
    return np.asarray(np.where(u > -FAR_BELOW, np.log(np.maximum(gain, 1e-300)), tail))
