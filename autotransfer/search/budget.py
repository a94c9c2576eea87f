"""The budget of a fit: what is spent, what later steps have reserved, and what is left for the search."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Literal, get_args

from autotransfer.search.proposal import SourceName
from autotransfer.settings import Budget

__all__ = ["Clock", "Step", "TimeBudget"]

Clock = Callable[[], float]
Step = Literal[
    "search", "finals", "ensemble", "test_views", "refit", "latency", "test", "transfer_gain", "explanations", "report"
]
"""The steps of a fit, in their order: each leaves to the later steps what these have reserved."""

STEPS: tuple[Step, ...] = get_args(Step)
# Largest share of the time budget that a refit may take: it learns from a fourth or fifth more examples.
REFIT_BUDGET_SHARE = 0.25
# Largest share of the time budget that one trial may be predicted to take, by its source. Settings that the sampler
# chose may be costly. Tuned on the five image sets of the benchmarks.
TRIAL_BUDGET_SHARE: Mapping[SourceName, float] = {
    "screening": 1.0,
    "variants": 1.0,
    "frozen_heads": 0.02,
    "fine_tuning": 0.5,
    "sampled_tuning": 0.15,
    "sampled": 0.02,
    "planned": 1.0,
    "last_resort": 1.0,
}


class TimeBudget:
    """Counts a budget down, and keeps for later steps what they have reserved.

    Args:
        limit: What may be spent.
        clock: Returns seconds; a virtual one replays recorded curves.
    """

    def __init__(self, limit: Budget, clock: Clock = time.monotonic) -> None:
        self.limit, self.clock = limit, clock
        self._started = clock()
        self._reserved: dict[Step, float] = {}
        self._stopped = False

    def __str__(self) -> str:
        if self.limit.seconds is None:
            return f"{self.limit.trials} trials"
        kept = ", ".join(f"{step.replace('_', ' ')} {self._reserved[step]:.1f} s" for step in self.reservations)
        return f"{self.spent:.1f} of {self.limit.seconds:.1f} s are spent; reserved: {kept or 'nothing'}"

    @property
    def spent(self) -> float:
        """Seconds since the start, with those of the run before it was resumed."""
        return self.clock() - self._started

    @property
    def reservations(self) -> Mapping[Step, float]:
        """The seconds that are reserved, by step, in the order of the steps."""
        return {step: self._reserved[step] for step in STEPS if self._reserved.get(step)}

    @property
    def stopped(self) -> bool:
        """Whether the search has to end now, whatever is left."""
        return self._stopped

    def stop(self) -> None:
        """End the search now, whatever is left."""
        self._stopped = True

    def count_earlier(self, seconds: float) -> None:
        """Count seconds that a run had spent before it was resumed."""
        self._started -= seconds

    def reserve(self, step: Step, seconds: float) -> None:
        """Keep seconds for a step; they replace what was reserved for the step before."""
        self._reserved[step] = seconds

    def reserve_refit(self, seconds: float) -> None:
        """Keep seconds for the refit of the best trial.

        A refit that takes too much of the budget, or more than is left, does not happen: nothing is kept for it, and
        the network of the trial becomes the model.
        """
        self.reserve("refit", seconds if self.affords_refit(seconds) and seconds <= self.left_for("refit") else 0.0)

    def affords_refit(self, seconds: float) -> bool:
        """Whether the budget allows a refit of so many seconds."""
        return self.limit.seconds is None or seconds <= REFIT_BUDGET_SHARE * self.limit.seconds

    def left_for(self, step: Step) -> float:
        """Return the seconds that a step may take, what later steps reserved excluded; infinite without a time budget.

        Negative where more is spent than the budget allows.
        """
        if self.limit.seconds is None:
            return math.inf
        later = STEPS[STEPS.index(step) + 1 :]
        return self.limit.seconds - self.spent - sum(self._reserved.get(other, 0.0) for other in later)

    @property
    def left(self) -> float:
        """Seconds that the search may still take; infinite without a time budget."""
        return self.left_for("search")

    def exhausted(self, trials: int) -> bool:
        """Whether no further trial may start, after so many; the first one may start, so that there is a result."""
        over = self.left <= 0 or self.stopped
        return (over and trials > 0) or (self.limit.trials is not None and trials >= self.limit.trials)

    def allowance(self, refit_factor: float, source: SourceName, taken: float = 0.0) -> float:
        """Return the seconds that the next trial may take.

        Its refit must fit in should it win, the best one's if not; unless its refit takes too much to be done at all.

        Args:
            refit_factor: Time of a refit in times of its trial.
            source: Which part of the search proposes the trial.
            taken: Seconds that a resumed trial has taken before: a refit has to repeat them.
        """
        if self.limit.seconds is None:
            return math.inf
        left, refit = self.left, self._reserved.get("refit", 0.0)
        allowed = min(left, (left + refit - taken * refit_factor) / (1.0 + refit_factor))
        if not self.affords_refit((taken + left) * refit_factor):
            allowed = left
        return min(allowed, TRIAL_BUDGET_SHARE[source] * self.limit.seconds)
