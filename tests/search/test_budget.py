"""The budget: what is spent, reserved and left, and when to give up."""

from __future__ import annotations

import math

import pytest

from autotransfer.search.budget import TimeBudget
from autotransfer.settings import Budget


class Clock:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_time_counts_from_the_start(clock: Clock) -> None:
    time_budget = TimeBudget(Budget(seconds=60.0), clock=clock)
    clock.now += 10
    assert (time_budget.spent, time_budget.left) == (10.0, 50.0)


def test_what_the_refit_reserved_is_not_for_trials(clock: Clock) -> None:
    time_budget = TimeBudget(Budget(seconds=60.0), clock=clock)
    time_budget.reserve("refit", 20.0)
    assert time_budget.left == 40.0
    clock.now += 40
    assert time_budget.exhausted(1)


def test_a_step_leaves_later_steps_what_they_reserved(clock: Clock) -> None:
    time_budget = TimeBudget(Budget(seconds=60.0), clock=clock)
    time_budget.reserve("refit", 20.0)
    time_budget.reserve("test", 5.0)
    assert (time_budget.left_for("refit"), time_budget.left) == (55.0, 35.0)


def test_the_first_trial_may_start_on_any_budget(clock: Clock) -> None:
    time_budget = TimeBudget(Budget(seconds=1.0), clock=clock)
    clock.now += 5
    assert not time_budget.exhausted(0)


def test_a_budget_of_trials_does_not_look_at_the_clock(clock: Clock) -> None:
    time_budget = TimeBudget(Budget(trials=2), clock=clock)
    time_budget.reserve("refit", 1e9)
    clock.now += 1e9
    assert time_budget.left == math.inf
    assert not time_budget.exhausted(1)
    assert time_budget.exhausted(2)
    assert time_budget.allowance(1.25, "sampled") == math.inf


def test_whichever_comes_first_ends_the_search(clock: Clock) -> None:
    time_budget = TimeBudget(Budget(seconds=60.0, trials=5), clock=clock)
    assert time_budget.exhausted(5)
    clock.now += 61
    assert time_budget.exhausted(1)


def test_a_trial_may_take_what_its_own_refit_leaves(clock: Clock) -> None:
    time_budget = TimeBudget(Budget(seconds=1000.0), clock=clock)
    clock.now += 910
    assert time_budget.allowance(2.0, "screening") == pytest.approx(30.0)  # 30 to search, 60 to refit


def test_a_resumed_trial_leaves_time_to_refit_all_of_it(clock: Clock) -> None:
    time_budget = TimeBudget(Budget(seconds=1000.0), clock=clock)
    clock.now += 910
    assert time_budget.allowance(2.0, "screening", taken=15.0) == pytest.approx(20.0)  # 20 to search, 70 to refit
    # A refit of more than 250 seconds is not worth its time: nothing has to be left for it.
    assert time_budget.allowance(2.0, "screening", taken=100.0) == pytest.approx(90.0)


@pytest.mark.parametrize("reserve", [0.0, 10.0, 40.0, 80.0])
@pytest.mark.parametrize("factor", [1.0, 1.25, 4.0])
@pytest.mark.parametrize("spent", [15, 60, 90])
def test_an_allowed_trial_leaves_time_for_either_refit(clock: Clock, reserve: float, factor: float, spent: int) -> None:
    time_budget = TimeBudget(Budget(seconds=100.0), clock=clock)
    time_budget.reserve("refit", reserve)
    clock.now += spent
    allowed = time_budget.allowance(factor, "screening")
    after = time_budget.spent + max(allowed, 0.0)
    assert after + reserve <= 100.0 + 1e-9 or allowed <= 0  # it loses, and the best so far is refitted
    refit = allowed * factor
    assert refit > 25 or after + refit <= 100.0 + 1e-9  # it wins and is refitted, unless that takes a quarter of all


def test_a_refit_of_a_quarter_of_the_budget_is_not_reserved(clock: Clock) -> None:
    time_budget = TimeBudget(Budget(seconds=100.0), clock=clock)
    time_budget.reserve_refit(20.0)
    assert time_budget.left == pytest.approx(80.0)
    time_budget.reserve_refit(30.0)  # its network is kept instead
    assert time_budget.left == pytest.approx(100.0)


def test_a_refit_without_time_is_not_reserved(clock: Clock) -> None:
    # Else neither it nor the search would use what is left.
    time_budget = TimeBudget(Budget(seconds=100.0), clock=clock)
    clock.now += 85.0
    time_budget.reserve_refit(20.0)
    assert time_budget.left == pytest.approx(15.0)


def test_a_trial_may_take_the_budget_share_of_its_source(clock: Clock) -> None:
    time_budget = TimeBudget(Budget(seconds=1000.0), clock=clock)
    assert time_budget.allowance(1.0, "sampled") == pytest.approx(20.0)
    assert time_budget.allowance(1.0, "sampled_tuning") == pytest.approx(150.0)
    assert time_budget.allowance(1.0, "fine_tuning") == pytest.approx(500.0)
    assert time_budget.allowance(1.0, "screening") == pytest.approx(1000.0)


def test_reservations_are_printed_by_name(clock: Clock) -> None:
    time_budget = TimeBudget(Budget(seconds=60.0), clock=clock)
    time_budget.reserve("transfer_gain", 3.0)
    time_budget.reserve("finals", 2.0)
    assert str(time_budget) == "0.0 of 60.0 s are spent; reserved: finals 2.0 s, transfer gain 3.0 s"
    time_budget.reserve("finals", 0.0)
    assert time_budget.reservations == {"transfer_gain": 3.0}
    assert str(TimeBudget(Budget(trials=5), clock=clock)) == "5 trials"


def test_seconds_before_a_resume_are_spent(clock: Clock) -> None:
    time_budget = TimeBudget(Budget(seconds=60.0), clock=clock)
    time_budget.count_earlier(20.0)
    assert (time_budget.spent, time_budget.left) == (20.0, 40.0)
