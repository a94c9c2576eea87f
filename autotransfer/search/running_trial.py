"""A trial that is being evaluated: its epochs are reported here, and the study may stop it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import optuna

from autotransfer.contract.specs import EpochRecord
from autotransfer.evaluation.subsample import SAMPLE_SCORE_MARGIN
from autotransfer.search.jobs import EpochScore
from autotransfer.search.proposal import Proposal
from autotransfer.search.trials import State, TrialRecord

__all__ = ["RunningTrial"]


@dataclass(eq=False, kw_only=True)
class RunningTrial:
    """A trial that is being evaluated.

    Attributes:
        trial: The study's trial.
        drawn: The trial that drew its parameters.
        begun: Step at which the proposal began.
        proposal: What it carries out.
        before: Its record so far; one without a number for a new trial.
        started: When it began, in the clock's seconds.
        limit: Seconds that it may take.
        curve: Score after each epoch.
        objectives: Objective after each epoch.
        reported: Last epoch that the study knows.
        observe: Called with every epoch.
        number: Number of its record, where it is known.
        best_sample_score: Best score on the sample so far.
        margin: How far its own score on the sample may be below without being stopped.
        sample_score: Its score on the sample.
        pruned: Whether the study has stopped it.
        expired: Whether it has run out of time.
    """

    trial: optuna.trial.Trial
    drawn: optuna.trial.Trial
    begun: int
    proposal: Proposal
    before: TrialRecord
    started: float
    limit: float
    curve: list[float]
    objectives: list[float]
    reported: int
    observe: Callable[[EpochRecord], None]
    number: int | None
    best_sample_score: float = -math.inf
    margin: float = SAMPLE_SCORE_MARGIN
    sample_score: float | None = None
    pruned: bool = False
    expired: bool = False

    def report(self, epoch: int, score: float) -> bool:
        """Take the score of an epoch, epoch 0 for the score on the sample; return whether to stop."""
        if not epoch:
            self.sample_score, self.pruned = score, score + self.margin < self.best_sample_score
            return self.pruned
        known = score if isinstance(score, EpochScore) else EpochScore(score)
        if epoch > self.reported:  # an epoch that is repeated, after a machine was lost, is known
            self.reported = epoch
            self.trial.report(known.objective, epoch)
            self.pruned = self.trial.should_prune()
            self._tell(epoch, known)
        self.curve[epoch - 1 :] = [float(score)]
        self.objectives[epoch - 1 :] = [known.objective]
        return self.pruned

    def _tell(self, epoch: int, known: EpochScore) -> None:
        assert self.before.candidate is not None  # it is evaluated
        self.observe(
            EpochRecord(
                trial=self.number,
                candidate=self.before.candidate,
                epoch=epoch,
                score=float(known),
                loss=known.loss,
                learning_rate=known.learning_rate,
            )
        )

    def state_after(self, epochs: int) -> tuple[State, str]:
        """Return the state of the trial once it has a score, and why it ended early."""
        candidate, until = self.before.candidate, self.proposal.until
        assert candidate is not None  # it was evaluated
        if self.pruned and not epochs:
            return "pruned", f"far below the best score on a sample of the examples, {self.best_sample_score:.3f}"
        if self.pruned:
            return "pruned", f"below the other trials at epoch {epochs}"
        if self.expired:
            return "complete", f"the time ran out after epoch {epochs}"
        if until is not None and epochs < int(candidate.training.get("epochs", 0)):
            return "paused", f"other candidates promised more after epoch {epochs}"
        return "complete", ""
