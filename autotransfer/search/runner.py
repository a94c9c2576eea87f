"""From a proposal to its record: a trial is asked for, its candidate evaluated, and the study told what came of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.trial import TrialState

from autotransfer.candidate import Candidate
from autotransfer.contract.specs import EpochRecord
from autotransfer.errors import OutputError, TrialError
from autotransfer.evaluation.subsample import SAMPLE_DOUBT
from autotransfer.search.budget import TimeBudget
from autotransfer.search.jobs import EpochScore, Evaluate, Evaluation, Job, describe
from autotransfer.search.journal import Entry, note_outcome, note_proposal
from autotransfer.search.proposal import Proposal
from autotransfer.search.trials import State, TrialRecord, Trials

__all__ = ["Runner", "Suggest"]

# A trial is ended when it has taken so many times what it was allowed.
_OVERRUN = 1.5
# Share of the time left that a pass may take for nothing; where it takes more, the sample has to promise more.
_CHEAP = 0.02
# Predictions may be 0 seconds; nothing is.
_INSTANT = 1e-6
# Share of the time that it is allowed which a trial is planned to take that fills it: predictions err.
_PLANNED = 0.9

Suggest = Callable[[optuna.trial.Trial], Candidate]


@dataclass(eq=False, kw_only=True)
class _Running:
    """A trial that is being evaluated.

    Attributes:
        trial: The study's trial.
        proposal: What it carries out.
        before: What was known of it: a record without a number for a new one.
        started: When it began.
        limit: Seconds that it is allowed.
        curve: Score after each epoch.
        reported: Last epoch that the study knows.
        pruned: Whether the study has stopped it.
        expired: Whether it has run out of time.
        standard: Best score on the sample so far.
        doubt: What its own may be below that without being stopped.
        sampled: Its own.
        observe: Is told of every epoch.
        number: Number of its record, where that is known already.
    """

    trial: optuna.trial.Trial
    proposal: Proposal
    before: TrialRecord
    started: float
    limit: float
    curve: list[float]
    reported: int
    pruned: bool = False
    expired: bool = False
    standard: float = -math.inf
    doubt: float = SAMPLE_DOUBT
    sampled: float | None = None
    observe: Callable[[EpochRecord], None]
    number: int | None

    def report(self, epoch: int, score: float) -> bool:
        """Take in the score of an epoch, or on the sample; return whether to stop."""
        if not epoch:
            self.sampled, self.pruned = score, score + self.doubt < self.standard
            return self.pruned
        if epoch > self.reported:  # what is repeated, after a machine was lost, is known
            self.reported = epoch
            self.trial.report(score, epoch)
            self.pruned = self.trial.should_prune()
            self._tell(epoch, score)
        self.curve[epoch - 1 :] = [float(score)]
        return self.pruned

    def _tell(self, epoch: int, score: float) -> None:
        assert self.before.candidate is not None  # it is evaluated
        known = score if isinstance(score, EpochScore) else EpochScore(score)
        self.observe(
            EpochRecord(
                trial=self.number,
                candidate=self.before.candidate,
                epoch=epoch,
                score=float(score),
                loss=known.loss,
                learning_rate=known.learning_rate,
            )
        )


@dataclass(frozen=True, kw_only=True)
class _Misfit:
    """A candidate that does not fit into what one may take.

    Attributes:
        candidate: The candidate.
        params: Parameters of its trial.
        seconds: What it is predicted to take with a single epoch.
    """

    candidate: Candidate
    params: Mapping[str, Any]
    seconds: float


class Runner:
    """Carries out proposals.

    Args:
        study: Samples what a proposal leaves open, and stops what is poor.
        suggest: Turns its trial into a candidate.
        evaluate: Predicts how long a candidate takes.
        budget: The budget.
        refit_factor: Time of a refit in times of its trial.
        fewest: Epochs that a trial is shortened to at most, where there is no time for all.
        observe_epoch: Is told of every epoch.
        alone: Whether one trial is evaluated at a time, so that its number is known when it begins.

    Attributes:
        step: Counts what begins and what ends, so that both can be taken in again in order.
    """

    def __init__(
        self,
        study: optuna.Study,
        suggest: Suggest,
        evaluate: Evaluate,
        budget: TimeBudget,
        refit_factor: float,
        fewest: int,
        observe_epoch: Callable[[EpochRecord], None] = lambda epoch: None,
        *,
        alone: bool = True,
    ) -> None:
        self.study, self.suggest, self.evaluate, self.budget = study, suggest, evaluate, budget
        self.refit_factor, self.fewest = refit_factor, fewest
        self.observe_epoch, self.alone = observe_epoch, alone
        self.step = 0
        self._jobs: dict[Job, _Running] = {}
        self._seen: set[Candidate] = set()
        self._params: dict[int, dict[str, Any]] = {}
        self._standard = -math.inf
        self._cheapest: _Misfit | None = None  # while there is no result

    @property
    def running(self) -> list[Proposal]:
        """The proposals that are being carried out."""
        return [running.proposal for running in self._jobs.values()]

    @property
    def new(self) -> int:
        """Number of trials among them that have no record yet."""
        return sum(proposal.resumes is None for proposal in self.running)

    def recall(self, entry: Entry) -> None:
        """Take in a proposal that was carried out before the search was broken off."""
        if entry.record is not None and entry.record.candidate is not None:
            self._seen.add(entry.record.candidate.without_epochs)
            self._params[entry.record.number] = dict(entry.params)
            self._raise_standard(entry.record)

    def last_resort(self, trials: Trials) -> Proposal | None:
        """Return the proposal to try the cheapest of what did not fit, where nothing has come of the search; once.

        It may take all the time that is left, and the first trial as much as the whole budget: a result that comes
        late is worth more than none.
        """
        cheapest, self._cheapest = self._cheapest, None
        limit = self.budget.limit
        if cheapest is None or limit.seconds is None or trials.best is not None or self.budget.stopped:
            return None
        if limit.trials is not None and len(trials) >= limit.trials:
            return None
        if cheapest.seconds <= max(self.budget.left, 0.0 if trials.records else limit.seconds):
            return Proposal(params=cheapest.params, source="last_resort")
        trials.misfit = (
            f"the budget was too small for any: the cheapest that was looked at, {cheapest.candidate}, takes about "
            f"{cheapest.seconds:.3g} s for a single epoch, and {max(self.budget.left, 0.0):.3g} s of "
            f"{limit.seconds:g} s were left. Give a longer time budget, a smaller backbone, or a head that is solved "
            "in closed form on a frozen backbone"
        )
        return None

    def begin(self, proposal: Proposal, trials: Trials) -> Job | TrialRecord | None:
        """Return what is to be evaluated; None where it does not fit or was tried before; a record where it failed."""
        started, paused = self.budget.clock(), None
        if proposal.resumes is not None:
            paused = trials.records[proposal.resumes]
        taken = 0.0 if paused is None else paused.seconds
        allowed = self.budget.allowance(self.refit_factor, proposal.source, taken)
        if paused is not None:
            self.study.enqueue_trial(self._params[paused.number])
        elif proposal.params:
            self.study.enqueue_trial(dict(proposal.params))
        left = self.budget.left
        trial = self.study.ask()
        note_proposal(trial, proposal, self._count())
        try:
            candidate, expected, until = self._propose(trial, proposal, paused, allowed, is_first=trials.best is None)
        except OutputError:
            raise
        except Exception as error:  # a plugin's error costs its trial, not the search
            failed = TrialRecord(number=len(trials), state="failed", candidate=None, reason=describe(error))
            return self._tell(trial, failed, TrialState.FAIL)
        if candidate is None or (paused is None and candidate.without_epochs in self._seen):
            # Told as pruned, so that the sampler turns to candidates that are new and fit into what is left.
            return self._tell(trial, None, TrialState.PRUNED)
        self._seen.add(candidate.without_epochs)
        trial.set_user_attr("candidate", candidate.to_json())
        new = TrialRecord(number=-1, state="paused", candidate=candidate)
        before = new if paused is None else replace(paused, candidate=candidate)
        running = _Running(
            trial=trial,
            proposal=replace(proposal, until=until),
            before=before,
            started=started,
            limit=allowed,
            curve=list(before.curve),
            reported=len(before.curve),
            standard=self._standard,
            observe=self.observe_epoch,
            number=paused.number if paused is not None else len(trials) if self.alone else None,
            doubt=SAMPLE_DOUBT * math.sqrt(min(1.0, _CHEAP * max(left, 0.0) / max(expected, _INSTANT))),
        )

        def expired() -> bool:
            budget = self.budget
            if proposal.source == "last_resort" and not running.curve:
                running.expired = budget.stopped or budget.left <= -(budget.limit.seconds or 0.0)
            else:
                # Predictions err: a trial that takes far longer than it was allowed leaves its time to others.
                running.expired = budget.stopped or budget.left <= 0 or budget.clock() - started > _OVERRUN * allowed
            return running.expired

        job = Job(candidate=candidate, until=until, report=running.report, expired=expired, expected=expected)
        self._jobs[job] = running
        return job

    def end(self, job: Job, result: Evaluation | Exception, trials: Trials) -> tuple[Proposal, TrialRecord | None]:
        """Tell the study what came of a job; return its proposal and its record."""
        running = self._jobs.pop(job)
        number = len(trials) if running.proposal.resumes is None else running.before.number
        self._params[number] = dict(running.trial.params)
        before = replace(running.before, number=number, seconds=running.before.seconds + self._since(running))
        if isinstance(result, Evaluation) and not math.isfinite(result.score):
            result = TrialError(f"the score is {result.score}: the metric is not defined on the validation examples")
        if isinstance(result, Exception):
            record, state = self._failure(running, before, result)
        else:
            record, state = self._success(running, before, result)
        return running.proposal, self._tell(running.trial, record, state)

    def _propose(
        self,
        trial: optuna.trial.Trial,
        proposal: Proposal,
        paused: TrialRecord | None,
        allowed: float,
        *,
        is_first: bool,
    ) -> tuple[Candidate | None, float, int | None]:
        """Return the candidate, shortened to what fits, its seconds, and its epoch to pause at; None: nothing fits."""
        candidate = self.suggest(trial)
        if paused is not None:
            most = candidate.training.get("epochs")
            return self._planned_anew(paused, None if most is None else int(most), proposal.until, allowed)
        expected = self.evaluate.predicted_seconds(candidate)
        # A closed form always runs while there is no result: however small the budget, it buys one.
        if expected <= allowed or (is_first and "epochs" not in candidate.training):
            return candidate, expected, proposal.until
        if proposal.source == "last_resort":
            candidate = self._at_least_one_epoch(candidate, expected, allowed)
            return candidate, self.evaluate.predicted_seconds(candidate), proposal.until
        shorter = _shorten(candidate, max(allowed, 0.0) / max(expected, _INSTANT), self.fewest)
        if shorter is not None:
            # What comes before the first epoch does not shrink with their number.
            expected = self.evaluate.predicted_seconds(shorter)
        if shorter is None or expected > _OVERRUN * allowed:
            if is_first:
                self._keep_cheapest(candidate, trial.params)
            return None, expected, None
        return shorter, expected, proposal.until

    def _keep_cheapest(self, candidate: Candidate, params: Mapping[str, Any]) -> None:
        single = _with_epochs(candidate, 1)
        seconds = self.evaluate.predicted_seconds(single)
        if self._cheapest is None or seconds < self._cheapest.seconds:
            self._cheapest = _Misfit(candidate=single, params=dict(params), seconds=seconds)

    def _at_least_one_epoch(self, candidate: Candidate, expected: float, allowed: float) -> Candidate:
        """Return the candidate with as many epochs as fit in; with one where none does."""
        most, single = int(candidate.training["epochs"]), self.evaluate.predicted_seconds(candidate, 1)
        further = (_PLANNED * allowed - single) / max((expected - single) / max(most - 1, 1), _INSTANT)
        return _with_epochs(candidate, int(min(1 + max(further, 0.0), most)))

    def _planned_anew(
        self, paused: TrialRecord, most: int | None, until: int | None, allowed: float
    ) -> tuple[Candidate | None, float, int | None]:
        """Return what goes on with as many epochs as fit in, now that it is known what one takes; its seconds; its end.

        So its learning rates fall within the time that there is (Li et al., Budgeted Training, ICLR 2020).
        """
        candidate, done = paused.candidate, paused.epochs
        assert candidate is not None  # it was evaluated
        if most is not None:
            each = self.evaluate.predicted_seconds(candidate, done + 1, done)
            epochs = min(most, done + int(min(_PLANNED * max(allowed, 0.0) / max(each, _INSTANT), most)))
            if each <= allowed and int(candidate.training["epochs"]) == done + 1:
                epochs = max(epochs, done + 1)  # what was planned to be the last epoch
            if epochs == done:
                return None, each, None
            candidate = _with_epochs(candidate, epochs)
            until = _end(epochs, done, until, shortened=epochs < most)
        expected = self.evaluate.predicted_seconds(candidate, until, done)
        return (candidate if expected <= allowed else None), expected, until

    def _failure(self, running: _Running, before: TrialRecord, error: Exception) -> tuple[TrialRecord, TrialState]:
        """A failed trial is recorded with its reason, and the search goes on."""
        if running.expired and before.objective is not None:
            return before, TrialState.PRUNED
        known = replace(
            before,
            state="pruned" if running.expired else "failed",
            curve=tuple(running.curve),
            epochs=len(running.curve),
            reason=describe(error),
            score=None,
            objective=None,
            predictions=None,
        )
        return known, TrialState.PRUNED if running.expired else TrialState.FAIL

    def _success(self, running: _Running, before: TrialRecord, result: Evaluation) -> tuple[TrialRecord, TrialState]:
        state, reason = _ending(running, len(result.curve))
        record = replace(
            before,
            state=state,
            reason=reason,
            score=result.score,
            objective=result.score if math.isnan(result.objective) else result.objective,
            depth=result.depth,
            best_epoch=result.best_epoch,
            curve=result.curve,
            epochs=len(result.curve),
            sampled=running.sampled,
            predictions=None if state == "pruned" else result.predictions,
        )
        self._raise_standard(record)
        return record, TrialState.COMPLETE if state == "complete" else TrialState.PRUNED

    def _raise_standard(self, record: TrialRecord) -> None:
        if record.sampled is not None:
            self._standard = max(self._standard, record.sampled)

    def _tell(self, trial: optuna.trial.Trial, record: TrialRecord | None, state: TrialState) -> TrialRecord | None:
        """Write down what came of a trial, then tell the study."""
        note_outcome(trial, record, self.budget.spent, self._count())
        self.study.tell(trial, record.objective if record and state == TrialState.COMPLETE else None, state=state)
        return record

    def _since(self, running: _Running) -> float:
        return self.budget.clock() - running.started

    def _count(self) -> int:
        self.step += 1
        return self.step


def _ending(running: _Running, epochs: int) -> tuple[State, str]:
    """Return the state of a trial that has a score, and why it ended early."""
    candidate, until = running.before.candidate, running.proposal.until
    assert candidate is not None  # it was evaluated
    if running.pruned and not epochs:
        return "pruned", f"far below the best on a sample of the images, {running.standard:.3f}"
    if running.pruned:
        return "pruned", f"below the others at epoch {epochs}"
    if running.expired:
        return "complete", f"the time ran out after epoch {epochs}"
    if until is not None and epochs < int(candidate.training.get("epochs", 0)):
        return "paused", f"others promised more after epoch {epochs}"
    return "complete", ""


def _end(epochs: int, done: int, until: int | None, *, shortened: bool) -> int:
    """Return after which epoch a training pauses, or ends.

    One that was shortened pauses before its last epoch: how many fit in can be told better then, and they may be more.
    """
    until = epochs if until is None else min(until, epochs)
    return until - 1 if shortened and until == epochs > done + 1 else until


def _shorten(candidate: Candidate, share: float, fewest: int) -> Candidate | None:
    """Return the candidate with fewer epochs; None where too few would be left to tell anything."""
    epochs = int(int(candidate.training.get("epochs", 0)) * share)
    return _with_epochs(candidate, epochs) if epochs >= fewest else None


def _with_epochs(candidate: Candidate, epochs: int) -> Candidate:
    return replace(candidate, training={**candidate.training, "epochs": epochs})
