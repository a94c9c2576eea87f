"""What is left of a budget, and what it still buys."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from autotransfer.search.proposal import Source
from autotransfer.settings import Budget

__all__ = ["TimeBudget"]

Clock = Callable[[], float]

# A search gives up when so many trials, and so large a share of the time, brought nothing better.
_PATIENCE_TRIALS = 60
_PATIENCE_TIME = 0.25
# Largest share of the time budget that a refit is worth: to learn from a fourth or fifth more examples.
_REFIT_SHARE = 0.25
# Largest share of the time budget that one trial may be expected to take, by its source. Settings that the sampler
# chose may be costly. Tuned on the five image sets of the benchmarks.
MAX_TRIAL_SHARE: Mapping[Source, float] = {
    "screening": 1.0,
    "variants": 1.0,
    "frozen_heads": 0.02,
    "fine_tuning": 0.5,
    "sampled_tuning": 0.15,
    "sampled": 0.02,
    "planned": 1.0,
    "last_resort": 1.0,
}


@dataclass
class TimeBudget:
    """Counts a budget down.

    Attributes:
        limit: What may be spent.
        clock: Returns seconds; a virtual one replays recorded curves.
        started: When counting began, in the clock's seconds.
        reserve: Seconds that the refit is expected to need.
        overhead: Seconds that what follows the refit is expected to need.
        aside: Seconds that the search leaves to the finals.
        halted: Whether the search is to end now, whatever is left.
    """

    limit: Budget
    clock: Clock = time.monotonic
    started: float = field(default=math.nan)
    reserve: float = 0.0
    overhead: float = 0.0
    aside: float = 0.0
    halted: bool = False

    def __post_init__(self) -> None:
        if math.isnan(self.started):
            self.started = self.clock()

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.started

    @property
    def left(self) -> float:
        """Seconds that the search may still take, the rest of the run set apart; infinite without a time budget."""
        return self.remaining - self.reserve - self.aside

    @property
    def remaining(self) -> float:
        """Seconds that search and refit may still take; infinite without a time budget."""
        return math.inf if self.limit.seconds is None else self.limit.seconds - self.spent - self.overhead

    def empty(self, trials: int) -> bool:
        """Whether no further trial may start; the first one may, however small the budget: there is always a result."""
        over = self.left <= 0 or self.halted
        return (over and trials > 0) or (self.limit.trials is not None and trials >= self.limit.trials)

    def set_apart(self, seconds: float) -> None:
        """Set apart what the refit of the best trial needs.

        Where that is too much, or there is no longer time for it, the trial's network is kept instead.
        """
        self.reserve = seconds if self.affords(seconds) and seconds <= self.remaining else 0.0

    def affords(self, refit: float) -> bool:
        """Whether a refit of so many seconds is worth its time."""
        return self.limit.seconds is None or refit <= _REFIT_SHARE * self.limit.seconds

    def allowance(self, refit_factor: float, source: Source, taken: float = 0.0) -> float:
        """Return the seconds that the next trial may take.

        Its refit must fit in should it win, the best one's if not; unless its refit takes too much to be done at all.

        Args:
            refit_factor: Time of a refit in times of its trial.
            source: Which part of the search proposes the trial.
            taken: Seconds that it has taken before, if it goes on: a refit has to repeat them.
        """
        if self.limit.seconds is None:
            return math.inf
        whole = min(self.left, (self.left + self.reserve - taken * refit_factor) / (1.0 + refit_factor))
        if not self.affords((taken + self.left) * refit_factor):
            whole = self.left
        return min(whole, MAX_TRIAL_SHARE[source] * self.limit.seconds)

    def stalled(self, trials_since_best: int, seconds_at_best: float) -> bool:
        """Whether going on is unlikely to bring anything better."""
        if self.limit.seconds is None or trials_since_best < _PATIENCE_TRIALS:
            return False
        return self.spent - seconds_at_best > _PATIENCE_TIME * self.limit.seconds
