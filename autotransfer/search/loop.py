"""The search, on one page. It knows nothing of torch: whatever scores a candidate can drive it, against any clock."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Protocol

import optuna

from autotransfer.contract.specs import EpochRecord
from autotransfer.search.budget import TimeBudget
from autotransfer.search.jobs import Evaluate, Evaluation, Executor, Inline, Job, Report, describe
from autotransfer.search.journal import Entry, read_journal, settle
from autotransfer.search.proposal import Proposal
from autotransfer.search.runner import Runner, Suggest
from autotransfer.search.trials import TrialRecord, Trials

__all__ = ["Evaluate", "Evaluation", "Report", "Schedule", "Suggest", "search"]

log = logging.getLogger("autotransfer")

# So many candidates in a row that do not fit into what is left of the budget mean that nothing does.
_MISFITS = 100
# A smaller gain is no reason to go on.
_GAIN = 1e-4


class Schedule(Protocol):
    """Decides what trains next: a new trial, or one that was paused."""

    def next(self, trials: Trials, left: float, running: Sequence[Proposal] = ()) -> Proposal | None:
        """Return the next proposal, given the seconds that are left and the proposals that are being carried out.

        None means that nothing is worth its time, or nothing before one of those has ended.
        """
        ...

    def restore(self, proposal: Proposal) -> None:
        """Take in a proposal of a search that was broken off, by what was noted with it; what came of it follows."""
        ...

    def observe(self, proposal: Proposal, record: TrialRecord | None) -> None:
        """Take in what came of a proposal; None says that it was not carried out."""
        ...


def search(
    study: optuna.Study,
    suggest: Suggest,
    evaluate: Evaluate,
    budget: TimeBudget,
    schedule: Schedule,
    *,
    refit_factor: float,
    fewest: int = 3,
    observe: Callable[[TrialRecord], None],
    recalled: Callable[[Trials], None] = lambda trials: None,
    observe_epoch: Callable[[EpochRecord], None] = lambda epoch: None,
    executor: Executor | None = None,
) -> Trials:
    """Try candidates until the budget is spent or nothing improves.

    What the study holds of a search that was broken off is taken in first.

    Args:
        study: Samples what a proposal leaves open, and stops what is poor.
        suggest: Turns its trial into a candidate.
        evaluate: Scores a candidate.
        budget: The budget.
        schedule: Decides what trains next.
        refit_factor: Time of a refit in times of its trial.
        fewest: Epochs that a trial is shortened to at most, where there is no time for all; fewer tell nothing.
        observe: Is told of every trial when it ends or pauses.
        recalled: Is told of the trials of a search that goes on, before anything else is tried.
        observe_epoch: Is told of every epoch as it is scored.
        executor: Where candidates are evaluated; None means here, by ``evaluate``, one after the other.
    """
    executor = executor or Inline(evaluate)
    progress = _Progress(budget, refit_factor)
    alone = isinstance(executor, Inline)
    runner = Runner(study, suggest, evaluate, budget, refit_factor, fewest, observe_epoch, alone=alone)
    again = settle(study)
    _replay(read_journal(study), schedule, runner, progress)
    if progress.trials.records:
        evaluate.recall(progress.trials)
        progress.set_apart()
        recalled(progress.trials)

    def begin(proposal: Proposal) -> None:
        begun = runner.begin(proposal, progress.trials)
        if isinstance(begun, Job):
            executor.submit(begun)
        else:
            conclude(proposal, begun, 0.0)

    def conclude(proposal: Proposal, record: TrialRecord | None, expected: float) -> None:
        schedule.observe(proposal, record)
        progress.add(record, budget.spent, expected)
        if record is not None:
            observe(record)

    while True:
        while (going := not progress.ended(runner.new)) and executor.free() > 0:
            # What was broken off is what comes next here, too.
            proposal = again.pop() if again else _next(schedule, progress.trials, budget, runner.running)
            if proposal is None:
                going = False
                break
            begin(proposal)
        if not going and not runner.running:
            if (last := runner.last_resort(progress.trials)) is None:
                return progress.trials
            begin(last)
        for job, result in executor.poll():
            proposal, record = runner.end(job, result, progress.trials)
            conclude(proposal, record, job.expected)


class _Progress:
    """How far a search has come, and whether going on is worth it."""

    def __init__(self, budget: TimeBudget, refit_factor: float) -> None:
        self.trials = Trials()
        self._budget, self._factor = budget, refit_factor
        self._misfits, self._since_best, self._best_at = 0, 0, 0.0

    def ended(self, running: int) -> bool:
        """Whether the budget is spent, nothing fits into it any more, or nothing has improved for long.

        Args:
            running: Number of new trials that are being evaluated.
        """
        stalled = self._budget.stalled(self._since_best, self._best_at)
        return stalled or self._budget.exhausted(len(self.trials) + running) or self._misfits >= _MISFITS

    def add(self, record: TrialRecord | None, spent: float, expected: float = 0.0) -> None:
        """Count what came of a proposal."""
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
        self.set_apart(expected)

    def set_apart(self, expected: float = 0.0) -> None:
        """Set apart what the refit of the best trial takes, which was expected to take so many seconds itself."""
        if (best := self.trials.best) is not None:
            share = best.best_epoch / best.epochs if best.epochs else 1.0
            self._budget.reserve_refit(max(best.seconds, expected) * share * self._factor)


def _replay(entries: Sequence[Entry], schedule: Schedule, runner: Runner, progress: _Progress) -> None:
    """Take in what was carried out, in the order in which it began and ended."""
    events = [(entry.begun, entry, False) for entry in entries] + [(entry.ended, entry, True) for entry in entries]
    for step, entry, ending in sorted(events, key=lambda event: event[0]):
        runner.step = step
        if not ending:
            schedule.restore(entry.proposal)
        elif not entry.interrupted:
            runner.recall(entry)
            schedule.observe(entry.proposal, entry.record)
            progress.add(entry.record, entry.spent)


def _next(schedule: Schedule, trials: Trials, budget: TimeBudget, running: Sequence[Proposal]) -> Proposal | None:
    try:
        return schedule.next(trials, budget.left, running)
    except Exception as error:  # a plugin's error costs what it would have proposed, not the search
        log.warning("No trial could be proposed: %s", describe(error))
        return Proposal()
