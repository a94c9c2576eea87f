"""The search, on one page. It knows nothing of torch: whatever scores a candidate can drive it, against any clock."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.trial import TrialState

from autotransfer.candidate import Candidate
from autotransfer.errors import AutoTransferError, TrialError
from autotransfer.search.budget import Order, Purse
from autotransfer.search.journal import Entry, note_order, note_outcome, read_journal, settle
from autotransfer.search.records import State, TrialRecord, Trials

__all__ = ["Evaluate", "Evaluation", "Report", "Schedule", "Suggest", "search"]

log = logging.getLogger("autotransfer")

Report = Callable[[int, float], bool]
"""Called with an epoch and its score; returns True when the trial is to stop."""

# So many candidates in a row that do not fit into what is left of the budget mean that nothing does.
_MISFITS = 100
# Fewer epochs than this tell nothing of a candidate that trains stages.
_FEWEST = 3
# A smaller gain is no reason to go on.
_GAIN = 1e-4
# A trial is ended when it has taken so many times what it was allowed.
_OVERRUN = 1.5
# Predictions may be 0 seconds; nothing is.
_INSTANT = 1e-6


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What came of a candidate.

    Attributes:
        score: Score on the validation examples; greater is better.
        objective: What candidates are compared by: the score, made fair between them and less its doubt; NaN means
            the score itself.
        depth: Number of frozen leading stages.
        best_epoch: Epoch of that score; 0 for closed forms.
        curve: Score after each epoch.
        scores: Probabilities or values (N, outputs) of all examples; NaN for those that were not scored.
    """

    score: float
    objective: float = math.nan
    depth: int | None = None
    best_epoch: int = 0
    curve: tuple[float, ...] = ()
    scores: np.ndarray | None = None


class Evaluate(Protocol):
    """Scores candidates: real training, or recorded curves."""

    def __call__(
        self, candidate: Candidate, report: Report, expired: Callable[[], bool], until: int | None = None
    ) -> Evaluation:
        """Train a candidate until so many epochs are done, from where it was paused, and score it.

        Reports after each epoch; ends early when told to, or when the time has expired.
        """
        ...

    def predicted_seconds(self, candidate: Candidate, until: int | None = None, after: int = 0) -> float:
        """Return about how long that will take, when ``after`` epochs are done."""
        ...


class Schedule(Protocol):
    """Decides what trains next: a new trial, or one that was paused."""

    def next(self, trials: Trials, left: float) -> Order | None:
        """Return the next order, given the seconds that are left; None when nothing is worth its time."""
        ...

    def observe(self, order: Order, record: TrialRecord | None) -> None:
        """Take in what came of an order; None says that it was not carried out."""
        ...


Suggest = Callable[[optuna.trial.Trial], Candidate]


def search(
    study: optuna.Study,
    suggest: Suggest,
    evaluate: Evaluate,
    purse: Purse,
    schedule: Schedule,
    *,
    refit_factor: float,
    observe: Callable[[TrialRecord], None],
) -> Trials:
    """Try candidates until the budget is spent or nothing improves.

    What the study holds of a search that was broken off is taken in first.

    Args:
        study: Samples what an order leaves open, and stops what is poor.
        suggest: Turns its trial into a candidate.
        evaluate: Scores a candidate.
        purse: The budget.
        schedule: Decides what trains next.
        refit_factor: Time of a refit in times of its trial.
        observe: Is told of every trial when it ends or pauses.
    """
    progress, runner = _Progress(purse, refit_factor), _Runner(study, suggest, evaluate, purse, refit_factor)
    again = settle(study)
    for entry in read_journal(study):
        with contextlib.suppress(Exception):  # what it would have proposed is known
            schedule.next(progress.trials, entry.left)
        runner.recall(entry)
        schedule.observe(entry.order, entry.record)
        progress.add(entry.record, entry.spent)
    while not progress.ended:
        if (order := _next(schedule, progress.trials, purse)) is None:
            break
        if again:  # what was broken off is what comes next here, too
            order = again.pop()
        record = runner(order, progress.trials)
        schedule.observe(order, record)
        progress.add(record, purse.spent, runner.expected)
        if record is not None:
            observe(record)
    return progress.trials


