"""Trials side by side: each proposal is carried out once, ends come in any order, and a broken-off search goes on."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages.journal import JournalStorage

from autotransfer.candidate import Candidate
from autotransfer.errors import TrialError
from autotransfer.search.budget import TimeBudget
from autotransfer.search.jobs import Evaluation, Finished, Job
from autotransfer.search.journal import read_journal
from autotransfer.search.loop import search
from autotransfer.search.strategy import Strategy
from autotransfer.search.study import OneWriterJournal, make_study
from autotransfer.search.trials import Trials
from autotransfer.settings import Budget

pytestmark = pytest.mark.slow

Schedules = Callable[[str, Budget], Strategy]


class Killed(BaseException):
    """The process of the search ends here."""


class Several:
    """So many workers whose jobs end in a proposal of chance; a virtual second passes with each look."""

    def __init__(self, count: int, *, seed: int = 0, dies_after: int | None = None) -> None:
        self.count, self.chance, self.dies_after = count, random.Random(seed), dies_after
        self.now, self.polls, self.most = 0.0, 0, 0
        self.jobs: list[Job] = []
        self.begun: list[tuple[Candidate, int | None]] = []

    def free(self) -> int:
        return self.count - len(self.jobs)

    def submit(self, job: Job) -> None:
        assert self.free() > 0
        self.jobs.append(job)
        self.begun.append((job.candidate, job.until))
        self.most = max(self.most, len(self.jobs))

    def poll(self) -> list[Finished]:
        self.polls += 1
        self.now += 1.0
        if self.polls == self.dies_after:
            raise Killed
        if not self.jobs or self.chance.random() < 0.3:
            return []
        job = self.jobs.pop(self.chance.randrange(len(self.jobs)))
        return [(job, self._evaluate(job))]

    def _evaluate(self, job: Job) -> Evaluation | Exception:
        x, epochs = float(job.candidate.head_params["x"]), int(job.candidate.training.get("epochs", 0))
        if x > 0.97:
            return TrialError("it died")
        if not epochs:
            return Evaluation(score=x)
        reached = min(job.until or epochs, epochs)
        curve = tuple(x * epoch / 6 for epoch in range(1, reached + 1))
        for epoch, score in enumerate(curve, start=1):
            job.report(epoch, score)
        return Evaluation(score=max(curve), best_epoch=reached, curve=curve)


class Predictor:
    """Knows how long candidates take; nobody asks it to evaluate one."""

    def __call__(self, *arguments: Any, **more: Any) -> Evaluation:
        raise AssertionError

    def restore(self, trials: Trials) -> None: ...

    def predicted_seconds(self, candidate: Candidate, until: int | None = None, after: int = 0) -> float:
        return 1.0


def _suggest(trial: optuna.trial.Trial) -> Candidate:
    freeze = trial.suggest_categorical("freeze", ["frozen", "depth"])
    return Candidate(
        backbone=trial.suggest_categorical("backbone", ["a", "b", "c"]),
        freeze=freeze,
        head_params={"x": trial.suggest_float("x", 0, 1)},
        training={} if freeze == "frozen" else {"epochs": 6},
    )


def _search(make_strategy: Schedules, path: Path, executor: Several, budget: Budget) -> Trials:
    storage = JournalStorage(OneWriterJournal(path))
    return search(
        make_study(seed=0, curves=50, storage=storage, name="search", parallel=True),
        _suggest,
        Predictor(),
        TimeBudget(budget, clock=lambda: executor.now),
        make_strategy("abc", budget),
        refit_factor=0.0,
        observe=lambda record: None,
        executor=executor,
    )


@pytest.mark.parametrize("budget", [Budget(trials=40), Budget(seconds=150.0)])
@pytest.mark.parametrize("seed", range(3))
def test_every_proposal_is_carried_out_once(
    make_strategy: Schedules, budget: Budget, seed: int, tmp_path: Path
) -> None:
    executor = Several(3, seed=seed)
    trials = _search(make_strategy, tmp_path / "study", executor, budget)
    assert executor.most == 3
    assert not executor.jobs, "what was begun is waited for"
    assert [record.number for record in trials] == list(range(len(trials)))
    assert budget.trials is None or len(trials) == 40
    assert len(trials) > 20
    new = [candidate for candidate, until in executor.begun if until in (None, 1)]
    assert len(new) == len(set(new)), "no candidate is begun twice"
    assert len({record.candidate for record in trials}) == len(trials)
    if budget.seconds is not None:
        assert {record.state for record in trials} & {"paused", "complete"}
        assert any(record.epochs == 6 for record in trials), "what was paused goes on"


@pytest.mark.parametrize("dies_after", [3, 10, 25, 40])
def test_an_interrupted_search_resumes_its_running_trials(
    make_strategy: Schedules, dies_after: int, tmp_path: Path
) -> None:
    first = Several(3, dies_after=dies_after)
    with pytest.raises(Killed):
        _search(make_strategy, tmp_path / "study", first, Budget(trials=40))
    storage = JournalStorage(OneWriterJournal(tmp_path / "study"))
    study = optuna.load_study(study_name="search", storage=storage)
    finished = {e.record.number: e.record for e in read_journal(study) if e.record is not None and not e.interrupted}
    under_way = [job.candidate for job in first.jobs]
    second = Several(3, seed=1)
    trials = _search(make_strategy, tmp_path / "study", second, Budget(trials=40))
    assert len(trials) == 40
    for number, record in finished.items():
        assert trials.records[number] == record, "what had ended stays as it was"
    begun = [candidate for candidate, _ in second.begun]
    assert begun[: len(under_way)] == under_way, "in the order in which it was begun"
    assert not {record.candidate for record in finished.values()} & set(begun)


def test_an_executor_that_is_not_ready_yet_is_waited_for(make_strategy: Schedules, tmp_path: Path) -> None:
    class LazyImport(Several):
        def free(self) -> int:
            return super().free() if self.polls > 5 else 0

    assert len(_search(make_strategy, tmp_path / "study", LazyImport(2), Budget(trials=5))) == 5


def test_epochs_that_are_repeated_replace_those_reported(make_strategy: Schedules, tmp_path: Path) -> None:
    class Repeating(Several):
        def _evaluate(self, job: Job) -> Evaluation | Exception:
            for epoch in (1, 2, 1, 2, 3) if job.candidate.training else ():
                job.report(epoch, 0.1 * epoch)
            return TrialError("in the end, it failed")

    trials = _search(make_strategy, tmp_path / "study", Repeating(2), Budget(trials=12))
    curves = [record.curve for record in trials if record.curve]
    assert curves
    assert all(curve == pytest.approx((0.1, 0.2, 0.3)) for curve in curves)
