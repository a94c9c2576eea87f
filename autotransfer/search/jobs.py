"""What passes between the loop and whoever evaluates candidates."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from autotransfer.candidate import Candidate
from autotransfer.errors import AutoTransferError, OutputError, TrialError
from autotransfer.evaluation.inference_cost import InferenceCost
from autotransfer.search.trials import Trials

__all__ = [
    "Costs",
    "Evaluate",
    "EpochScore",
    "Evaluation",
    "Executor",
    "Finished",
    "Inline",
    "Job",
    "Learn",
    "Report",
    "describe",
    "heartbeat_timeout",
    "hung",
    "learn_nothing",
]

# A trial hangs when it gives no sign of life for this many times what it is predicted to take, and the timeout.
_TIMEOUT_PER_EXPECTED_SECOND = 10.0

Report = Callable[[int, float], bool]
"""Called with an epoch and its score, epoch 0 for that on a sample; returns True when the trial is to stop.

The score of an epoch is an ``EpochScore``.
"""


class EpochScore(float):
    """The score of an epoch, which knows how the epoch went.

    Attributes:
        objective: Objective of the candidate, had its training ended there; by default the score.
        loss: Mean training loss over the epoch.
        learning_rate: Rate of the head at its end.
    """

    objective: float
    loss: float
    learning_rate: float

    def __new__(
        cls, score: float, objective: float | None = None, *, loss: float = math.nan, learning_rate: float = math.nan
    ) -> EpochScore:
        """Make one of a score."""
        made = super().__new__(cls, score)
        made.objective = float(score) if objective is None else objective
        made.loss, made.learning_rate = loss, learning_rate
        return made


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The result of a candidate.

    Attributes:
        score: Score on the validation examples; greater is better.
        objective: What the search maximises: an estimate of the score on all folds, less a small share of the log loss;
            NaN means the score itself.
        depth: Number of frozen leading stages.
        best_epoch: Epoch of that score; 0 for closed forms.
        curve: Score after each epoch.
        objectives: Objective after each epoch, as if the training had ended there; empty where they are the scores.
        predictions: Probabilities or values (N, outputs) of all examples; NaN for those that were not scored.
        trained: Number of epochs that were trained now, at the end of the curve.
        seconds: Wall time of these epochs, for a head alone that of all epochs and folds; NaN where an epoch was cut,
            or none was trained.
    """

    score: float
    objective: float = math.nan
    depth: int | None = None
    best_epoch: int = 0
    curve: tuple[float, ...] = ()
    objectives: tuple[float, ...] = ()
    predictions: np.ndarray | None = None
    trained: int = 0
    seconds: float = math.nan


class Evaluate(Protocol):
    """Scores candidates: real training, or recorded curves."""

    def __call__(
        self, candidate: Candidate, report: Report, expired: Callable[[], bool], until: int | None = None
    ) -> Evaluation:
        """Train a candidate until so many epochs are done, from where it was paused, and score it.

        Reports after each epoch; ends early when ``report`` returns True, or when the time has expired.
        """
        ...

    def predicted_seconds(self, candidate: Candidate, until: int | None = None, after: int = 0) -> float:
        """Return about how long that will take, when ``after`` epochs are done."""
        ...

    def restore(self, trials: Trials) -> None:
        """Learn from the trials of an interrupted search."""
        ...


@dataclass(eq=False, kw_only=True)
class Job:
    """A candidate that is to be evaluated.

    Attributes:
        candidate: The candidate.
        until: Epochs after which it is paused; None trains it to its end.
        report: Takes an epoch and its score; returns whether to stop. An epoch that is repeated replaces what followed.
        expired: Whether its time is up.
        expected: Seconds that it is predicted to take.
    """

    candidate: Candidate
    until: int | None = None
    report: Report
    expired: Callable[[], bool]
    expected: float = 0.0


Finished = tuple[Job, "Evaluation | Exception"]

Learn = Callable[[Candidate, Evaluation], None]
"""Learns from an evaluation that was made elsewhere, such as how many seconds it took."""


def learn_nothing(candidate: Candidate, found: Evaluation) -> None:
    """Learn nothing."""


class Costs(Protocol):
    """Knows what candidates take to predict, once they are models."""

    def of(self, candidate: Candidate) -> InferenceCost | None:
        """Return what a candidate takes; None where that is not known."""
        ...

    def admits(self, candidate: Candidate) -> bool:
        """Whether a candidate keeps the limits that the user has set."""
        ...


class Executor(Protocol):
    """Evaluates candidates: here, in other processes, or on other machines."""

    def free(self) -> int:
        """Return how many jobs can be taken now."""
        ...

    def submit(self, job: Job) -> None:
        """Take a job."""
        ...

    def poll(self) -> list[Finished]:
        """Return the jobs that have ended, with their results; waits for a moment if none has."""
        ...


@dataclass
class Inline:
    """Evaluates in this process, one candidate after the other.

    Attributes:
        evaluate: Scores a candidate.
        trial_timeout: Seconds without a heartbeat, beside ten times what a trial was predicted to take, after which it
            is ended between two batches. Within a batch, nothing ends it: only another process could.
    """

    evaluate: Evaluate
    trial_timeout: float = math.inf
    _jobs: list[Job] = field(default_factory=list)

    def free(self) -> int:
        """Return 1 unless there is a job."""
        return 0 if self._jobs else 1

    def submit(self, job: Job) -> None:
        """Take a job; it is done when ``poll`` is called."""
        self._jobs.append(job)

    def poll(self) -> list[Finished]:
        """Do the job, and return its result."""
        job, heartbeat = self._jobs.pop(), time.monotonic()
        limit = heartbeat_timeout(self.trial_timeout, job.expected)

        def expired() -> bool:
            nonlocal heartbeat
            last, heartbeat = heartbeat, time.monotonic()
            if heartbeat - last > limit:
                raise hung(heartbeat - last)
            return job.expired()

        try:
            return [(job, self.evaluate(job.candidate, job.report, expired, job.until))]
        except OutputError:  # nothing can be written any more: no fault of the candidate
            raise
        except Exception as error:
            return [(job, error)]


def heartbeat_timeout(trial_timeout: float, expected: float) -> float:
    """Return the seconds without a heartbeat after which a trial hangs.

    Args:
        trial_timeout: Seconds that every trial is granted.
        expected: Seconds that this one is predicted to take.
    """
    return trial_timeout + _TIMEOUT_PER_EXPECTED_SECOND * expected


def hung(seconds: float) -> TrialError:
    """Return the error of a trial that gave no sign of life for so many seconds."""
    return TrialError(f"it hung: no sign of life for {seconds:.0f} s, so it was ended")


def describe(error: BaseException) -> str:
    """Return an error as one line: our own in their words, others with their type."""
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, AutoTransferError) else f"{type(error).__name__}: {text}"