class _Progress:
    """How far a search has come, and whether going on is worth it."""

    def __init__(self, purse: Purse, refit_factor: float) -> None:
        self.trials = Trials()
        self._purse, self._factor = purse, refit_factor
        self._misfits, self._since_best, self._best_at = 0, 0, 0.0

    @property
    def ended(self) -> bool:
        """Whether the budget is spent, nothing fits into it any more, or nothing has improved for long."""
        stalled = self._purse.stalled(self._since_best, self._best_at)
        return stalled or self._purse.empty(len(self.trials)) or self._misfits >= _MISFITS

    def add(self, record: TrialRecord | None, spent: float, expected: float = 0.0) -> None:
        """Count what came of an order."""
        if record is None:
            self._misfits += 1
            return
        best = self.trials.best
        before = best.objective if best and best.objective is not None else -math.inf
        self.trials.add(record)
        self._misfits, self._since_best = 0, self._since_best + 1
        if self.trials.best is not record:
            return
        if (record.objective or 0.0) > before + _GAIN:
            self._since_best, self._best_at = 0, spent
        share = record.best_epoch / record.epochs if record.epochs else 1.0
        self._purse.set_apart(max(record.seconds, expected) * share * self._factor)


def _next(schedule: Schedule, trials: Trials, purse: Purse) -> Order | None:
    try:
        return schedule.next(trials, purse.left)
    except Exception as error:  # a plugin's error costs what it would have proposed, not the search
        log.warning("No trial could be proposed: %s", describe(error))
        return Order()


