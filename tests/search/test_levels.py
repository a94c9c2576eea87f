"""Levels: equal steps are equal shares of the error, whatever the metric."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autotransfer.search.levels import Levels

ACCURACY = Levels(perfect=1.0, trivial=0.1)


def test_the_trivial_predictor_has_about_level_zero() -> None:
    assert ACCURACY(0.1) == pytest.approx(0.0, abs=0.03)
    assert ACCURACY(0.05) < ACCURACY(0.1)


@pytest.mark.parametrize("error", [0.8, 0.4, 0.2])
def test_half_of_an_error_is_about_as_many_levels(error: float) -> None:
    gain = ACCURACY(1.0 - error / 2) - ACCURACY(1.0 - error)
    assert gain == pytest.approx(math.log(2), abs=0.1)


def test_levels_rise_with_objectives_and_stay_finite() -> None:
    levels = [ACCURACY(objective) for objective in np.linspace(-3.0, 1.0, 50)]
    assert levels == sorted(levels)
    assert math.isfinite(levels[-1])
    assert ACCURACY(1.2) == levels[-1], "beyond perfect is perfect"


@pytest.mark.parametrize("unit", [1e-3, 1.0, 4000.0])
def test_the_unit_of_a_metric_does_not_change_levels(unit: float) -> None:
    # The root mean squared error of the mean is ten units; a perfect one is 0.
    errors = Levels(perfect=0.0, trivial=-10.0 * unit)
    for share in (1.0, 0.5, 0.03):
        assert errors(-10.0 * unit * share) == pytest.approx(Levels()(1.0 - share))
        assert errors.error(-10.0 * unit * share) == pytest.approx(share)


def test_unbounded_metrics_rise_in_shares_of_the_trivial_score() -> None:
    for unit in (1.0, 1000.0):
        levels = Levels(perfect=math.inf, trivial=2.0 * unit)
        assert levels(2.0 * unit) == 0.0
        assert levels(4.0 * unit) == pytest.approx(1.0)
        assert levels.error(2.0 * unit) == 1.0
        assert 0.0 < levels.error(9.0 * unit) < levels.error(3.0 * unit) < 1.0


def test_a_perfect_trivial_predictor_divides_by_nothing() -> None:
    levels = Levels(perfect=1.0, trivial=1.0)
    assert levels(0.5) < levels(0.9) < levels(1.0)
