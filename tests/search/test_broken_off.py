"""A search is killed at any moment and goes on: with the other kind of budget, and at another speed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from fixtures.searches import make_context
from optuna.storages.journal import JournalStorage

from autotransfer.candidate import Candidate
from autotransfer.errors import TrialError
from autotransfer.search.belief import CurveModel
from autotransfer.search.budget import TimeBudget
from autotransfer.search.jobs import Evaluation, Report
from autotransfer.search.journal import read_journal
from autotransfer.search.loop import search
from autotransfer.search.strategy import make_strategy as of_context
from autotransfer.search.study import OneWriterJournal, make_study
from autotransfer.search.trials import TrialRecord, Trials
from autotransfer.settings import Budget

STAGES, EPOCHS = 6, 6
VIEWS = (1, 2, 4)
OTHERS = {"a": "a@small", "b": "b@small", "c": "c@small"}
TIME, COUNT = Budget(seconds=30.0, trials=24), Budget(trials=24)


class Killed(BaseException):
    """The process ends here, whatever it was doing."""


class Mortal(OneWriterJournal):
    """A journal whose process ends before so many entries are written."""

    def __init__(self, path: Path, dies_at: int | None = None) -> None:
        super().__init__(path)
        self.entries, self.dies_at = 0, dies_at

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.entries += 1
        if self.entries == self.dies_at:
            raise Killed
        super().append_logs(logs)


class Toy:
    """Scores by a formula; a second of its clock is ``scale`` seconds."""

    def __init__(self, scale: float = 1.0) -> None:
        self.now, self.scale = 0.0, scale

    def __call__(self, candidate: Candidate, report: Report, expired: Any, until: int | None = None) -> Evaluation:
        base = {"a": 0.5, "b": 0.6, "c": 0.4}[candidate.backbone[0]] + 0.02 * ("@" in candidate.backbone)
        epochs = int(candidate.training.get("epochs", 0))
        if candidate.head_params["x"] > 0.7:
            self.now += 0.1 * self.scale
            raise TrialError("it diverged")
        if not epochs:
            self.now += 0.5 * self.scale
            return Evaluation(score=base + 0.1 * candidate.head_params["x"] + 0.01 * candidate.training.get("views", 1))
        trained = int(candidate.freeze_params.get("trained", 1))
        curve = list[float]()
        for epoch in range(1, min(until or epochs, epochs) + 1):
            self.now += self.scale
            curve.append(base + 0.05 * trained * epoch / EPOCHS)
            if expired() or report(epoch, curve[-1]):
                break
        return Evaluation(score=max(curve), best_epoch=len(curve), curve=tuple(curve))

    def predicted_seconds(self, candidate: Candidate, until: int | None = None, after: int = 0) -> float:
        epochs = int(candidate.training.get("epochs", 0))
        return self.scale * (0.5 if not epochs else float((epochs if until is None else until) - after))

    def restore(self, trials: Trials) -> None:
        """There is nothing to be learned again."""


def _tuning(backbone: str, trained: int, *, views: int = 1, distant: bool = False) -> dict[str, Any] | None:
    if backbone not in {*OTHERS, *OTHERS.values()}:
        raise KeyError(backbone)
    params = {"backbone": backbone, "freeze": "depth", "trained": trained, "x": 0.5 if distant else 0.4, "views": views}
    return params if trained <= STAGES else None


def _search(
    path: Path,
    curves: CurveModel,
    budget: Budget,
    *,
    scale: float = 1.0,
    dies_at: int | None = None,
    spent: float = 0.0,
) -> tuple[Trials, Mortal]:
    """Begin or go on with the search at ``path``."""
    toy, journal = Toy(scale), Mortal(path, dies_at)

    def suggest(trial: optuna.trial.BaseTrial) -> Candidate:
        freeze = trial.suggest_categorical("freeze", ["frozen", "depth"])
        backbone = trial.suggest_categorical("backbone", [*OTHERS, *OTHERS.values()])
        views = trial.suggest_categorical("views", VIEWS)
        seen = {"views": views} if views > 1 else {}
        return Candidate(
            backbone=backbone,
            freeze=freeze,
            head_params={"x": trial.suggest_float("x", 0, 1)},
            freeze_params={"trained": trial.suggest_int("trained", 1, STAGES)} if freeze == "depth" else {},
            training=seen | ({} if freeze == "frozen" else {"epochs": EPOCHS}),
        )

    def seconds(params: Mapping[str, Any], epochs: int) -> float:
        return scale * (epochs + 0.2)

    context = make_context(
        curves,
        "abc",
        budget,
        variants={form: name for name, form in OTHERS.items()},
        views=VIEWS,
        tuning=_tuning,
        stages=lambda backbone: STAGES,
        distant=("b",),
        backbones=[*OTHERS, *OTHERS.values()],
        seconds=None if budget.seconds is None else seconds,
    )
    strategy = of_context(context)
    time_budget = TimeBudget(budget, clock=lambda: toy.now)
    time_budget.count_earlier(spent)
    study = make_study(seed=0, curves=50, storage=JournalStorage(journal), name="search")
    trials = search(study, suggest, toy, time_budget, strategy, refit_factor=0.0, observe=lambda record: None)
    return trials, journal


def _written(path: Path) -> dict[int, TrialRecord]:
    """Return what the study holds, by number."""
    study = optuna.load_study(study_name="search", storage=JournalStorage(OneWriterJournal(path)))
    return {entry.record.number: entry.record for entry in read_journal(study) if entry.record is not None}


def _told(trials: Trials) -> list[tuple[Any, ...]]:
    return [(r.number, r.state, r.candidate, r.objective, r.curve) for r in trials]


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.3, 3.0])
@pytest.mark.parametrize(("begun", "going_on"), [(TIME, COUNT), (COUNT, TIME), (TIME, TIME), (COUNT, COUNT)])
def test_a_search_killed_anywhere_resumes_on_any_budget(
    begun: Budget,
    going_on: Budget,
    scale: float,
    curves: CurveModel,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole, journal = _search(tmp_path / "whole", curves, begun)
    assert {record.state for record in whole} >= {"complete", "failed"}
    assert any(len(record.curve) for record in whole)
    step = 1 + journal.entries // 4
    for dies_at in range(3, journal.entries, step):
        path = tmp_path / str(dies_at)
        with pytest.raises(Killed):
            _search(path, curves, begun, dies_at=dies_at)
        before = _written(path)
        budget = replace(TIME, seconds=30.0 * scale) if going_on == TIME else COUNT
        if begun != going_on:
            budget = replace(budget, trials=len(before) + 6)
        trials, _ = _search(path, curves, budget, scale=scale)
        assert caplog.text == "", "no decision failed"
        assert [record.number for record in trials] == list(range(len(trials)))
        for number, record in before.items():
            assert record.state == "paused" or trials.records[number] == record, f"{record} was lost"
        tried = [record.candidate.without_epochs for record in trials if record.candidate]
        assert len(tried) == len(set(tried)), "nothing is tried twice"
        assert len(trials) == budget.trials or (going_on == TIME and len(trials) >= len(before))
        if going_on == COUNT:
            assert trials.best is not None
            assert trials.best.state == "complete", "what was paused and is the best goes on to its end"
        if begun == going_on == COUNT:
            assert _told(trials) == _told(whole), "the clock plays no part"


@pytest.mark.slow
def test_a_search_killed_repeatedly_comes_to_its_end(
    curves: CurveModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for life in range(20):
        before = _written(tmp_path / "study") if life else {}
        dies_at = 9 + 7 * (life % 5)
        budget = TIME if life % 2 else Budget(trials=50)
        with contextlib.suppress(Killed):
            _search(tmp_path / "study", curves, budget, scale=(0.3, 1.0, 3.0)[life % 3], dies_at=dies_at)
        after = _written(tmp_path / "study")
        assert all(after[number] == record or record.state == "paused" for number, record in before.items())
        assert caplog.text == ""
    trials, _ = _search(tmp_path / "study", curves, Budget(trials=50))
    assert len(trials) == 50
    tried = [record.candidate.without_epochs for record in trials if record.candidate]
    assert len(tried) == len(set(tried))
