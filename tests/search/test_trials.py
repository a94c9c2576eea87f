"""What is remembered of trials: rows, the best one, the order, and whose predictions are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autotransfer.candidate import Candidate
from autotransfer.search import trials as records
from autotransfer.search.trials import TrialRecord, Trials


def _record(number: int, objective: float | None, state: Any = "complete", **more: Any) -> TrialRecord:
    candidate = Candidate(backbone="b", training={"epochs": number})
    return TrialRecord(
        number=number, state=state, candidate=candidate, score=objective, objective=objective, depth=2, **more
    )


def test_a_row_is_flat_and_says_where_each_setting_belongs() -> None:
    candidate = Candidate(
        backbone="b", head="h", freeze="f", head_params={"k": 3}, freeze_params={"depth": 1}, training={"lr": 0.1}
    )
    record = TrialRecord(
        number=4, state="pruned", candidate=candidate, source="screening", score=0.5, objective=0.4, best_epoch=2,
        epochs=3, seconds=1.23456, depth=1, reason="poor", curve=(0.1, 0.5, 0.4), latency_seconds=0.0098412345,
        size_bytes=12_000,
    )  # fmt: skip
    assert record.to_row() == {
        "number": 4, "state": "pruned", "source": "screening", "score": 0.5, "objective": 0.4, "backbone": "b",
        "head": "h", "freeze": "f",
        "depth": 1, "head.k": 3, "freeze.depth": 1, "training.lr": 0.1, "latency_ms": 9.8412,
        "size_bytes": 12_000, "best_epoch": 2, "epochs": 3, "seconds": 1.235, "reason": "poor",
    }  # fmt: skip


def test_a_trial_without_a_candidate_still_has_a_row() -> None:
    row = TrialRecord(number=0, state="failed", candidate=None, reason="no such stage").to_row()
    assert (row["backbone"], row["head"], row["freeze"], row["score"]) == ("", "", "", None)
    assert row["reason"] == "no such stage"


def test_the_best_is_not_pruned_and_the_first_of_equals() -> None:
    trials = Trials()
    assert trials.best is None
    for record in (
        _record(0, 0.7),
        _record(1, 0.9, "pruned"),
        _record(2, 0.8),
        _record(3, 0.8),
        _record(4, None, "failed"),
    ):
        trials.add(record)
    assert trials.best is not None
    assert trials.best.number == 2
    assert trials.counts() == {"complete": 3, "paused": 0, "pruned": 1, "failed": 1}


def test_a_record_replaces_the_one_with_its_number() -> None:
    trials = Trials()
    for record in (_record(0, 0.7, "paused"), _record(1, 0.8), _record(0, 0.9)):
        trials.add(record)
    assert [(record.number, record.score) for record in trials] == [(0, 0.9), (1, 0.8)]
    assert trials.counts()["complete"] == 2


def test_the_leaderboard_ends_with_pruned_trials() -> None:
    trials = Trials()
    for record in (
        _record(0, 0.7),
        _record(1, 0.95, "pruned"),
        _record(2, None, "failed"),
        _record(3, 0.9),
        _record(4, 0.9),
    ):
        trials.add(record)
    assert [record.number for record in trials.leaderboard()] == [3, 4, 0, 1]


@pytest.mark.parametrize(("room", "kept"), [(0, 10), (15 * 16, 15), (2**20, 30)])
def test_the_best_trials_keep_their_predictions(monkeypatch: pytest.MonkeyPatch, room: int, kept: int) -> None:
    # Memory must not grow with the number of trials; the ten leaders are never without.
    monkeypatch.setattr(records, "MAX_PREDICTIONS_BYTES", room)
    trials = Trials()
    for number in range(30):
        trials.add(_record(number, (number * 7 % 30) / 30, predictions=np.zeros((2, 2), np.float32)))
    holders = {record.number for record in trials if record.predictions is not None}
    assert holders == {record.number for record in trials.leaderboard()[:kept]}
    assert [record.number for record in trials] == list(range(30))  # nothing is lost, nothing changes place
