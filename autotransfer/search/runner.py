"""From a proposal to its record: a trial is asked for, its candidate evaluated, and the study given the result."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import optuna

from autotransfer.candidate import Candidate
from autotransfer.contract.specs import EpochRecord
from autotransfer.errors import OutputError, TrialError
from autotransfer.evaluation.subsample import SAMPLE_SCORE_MARGIN
from autotransfer.search.budget import TimeBudget
from autotransfer.search.jobs import Costs, Evaluate, Evaluation, Job, describe
from autotransfer.search.journal import Entry, note_begin, note_end
from autotransfer.search.planner import MAX_OVERRUN, MIN_SECONDS, Plan, TrialPlanner, with_at_most
from autotransfer.search.proposal import Proposal
from autotransfer.search.running_trial import RunningTrial
from autotransfer.search.sampling import Sampling, Suggest
from autotransfer.search.studied_trials import add_trial, describe_trial, failed_trial, note_step, open_trials, tell
from autotransfer.search.trials import FAILED_LATER, TrialRecord, Trials

__all__ = ["Runner", "Suggest"]

# Share of the seconds left that a pass of all examples may take without regard to the score on the sample; the more a
# pass takes beyond that, the higher the score on the sample has to be.
CHEAP_PASS_SHARE = 0.02


class Runner:
    """Carries out proposals.

    Args:
        study: Samples the parameters that a proposal leaves open, and stops poor trials.
        suggest: Turns a trial into a candidate.
        evaluate: Predicts the seconds of a candidate.
        budget: The budget.
        refit_factor: Time of a refit in times of its trial.
        min_epochs: Epochs that a trial is shortened to at most, where there is no time for all.
        observe_epoch: Called with every epoch.
        alone: Whether one trial is evaluated at a time, so that its number is known when it begins.
        costs: Knows what candidates take to predict; those beyond the limits are not tried. None knows nothing.

    Attributes:
        step: Counts the begins and ends of trials, so that a resumed search can read them in their order.
    """

    def __init__(
        self,
        study: optuna.Study,
        suggest: Suggest,
        evaluate: Evaluate,
        budget: TimeBudget,
        refit_factor: float,
        min_epochs: int,
        observe_epoch: Callable[[EpochRecord], None] = lambda epoch: None,
        *,
        alone: bool = True,
        costs: Costs | None = None,
    ) -> None:
        self._costs = costs
        self.study, self.suggest, self.budget, self.refit_factor = study, suggest, budget, refit_factor
        self.observe_epoch, self.alone = observe_epoch, alone
        self.step = 0
        self._planner = TrialPlanner(evaluate, min_epochs)
        self._running: dict[Job, RunningTrial] = {}
        self._seen: set[Candidate] = set()
        self._params: dict[int, dict[str, Any]] = {}
        self._best_sample_score = -math.inf
        self._sampling = Sampling(study.sampler, suggest)
        self._open = open_trials(study)

    @property
    def running(self) -> list[Proposal]:
        """The proposals that are being carried out."""
        return [running.proposal for running in self._running.values()]

    @property
    def new(self) -> int:
        """Number of running trials that have no record yet."""
        return sum(proposal.resumes is None for proposal in self.running)

    def restore(self, entry: Entry) -> None:
        """Read a proposal that was carried out before the search was interrupted."""
        if entry.record is not None and entry.record.candidate is not None:
            self._seen.add(entry.record.candidate.without_epochs)
            self._params[entry.record.number] = dict(entry.params)
            self._note_sample_score(entry.record)
        self._sampling.restore(entry)

    def last_resort(self, trials: Trials) -> Proposal | None:
        """Return the cheapest of the candidates that did not fit, where the search has no result; once.

        It may take all seconds that are left, and the first trial as many as the whole budget: a late result is
        better than none.
        """
        cheapest, self._planner.cheapest = self._planner.cheapest, None
        limit = self.budget.limit
        if cheapest is None or limit.seconds is None or trials.best is not None or self.budget.stopped:
            return None
        if limit.trials is not None and len(trials) >= limit.trials:
            return None
        if cheapest.seconds <= max(self.budget.left, 0.0 if trials.records else limit.seconds):
            return Proposal(params=cheapest.params, source="last_resort")
        trials.why_none_fits = (
            f"the budget was too small for any: the cheapest that was looked at, {cheapest.candidate}, takes about "
            f"{cheapest.seconds:.3g} s for a single epoch, and {max(self.budget.left, 0.0):.3g} s of "
            f"{limit.seconds:g} s were left. Give a longer time budget, a smaller backbone, or a head that is solved "
            "in closed form on a frozen backbone"
        )
        return None

    def begin(self, proposal: Proposal, trials: Trials) -> Job | TrialRecord | None:
        """Return what is to be evaluated; None where it does not fit or was tried before; a record where it failed."""
        started, left = self.budget.clock(), self.budget.left
        paused = None if proposal.resumes is None else trials.records[proposal.resumes]
        allowed = self.budget.allowance(self.refit_factor, proposal.source, 0.0 if paused is None else paused.seconds)
        begun = self._count()
        note_begin(self.study, begun, proposal)
        drawn = self._sampling.ask(proposal.params if paused is None else self._params[paused.number])
        try:
            plan = self._plan(drawn, proposal, paused, allowed, is_first=trials.best is None)
        except OutputError:
            raise
        except Exception as error:  # a plugin's error costs its trial, not the search
            failed = TrialRecord(number=len(trials), state="failed", candidate=None, reason=describe(error))
            return self._fail(proposal, begun, drawn, replace(failed, source=proposal.source))
        candidate = plan.candidate
        if candidate is None or (paused is None and candidate.without_epochs in self._seen):
            return self._note(proposal, begun, drawn, None)
        self._seen.add(candidate.without_epochs)
        before = self._new(candidate, proposal) if paused is None else replace(paused, candidate=candidate)
        pass_share = CHEAP_PASS_SHARE * max(left, 0.0) / max(plan.seconds, MIN_SECONDS)
        trial, reported = self._studied(candidate, drawn, before, begun)
        running = RunningTrial(
            trial=trial,
            drawn=drawn,
            begun=begun,
            proposal=replace(proposal, until=plan.until),
            before=before,
            started=started,
            limit=allowed,
            curve=list(before.curve),
            objectives=list(before.objectives),
            reported=reported,
            best_sample_score=self._best_sample_score,
            observe=self.observe_epoch,
            number=paused.number if paused is not None else len(trials) if self.alone else None,
            margin=SAMPLE_SCORE_MARGIN * math.sqrt(min(1.0, pass_share)),
        )
        return self._job(candidate, plan, running)

    def _fail(
        self, proposal: Proposal, begun: int, drawn: optuna.trial.Trial, record: TrialRecord
    ) -> TrialRecord | None:
        """Write down a trial that failed before it was a candidate."""
        self.study.add_trial(failed_trial(record))
        return self._note(proposal, begun, drawn, record)

    def _new(self, candidate: Candidate, proposal: Proposal) -> TrialRecord:
        """Return the record of a trial that begins.

        Beside other trials nothing is measured: they would slow it down.
        """
        new = TrialRecord(number=-1, state="paused", candidate=candidate, source=proposal.source)
        cost = None if self._costs is None or not self.alone else self._costs.of(candidate)
        return new if cost is None else replace(new, latency_seconds=cost.latency_seconds, size_bytes=cost.size_bytes)

    def _studied(
        self, candidate: Candidate, drawn: optuna.trial.Trial, before: TrialRecord, begun: int
    ) -> tuple[optuna.trial.Trial, int]:
        """Return the study's trial of a candidate, the same in all its parts, and the last epoch that it knows."""
        key = candidate.without_epochs
        trial = self._open.get(key)
        if trial is None:
            trial = self._open[key] = add_trial(self.study, candidate, drawn, before, begun)
        else:
            note_step(trial, begun)
        known = self.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        return trial, max(known, default=0)

    def _plan(
        self,
        trial: optuna.trial.Trial,
        proposal: Proposal,
        paused: TrialRecord | None,
        allowed: float,
        *,
        is_first: bool,
    ) -> Plan:
        candidate = with_at_most(self.suggest(trial), proposal.epochs)
        if paused is None and self._costs is not None and not self._costs.admits(candidate):
            return Plan(candidate=None, seconds=0.0)
        if paused is None:
            return self._planner.plan_new(candidate, trial.params, proposal, allowed, is_first=is_first)
        epochs = candidate.training.get("epochs")
        return self._planner.plan_resumed(paused, None if epochs is None else int(epochs), proposal.until, allowed)

    def _job(self, candidate: Candidate, plan: Plan, running: RunningTrial) -> Job:
        budget = self.budget

        def expired() -> bool:
            if running.proposal.source == "last_resort" and not running.curve:
                is_over = budget.left <= -(budget.limit.seconds or 0.0)
            else:
                # A trial that takes far longer than it may leaves its time to others.
                is_over = budget.left <= 0 or budget.clock() - running.started > MAX_OVERRUN * running.limit
            running.expired = budget.stopped or is_over
            return running.expired

        job = Job(candidate=candidate, until=plan.until, report=running.report, expired=expired, expected=plan.seconds)
        self._running[job] = running
        return job

    def end(self, job: Job, result: Evaluation | Exception, trials: Trials) -> tuple[Proposal, TrialRecord | None]:
        """Tell the study the result of a job; return its proposal and its record."""
        running = self._running.pop(job)
        number = len(trials) if running.proposal.resumes is None else running.before.number
        self._params[number] = dict(running.drawn.params)
        seconds = running.before.seconds + self.budget.clock() - running.started
        before = replace(running.before, number=number, seconds=seconds)
        if isinstance(result, Evaluation) and not math.isfinite(result.score):
            result = TrialError(f"the score is {result.score}: the metric is not defined on the validation examples")
        if isinstance(result, Exception):
            record = _failure(running, before, result)
        else:
            record = _success(running, before, result)
            self._note_sample_score(record)
        self._note(running.proposal, running.begun, running.drawn, record)
        if record.state == "paused":
            describe_trial(running.trial, record)
        else:
            tell(self.study, self._open.pop(job.candidate.without_epochs), record)
        return running.proposal, record

    def close(self, trials: Trials) -> None:
        """End the trials that rest when a search ends: they were stopped for good, but for the best one."""
        resting = [record for record in trials if record.state == "paused" and record.candidate is not None]
        for record in resting:
            assert record.candidate is not None
            trial = self._open.pop(record.candidate.without_epochs, None)
            if trial is not None:
                tell(self.study, trial, replace(record, state="complete" if record is trials.best else "pruned"))

    def _note_sample_score(self, record: TrialRecord) -> None:
        if record.sample_score is not None:
            self._best_sample_score = max(self._best_sample_score, record.sample_score)

    def _note(
        self, proposal: Proposal, begun: int, drawn: optuna.trial.Trial, record: TrialRecord | None
    ) -> TrialRecord | None:
        """Write down what came of a proposal; the sampler learns of it."""
        entry = Entry(
            proposal=proposal,
            record=record,
            spent=self.budget.spent,
            params=drawn.params,
            begun=begun,
            ended=self._count(),
        )
        note_end(self.study, entry)
        self._sampling.tell(drawn, record)
        return record

    def _count(self) -> int:
        self.step += 1
        return self.step


def _failure(running: RunningTrial, before: TrialRecord, error: Exception) -> TrialRecord:
    """Return the record of a trial that failed, with its reason; one that went on keeps what it had before."""
    if before.objective is not None:
        return before if running.expired else replace(before, state="complete", reason=FAILED_LATER + describe(error))
    return replace(
        before,
        state="pruned" if running.expired else "failed",
        curve=tuple(running.curve),
        objectives=tuple(running.objectives),
        epochs=len(running.curve),
        reason=describe(error),
        score=None,
        objective=None,
        predictions=None,
    )


def _success(running: RunningTrial, before: TrialRecord, result: Evaluation) -> TrialRecord:
    """Return the record of a trial that has a score."""
    state, reason = running.state_after(len(result.curve))
    return replace(
        before,
        state=state,
        reason=reason,
        score=result.score,
        objective=result.score if math.isnan(result.objective) else result.objective,
        depth=result.depth,
        best_epoch=result.best_epoch,
        curve=result.curve,
        objectives=result.objectives or result.curve,
        epochs=len(result.curve),
        sample_score=running.sample_score,
        predictions=None if state == "pruned" else result.predictions,
    )
