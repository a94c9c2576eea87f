"""Expected improvement against integrals, and far below the best."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from autotransfer.search.improvement import expected_improvement, log_expected_improvement


@pytest.mark.parametrize(("ahead", "deviation"), [(0.0, 1.0), (0.5, 0.2), (-0.3, 0.4), (-1.2, 0.3), (2.0, 0.01)])
def test_improvement_is_the_integral_over_what_is_better(ahead: float, deviation: float) -> None:
    def better(level: float) -> float:
        return level * float(norm.pdf(level, ahead, deviation))

    integral, _ = quad(better, 0.0, max(ahead, 0.0) + 12 * deviation, points=[max(ahead, 0.0)], limit=200)
    assert expected_improvement(ahead, deviation) == pytest.approx(integral, rel=1e-5)


def test_far_below_the_best_logarithms_stay_finite_and_ordered() -> None:
    ahead = -np.linspace(0.0, 60.0, 61)
    logs = log_expected_improvement(ahead, np.ones(61))
    assert np.isfinite(logs).all()
    assert (np.diff(logs) < 0).all()
    # The density over the square of the distance is the first term of the tail.
    assert logs[-1] == pytest.approx(norm.logpdf(60.0) - 2 * math.log(60.0), abs=0.01)


def test_more_doubt_is_more_improvement() -> None:
    ahead = np.array([-8.0, -1.0, 0.0, 1.0])
    assert (log_expected_improvement(ahead, np.ones(4)) < log_expected_improvement(ahead, 2 * np.ones(4))).all()
