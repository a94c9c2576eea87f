"""The picture of the search: what is best so far, and what lies far below."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from autotransfer.report.search_section import search_chart
from autotransfer.search.trials import TrialRecord, Trials

MakeRecord = Callable[..., TrialRecord]


def result(*records: TrialRecord, **more: Any) -> Any:
    score = SimpleNamespace(metric_label="accuracy", score=0.8)
    return SimpleNamespace(trials=Trials(list(records)), validation=score, **{"test": score, **more})


def test_the_line_follows_the_best_objective(make_record: MakeRecord) -> None:
    records = [
        make_record(0, 0.5, seconds=1.0, source="screening"),
        make_record(1, 0.9, 0.4, seconds=2.0, source="screening"),  # better by luck: fewer examples scored it
        make_record(2, None, state="failed", seconds=1.0),
        make_record(3, 0.7, seconds=3.0, source="fine_tuning"),
        make_record(4, 0.8, state="pruned", seconds=1.0, source="fine_tuning"),
    ]
    data = search_chart(result(*records)).data
    assert data["best"] == [(1.0, 0.5), (7.0, 0.7)]
    assert data["end"] == 8.0
    assert {name: len(points) for name, points in data["series"].items()} == {
        "screening of the backbones": 2,
        "fine-tuning, step by step": 2,
    }
    assert data["lines"] == {"the model, on test": 0.8}


def test_trials_far_below_the_rest_keep_the_scale(make_record: MakeRecord) -> None:
    near = [make_record(number, score) for number, score in enumerate([0.95, 0.96, 0.97, 0.98, 0.99])]
    low = search_chart(result(*near, make_record(5, 0.15))).data["low"]
    assert 0.15 < low < 0.95
    assert search_chart(result(*near)).data["low"] is None


def test_scores_that_are_no_numbers_are_left_out(make_record: MakeRecord) -> None:
    nan = float("nan")
    found = result(make_record(0, None), test=SimpleNamespace(score=nan))
    data = search_chart(found).data
    assert (data["series"], data["best"], data["lines"], data["low"]) == ({}, [], {}, None)
    assert search_chart(result(test=None)).data["end"] == 0.0


def test_lines_to_compare_with_can_be_given(make_record: MakeRecord) -> None:
    assert search_chart(result(make_record(0, 0.5)), {"from scratch": 0.2}).data["lines"] == {"from scratch": 0.2}