class _Runner:
    """Carries out one order after the other."""

    def __init__(
        self, study: optuna.Study, suggest: Suggest, evaluate: Evaluate, purse: Purse, refit_factor: float
    ) -> None:
        self.study, self.suggest, self.evaluate, self.purse = study, suggest, evaluate, purse
        self.refit_factor = refit_factor
        self.expected = 0.0  # seconds that the last order was to take
        self._seen: set[Candidate] = set()
        self._params: dict[int, dict[str, Any]] = {}

    def recall(self, entry: Entry) -> None:
        """Take in an order that was carried out before the search was broken off."""
        if entry.record is not None and entry.record.candidate is not None:
            self._seen.add(entry.record.candidate)
            self._params[entry.record.number] = dict(entry.params)

    def __call__(self, order: Order, trials: Trials) -> TrialRecord | None:
        """Return the record of the trial that was run; None where it does not fit or was tried before."""
        started, paused = self.purse.clock(), None
        allowed = self.purse.allowance(self.refit_factor, order.proposed)
        if order.resumes is not None:
            paused = trials.records[order.resumes]
            self.study.enqueue_trial(self._params[paused.number])
        elif order.params:
            self.study.enqueue_trial(dict(order.params))
        left = self.purse.left
        trial = self.study.ask()
        note_order(trial, order, left)
        candidate, problem = self._propose(trial, order, paused, allowed, is_first=trials.best is None)
        if problem:
            failed = TrialRecord(number=len(trials), state="failed", candidate=None, reason=problem)
            return self._tell(trial, failed, TrialState.FAIL)
        if candidate is None or (paused is None and candidate in self._seen):
            # Told as pruned, so that the sampler turns to candidates that are new and fit into what is left.
            return self._tell(trial, None, TrialState.PRUNED)
        self._seen.add(candidate)
        number = len(trials) if paused is None else paused.number
        self._params[number] = dict(trial.params)
        before = TrialRecord(number=number, state="paused", candidate=candidate) if paused is None else paused
        return self._run(trial, before, order, started=started, limit=allowed)

    def _propose(
        self, trial: optuna.trial.Trial, order: Order, paused: TrialRecord | None, allowed: float, *, is_first: bool
    ) -> tuple[Candidate | None, str]:
        """Return the candidate, shortened to what fits; None where nothing does; or the reason why there is none."""
        try:
            candidate = self.suggest(trial)
            if paused is not None and paused.candidate is not None:
                self.expected = self.evaluate.predicted_seconds(paused.candidate, order.until, paused.epochs)
                return (paused.candidate if self.expected <= allowed else None), ""
            self.expected = self.evaluate.predicted_seconds(candidate)
            # A closed form always runs while there is no result: however small the budget, it buys one.
            if self.expected <= allowed or (is_first and not candidate.training):
                return candidate, ""
            shorter = _shorten(candidate, max(allowed, 0.0) / max(self.expected, _INSTANT))
            if shorter is None:
                return None, ""
            # What comes before the first epoch does not shrink with their number.
            self.expected = self.evaluate.predicted_seconds(shorter)
            return (shorter if self.expected <= _OVERRUN * allowed else None), ""
        except Exception as error:  # a plugin's error costs its trial, not the search
            return None, describe(error)

    def _run(
        self, trial: optuna.trial.Trial, before: TrialRecord, order: Order, *, started: float, limit: float
    ) -> TrialRecord | None:
        """Evaluate a candidate and tell the study how it ended."""
        curve, candidate, purse = list(before.curve), before.candidate, self.purse
        assert candidate is not None  # it was proposed
        pruned = expired = False

        def report(epoch: int, score: float) -> bool:
            nonlocal pruned
            curve.append(score)
            trial.report(score, epoch)
            pruned = trial.should_prune()
            return pruned

        def out_of_time() -> bool:
            nonlocal expired
            # Predictions err: a trial that takes far longer than it was allowed leaves its time to others.
            expired = purse.left <= 0 or purse.clock() - started > _OVERRUN * limit
            return expired

        trial.set_user_attr("candidate", candidate.to_json())
        try:
            result = self.evaluate(candidate, report, out_of_time, order.until)
            if not math.isfinite(result.score):
                raise TrialError(f"the score is {result.score}: the metric is not defined on the validation examples")
        except Exception as error:  # a failed trial is recorded with its reason, and the search goes on
            seconds = before.seconds + purse.clock() - started
            if expired and before.objective is not None:
                return self._tell(trial, replace(before, seconds=seconds), TrialState.PRUNED)
            ended: State = "pruned" if expired else "failed"
            known = replace(before, seconds=seconds, curve=tuple(curve), epochs=len(curve), state=ended)
            known = replace(known, reason=describe(error), score=None, objective=None, scores=None)
            return self._tell(trial, known, TrialState.PRUNED if expired else TrialState.FAIL)
        state, reason = self._ending(candidate, order, len(result.curve), pruned=pruned, expired=expired)
        objective = result.score if math.isnan(result.objective) else result.objective
        record = TrialRecord(
            number=before.number,
            candidate=candidate,
            state=state,
            reason=reason,
            score=result.score,
            objective=objective,
            depth=result.depth,
            best_epoch=result.best_epoch,
            curve=result.curve,
            epochs=len(result.curve),
            seconds=before.seconds + purse.clock() - started,
            scores=None if state == "pruned" else result.scores,
        )
        return self._tell(trial, record, TrialState.COMPLETE if state == "complete" else TrialState.PRUNED)

    def _tell(self, trial: optuna.trial.Trial, record: TrialRecord | None, state: TrialState) -> TrialRecord | None:
        """Write down what came of a trial, then tell the study."""
        note_outcome(trial, record, self.purse.spent)
        self.study.tell(trial, record.objective if record and state == TrialState.COMPLETE else None, state=state)
        return record

    def _ending(
        self, candidate: Candidate, order: Order, epochs: int, *, pruned: bool, expired: bool
    ) -> tuple[State, str]:
        if pruned:
            return "pruned", f"below the others at epoch {epochs}"
        if expired:
            return "complete", f"the time ran out after epoch {epochs}"
        if order.until is not None and epochs < int(candidate.training.get("epochs", 0)):
            return "paused", f"others promised more after epoch {epochs}"
        return "complete", ""


def _shorten(candidate: Candidate, share: float) -> Candidate | None:
    """Return the candidate with fewer epochs; None where too few would be left to tell anything."""
    epochs = int(int(candidate.training.get("epochs", 0)) * share)
    return replace(candidate, training={**candidate.training, "epochs": epochs}) if epochs >= _FEWEST else None


def describe(error: BaseException) -> str:
    """Return an error as one line: our own in their words, others with their type."""
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, AutoTransferError) else f"{type(error).__name__}: {text}"
