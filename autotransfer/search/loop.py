"""The search, on one page. It knows nothing of torch: any evaluator of candidates can drive it, against any clock."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import optuna

from autotransfer.contract.specs import EpochRecord
from autotransfer.search.budget import TimeBudget
from autotransfer.search.jobs import Costs, Evaluate, Evaluation, Executor, Inline, Job, Report, describe
from autotransfer.search.journal import Entry, end_interrupted, read_journal
from autotransfer.search.proposal import Proposal
from autotransfer.search.runner import Runner, Suggest
from autotransfer.search.trials import TrialRecord, Trials

__all__ = ["Evaluate", "Evaluation", "Report", "Schedule", "Suggest", "search"]

log = logging.getLogger("autotransfer")

# Candidates in a row that do not fit into the rest of the budget, or were tried before, after which a search ends.
MAX_REJECTED_PROPOSALS = 100


class Schedule(Protocol):
    """Decides what trains next: a new trial, or a paused one."""

    def next(self, trials: Trials, left: float, running: Sequence[Proposal] = ()) -> Proposal | None:
        """Return the next proposal.

        Args:
            trials: The trials.
            left: Seconds that the search may still take.
            running: The proposals that are being carried out.

        Returns:
            The proposal; None means that nothing is left to try, or that a running proposal has to end first.
        """
        ...

    def observe(self, proposal: Proposal, record: TrialRecord | None) -> None:
        """Learn the outcome of a proposal, of an interrupted search, too; None says that it was not carried out."""
        ...


def search(
    study: optuna.Study,
    suggest: Suggest,
    evaluate: Evaluate,
    budget: TimeBudget,
    schedule: Schedule,
    *,
    refit_factor: float,
    min_epochs: int = 3,
    trials: Trials | None = None,
    observe: Callable[[TrialRecord], None],
    resumed: Callable[[], None] = lambda: None,
    observe_epoch: Callable[[EpochRecord], None] = lambda epoch: None,
    executor: Executor | None = None,
    costs: Costs | None = None,
) -> Trials:
    """Try candidates until the budget is spent or nothing is proposed any more.

    The trials that the study holds of an interrupted search are read first.

    Args:
        study: Samples the parameters that a proposal leaves open, and stops poor trials.
        suggest: Turns a trial of the study into a candidate.
        evaluate: Scores a candidate.
        budget: The budget.
        schedule: Decides what trains next.
        refit_factor: Time of a refit in times of its trial.
        min_epochs: Epochs that a trial is shortened to at most, where there is no time for all: fewer tell nothing.
        trials: The list that takes the trials, which everybody reads; None makes one.
        observe: Called with every trial when it ends or pauses, once it is in the list.
        resumed: Called when the trials of an interrupted search are in the list, before anything else is tried.
        observe_epoch: Called with every epoch as it is scored.
        executor: Where candidates are evaluated; None means here, by ``evaluate``, one after the other.
        costs: Knows what candidates take to predict; those beyond the limits are not tried. None knows nothing.

    Returns:
        The trials.
    """
    executor = executor or Inline(evaluate)
    progress = _Progress(Trials() if trials is None else trials, budget, refit_factor)
    trials, alone = progress.trials, isinstance(executor, Inline)
    interrupted = end_interrupted(study)
    runner = Runner(study, suggest, evaluate, budget, refit_factor, min_epochs, observe_epoch, alone=alone, costs=costs)
    _replay(read_journal(study), schedule, runner, progress)
    if trials.records:
        evaluate.restore(trials)
        progress.reserve_refit()
        resumed()
    _Loop(schedule, runner, executor, progress, observe).run(interrupted)
    runner.close(trials)
    return trials


class _Loop:
    """Takes proposals of a schedule until the search ends."""

    def __init__(
        self,
        schedule: Schedule,
        runner: Runner,
        executor: Executor,
        progress: _Progress,
        observe: Callable[[TrialRecord], None],
    ) -> None:
        self._schedule, self._runner, self._executor = schedule, runner, executor
        self._progress, self._observe = progress, observe
        self._trials, self._budget = progress.trials, runner.budget

    def run(self, interrupted: list[Proposal]) -> None:
        """Carry out the interrupted proposals, the last of the list first, then those of the schedule."""
        while True:
            while (going := not self._progress.ended(self._runner.new)) and self._executor.free() > 0:
                proposal = interrupted.pop() if interrupted else self._next()
                if proposal is None:
                    going = False
                    break
                self._begin(proposal)
            if not going and not self._runner.running:
                if (last := self._runner.last_resort(self._trials)) is None:
                    return
                self._begin(last)
            for job, result in self._executor.poll():
                proposal, record = self._runner.end(job, result, self._trials)
                self._conclude(proposal, record, job.expected)

    def _next(self) -> Proposal | None:
        try:
            return self._schedule.next(self._trials, self._budget.left, self._runner.running)
        except Exception as error:  # a plugin's error costs what it would have proposed, not the search
            log.warning("No trial could be proposed: %s", describe(error))
            return Proposal()

    def _begin(self, proposal: Proposal) -> None:
        begun = self._runner.begin(proposal, self._trials)
        if isinstance(begun, Job):
            self._executor.submit(begun)
        else:
            self._conclude(proposal, begun, 0.0)

    def _conclude(self, proposal: Proposal, record: TrialRecord | None, expected: float) -> None:
        self._schedule.observe(proposal, record)
        self._progress.add(record, expected)
        if record is not None:
            self._observe(record)


class _Progress:
    """How far a search has come, and whether it goes on."""

    def __init__(self, trials: Trials, budget: TimeBudget, refit_factor: float) -> None:
        self.trials = trials
        self._budget, self._factor = budget, refit_factor
        self._rejected, self._best = 0, self.trials.best

    def ended(self, running: int) -> bool:
        """Whether the budget is spent, or nothing fits into it any more.

        Args:
            running: Number of new trials that are being evaluated.
        """
        return self._budget.exhausted(len(self.trials) + running) or self._rejected >= MAX_REJECTED_PROPOSALS

    def add(self, record: TrialRecord | None, expected: float = 0.0) -> None:
        """Count the outcome of a proposal; None says that it was not carried out."""
        if record is None:
            self._rejected += 1
            return
        self.trials.add(record)
        self._rejected = 0
        best = self.trials.best
        if best is record or best is not self._best:
            self._best = best
            self.reserve_refit(expected if best is record else 0.0)

    def reserve_refit(self, expected: float = 0.0) -> None:
        """Reserve the seconds of the refit of the best trial, which was predicted to take so many seconds itself."""
        if (best := self.trials.best) is not None:
            share = best.best_epoch / best.epochs if best.epochs else 1.0
            self._budget.reserve_refit(max(best.seconds, expected) * share * self._factor)


def _replay(entries: Sequence[Entry], schedule: Schedule, runner: Runner, progress: _Progress) -> None:
    """Read what was carried out, in the order in which it ended: nothing of it is asked or drawn again."""
    for entry in entries:
        runner.step = max(runner.step, entry.ended)
        if not entry.interrupted:
            runner.restore(entry)
            schedule.observe(entry.proposal, entry.record)
            progress.add(entry.record)
