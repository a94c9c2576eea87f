"""A search that is broken off at any moment goes on as if it had not been."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from fixtures.searches import make_context
from optuna.storages.journal import JournalStorage

from autotransfer.candidate import Candidate
from autotransfer.search.belief import CurveModel
from autotransfer.search.budget import TimeBudget
from autotransfer.search.journal import (
    Entry,
    end_interrupted,
    note_begin,
    note_end,
    read_journal,
    seconds_spent,
    trials_of,
)
from autotransfer.search.loop import Evaluation, Report, search
from autotransfer.search.proposal import Proposal
from autotransfer.search.strategy import Strategy
from autotransfer.search.strategy import make_strategy as of_context
from autotransfer.search.study import OneWriterJournal, make_study
from autotransfer.search.trials import TrialRecord, Trials
from autotransfer.settings import Budget

Schedules = Callable[[str, Budget], Strategy]


class Killed(BaseException):
    """The process ends here, whatever it was doing."""


class Work:
    """Evaluates by formula, on a clock of its own; keeps what was paused as checkpoints would; dies when told to."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.now, self.steps, self.dies_at = 0.0, 0, dies_at
        self.done: dict[Candidate, int] = {}  # what checkpoints keep when a trial ends or pauses
        self.trained: list[tuple[Candidate, int]] = []

    def __call__(
        self, candidate: Candidate, report: Report, expired: Callable[[], bool], until: int | None = None
    ) -> Evaluation:
        x = float(candidate.head_params["x"])
        epochs = int(candidate.training.get("epochs", 0))
        curve = [x * epoch / 6 for epoch in range(1, epochs + 1)]
        reached = self.done.get(candidate, 0)
        for epoch in range(reached + 1, min(until or epochs, epochs) + 1):
            self._step(1.0)
            self.trained.append((candidate, epoch))
            reached = epoch
            if report(epoch, curve[epoch - 1]):
                break
        if not epochs:
            self._step(0.5)
            self.trained.append((candidate, 0))
            return Evaluation(score=x)
        self.done[candidate] = reached
        curve = curve[:reached]
        return Evaluation(score=max(curve), best_epoch=len(curve), curve=tuple(curve))

    def _step(self, seconds: float) -> None:
        self.steps += 1
        if self.steps == self.dies_at:
            raise Killed
        self.now += seconds

    def restore(self, trials: Trials) -> None:
        self.recalled = len(trials)

    def predicted_seconds(self, candidate: Candidate, until: int | None = None, after: int = 0) -> float:
        epochs = int(candidate.training.get("epochs", 0))
        return 0.5 if not epochs else float((epochs if until is None else until) - after)


def _suggest(trial: optuna.trial.Trial) -> Candidate:
    freeze = trial.suggest_categorical("freeze", ["frozen", "depth"])
    return Candidate(
        backbone=trial.suggest_categorical("backbone", ["a", "b"]),
        freeze=freeze,
        head_params={"x": trial.suggest_float("x", 0, 1)},
        training={} if freeze == "frozen" else {"epochs": 6},
    )


def _search(make_strategy: Schedules, path: Path, work: Work, budget: Budget, done: float = 0.0) -> Trials:
    """Start or go on with the search whose study is at ``path``."""
    study = make_study(seed=0, curves=50, storage=JournalStorage(OneWriterJournal(path)), name="search")
    time_budget = TimeBudget(budget, clock=lambda: work.now)
    time_budget.count_earlier(seconds_spent(study))
    return search(
        study, _suggest, work, time_budget, make_strategy("ab", budget), refit_factor=1.0, observe=lambda record: None
    )


def _told(trials: Trials) -> list[tuple[Any, ...]]:
    return [(r.number, r.state, r.candidate, r.objective, r.epochs, r.curve) for r in trials]


