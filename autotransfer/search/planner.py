"""How many epochs of a candidate fit into the seconds that its trial may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from autotransfer.candidate import Candidate
from autotransfer.search.jobs import Evaluate
from autotransfer.search.proposal import Proposal
from autotransfer.search.trials import TrialRecord

__all__ = ["MAX_OVERRUN", "Cheapest", "Plan", "TrialPlanner", "with_at_most"]

# A trial is ended when it has taken this many times the seconds that it may take: predictions err.
MAX_OVERRUN = 1.5
# Share of the seconds that a trial may take which its epochs are planned to take.
PLANNED_SHARE = 0.9
# A prediction may be 0 seconds.
MIN_SECONDS = 1e-6


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a trial does.

    Attributes:
        candidate: The candidate with the epochs that fit; None where too few fit.
        seconds: Predicted seconds.
        until: Epochs after which it is paused; None trains it to its end.
    """

    candidate: Candidate | None
    seconds: float
    until: int | None = None


@dataclass(frozen=True, kw_only=True)
class Cheapest:
    """The cheapest candidate that did not fit, with a single epoch.

    Attributes:
        candidate: The candidate.
        params: Parameters of its trial.
        seconds: Predicted seconds.
    """

    candidate: Candidate
    params: Mapping[str, Any]
    seconds: float


class TrialPlanner:
    """Shortens candidates to what fits.

    Args:
        evaluate: Predicts the seconds of a candidate.
        min_epochs: Epochs that a candidate is shortened to at most: fewer tell nothing.

    Attributes:
        cheapest: The cheapest candidate that did not fit while there was no result.
    """

    def __init__(self, evaluate: Evaluate, min_epochs: int) -> None:
        self._evaluate, self._min_epochs = evaluate, min_epochs
        self.cheapest: Cheapest | None = None

    def plan_new(
        self, candidate: Candidate, params: Mapping[str, Any], proposal: Proposal, allowed: float, *, is_first: bool
    ) -> Plan:
        """Plan a new trial.

        Args:
            candidate: The candidate.
            params: Parameters of its trial.
            proposal: What is carried out.
            allowed: Seconds that the trial may take.
            is_first: Whether there is no result yet.
        """
        expected = self._evaluate.predicted_seconds(candidate)
        # A closed form always runs while there is no result: there is one, however small the budget.
        if expected <= allowed or (is_first and "epochs" not in candidate.training):
            return Plan(candidate=candidate, seconds=expected, until=proposal.until)
        if proposal.source == "last_resort":
            candidate = self._with_at_least_one_epoch(candidate, expected, allowed)
            seconds = self._evaluate.predicted_seconds(candidate)
            return Plan(candidate=candidate, seconds=seconds, until=proposal.until)
        epochs = int(int(candidate.training.get("epochs", 0)) * max(allowed, 0.0) / max(expected, MIN_SECONDS))
        shorter = _with_epochs(candidate, epochs) if epochs >= self._min_epochs else None
        if shorter is not None:
            # The seconds before the first epoch do not shrink with the number of epochs.
            expected = self._evaluate.predicted_seconds(shorter)
        if shorter is None or expected > MAX_OVERRUN * allowed:
            if is_first:
                self._keep_cheapest(candidate, params)
            return Plan(candidate=None, seconds=expected)
        return Plan(candidate=shorter, seconds=expected, until=proposal.until)

    def plan_resumed(self, paused: TrialRecord, max_epochs: int | None, until: int | None, allowed: float) -> Plan:
        """Plan a paused trial anew: it has shown what an epoch takes.

        Its learning rates then fall within the time that there is (Li et al., Budgeted Training, ICLR 2020).

        Args:
            paused: The record of the trial.
            max_epochs: Epochs of the candidate as it was proposed; None where it has none.
            until: Epochs after which it is to be paused again.
            allowed: Seconds that it may take from here on.
        """
        candidate, done = paused.candidate, paused.epochs
        assert candidate is not None  # it was evaluated
        if max_epochs is not None:
            each = self._evaluate.predicted_seconds(candidate, done + 1, done)
            affordable = int(min(PLANNED_SHARE * max(allowed, 0.0) / max(each, MIN_SECONDS), max_epochs))
            epochs = min(max_epochs, done + affordable)
            if each <= allowed and int(candidate.training["epochs"]) == done + 1:
                epochs = max(epochs, done + 1)  # this was planned as the last epoch
            if epochs == done:
                return Plan(candidate=None, seconds=each)
            candidate = _with_epochs(candidate, epochs)
            until = _pause_after(epochs, done, until, shortened=epochs < max_epochs)
        expected = self._evaluate.predicted_seconds(candidate, until, done)
        return Plan(candidate=candidate if expected <= allowed else None, seconds=expected, until=until)

    def _with_at_least_one_epoch(self, candidate: Candidate, expected: float, allowed: float) -> Candidate:
        """Return the candidate with as many epochs as fit; with one where none does."""
        most, single = int(candidate.training["epochs"]), self._evaluate.predicted_seconds(candidate, 1)
        each = max((expected - single) / max(most - 1, 1), MIN_SECONDS)
        further = (PLANNED_SHARE * allowed - single) / each
        return _with_epochs(candidate, int(min(1 + max(further, 0.0), most)))

    def _keep_cheapest(self, candidate: Candidate, params: Mapping[str, Any]) -> None:
        single = _with_epochs(candidate, 1)
        seconds = self._evaluate.predicted_seconds(single)
        if self.cheapest is None or seconds < self.cheapest.seconds:
            self.cheapest = Cheapest(candidate=single, params=dict(params), seconds=seconds)


def _pause_after(epochs: int, done: int, until: int | None, *, shortened: bool) -> int:
    """Return the epoch after which a training pauses, or ends.

    A shortened one pauses before its last epoch: how many fit is known better then, and they may be more.
    """
    until = epochs if until is None else min(until, epochs)
    return until - 1 if shortened and until == epochs > done + 1 else until


def with_at_most(candidate: Candidate, epochs: int | None) -> Candidate:
    """Return a candidate with at most so many epochs, where it trains by epochs."""
    if epochs is None or "epochs" not in candidate.training:
        return candidate
    return _with_epochs(candidate, min(int(candidate.training["epochs"]), epochs))


def _with_epochs(candidate: Candidate, epochs: int) -> Candidate:
    return replace(candidate, training={**candidate.training, "epochs": epochs})