@pytest.mark.slow
@pytest.mark.parametrize("budget", [Budget(trials=25), Budget(seconds=120.0)])
def test_a_search_broken_off_anywhere_ends_as_if_it_had_not_been(
    make_strategy: Schedules, budget: Budget, tmp_path: Path
) -> None:
    whole = _search(make_strategy, tmp_path / "whole", work := Work(), budget)
    assert len(whole) > 20
    for dies_at in range(1, work.steps, 23):
        path, first = tmp_path / str(dies_at), Work(dies_at)
        with pytest.raises(Killed):
            _search(make_strategy, path, first, budget)
        second = Work()
        second.done = dict(first.done)
        trials = _search(make_strategy, path, second, budget)
        assert _told(trials) == _told(whole), f"broken off at step {dies_at}"
        repeated = set(first.trained) & set(second.trained)
        assert len({candidate for candidate, _ in repeated}) <= 1, "only what was broken off is trained again"


def test_a_trial_that_is_interrupted_twice_fails(make_strategy: Schedules, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(Killed):
            _search(make_strategy, tmp_path / "study", Work(dies_at=1), Budget(trials=5))
    trials = _search(make_strategy, tmp_path / "study", Work(), Budget(trials=5))
    assert [record.state for record in trials] == ["failed", *["complete"] * 4]
    assert trials.records[0].reason == "interrupted twice"
    assert trials.records[0].candidate == Candidate(backbone="a", head_params={"x": 0.3})


def test_a_paused_trial_interrupted_twice_keeps_its_score() -> None:
    study = make_study(seed=0, curves=50)
    paused = TrialRecord(number=0, state="paused", candidate=Candidate(backbone="a"), objective=0.5, score=0.5)
    begun = Proposal(params={"x": 0.3}, source="fine_tuning")
    note_begin(study, 1, begun)
    note_end(study, Entry(proposal=begun, record=paused, spent=1.0, params=begun.params, begun=1, ended=2))
    note_begin(study, 3, Proposal(resumes=0, source="fine_tuning"))
    (again,) = end_interrupted(study)
    note_begin(study, 5, again)
    assert end_interrupted(study) == []
    (record,) = trials_of(study)
    assert (record.state, record.objective) == ("complete", 0.5), "it does not go on, and can win"
    assert record.reason == "could not go on: interrupted twice"


def test_a_trial_with_an_outcome_is_not_run_again(make_strategy: Schedules, curves: CurveModel, tmp_path: Path) -> None:
    study = make_study(seed=0, curves=50, storage=JournalStorage(OneWriterJournal(tmp_path / "s")), name="search")
    tell, study.tell = study.tell, None  # type: ignore[method-assign,assignment]
    with pytest.raises(TypeError):
        search(
            study,
            _suggest,
            Work(),
            TimeBudget(Budget(trials=3)),
            of_context(make_context(curves, "a", Budget(trials=3), tuning_policies=())),
            refit_factor=1.0,
            observe=lambda record: None,
        )
    assert tell is not None
    work = Work()
    trials = _search(make_strategy, tmp_path / "s", work, Budget(trials=1))
    assert [record.objective for record in trials] == [0.3]
    assert not work.trained


def test_records_survive_as_json() -> None:
    record = TrialRecord(
        number=3,
        state="paused",
        candidate=Candidate(backbone="a", head_params={"x": 0.5}),
        score=0.5,
        objective=0.4,
        curve=(0.1, 0.5),
        epochs=2,
        predictions=np.zeros((2, 2)),
    )
    assert TrialRecord.from_json(record.to_json()) == record
    failed = TrialRecord(number=0, state="failed", candidate=None, reason="no")
    assert TrialRecord.from_json(failed.to_json()) == failed


def test_a_journal_with_a_truncated_last_line_is_read(make_strategy: Schedules, tmp_path: Path) -> None:
    path = tmp_path / "study"
    _search(make_strategy, path, Work(), Budget(trials=3))
    with path.open("ab") as file:
        file.write(b'{"op_code":4,"wor')
    assert len(_search(make_strategy, path, Work(), Budget(trials=6))) == 6
    study = make_study(seed=0, curves=50, storage=JournalStorage(OneWriterJournal(path)), name="search")
    assert len(read_journal(study)) >= 6
