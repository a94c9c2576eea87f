"""The front of score and cost is what no other candidate beats in both."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from autotransfer.analysis.pareto import find_front
from autotransfer.report.cost_blocks import MAX_POINTS, cost_chart, front_table, thinned
from autotransfer.search.trials import TrialRecord, Trials

MakeRecord = Callable[..., TrialRecord]


def result(*records: TrialRecord) -> Any:
    trials = Trials(list(records))
    return SimpleNamespace(
        trials=trials, pareto=find_front(trials), validation=SimpleNamespace(metric_label="accuracy")
    )


def test_the_front_is_what_none_beats_in_both(make_record: MakeRecord) -> None:
    known = [(0.5, 0.001), (0.7, 0.004), (0.6, 0.005), (0.9, 0.1), (0.9, 0.2)]
    records = [
        make_record(number, score, latency_seconds=latency, size_bytes=1_000_000, backbone=f"b{number}")
        for number, (score, latency) in enumerate(known)
    ]
    chart = cost_chart(result(*records))
    assert chart is not None
    assert chart.data["cost"] == "latency in ms"
    assert [name for *_, name in chart.data["front"]] == ["0: b0", "1: b1", "3: b3"]
    assert [round(cost, 6) for cost, *_ in chart.data["front"]] == [1.0, 4.0, 100.0]
    (table,) = front_table(result(*records))
    assert [row[0] for row in table.rows] == [3, 1, 0]
    assert table.rows[0][3:] == ("100 ms", "1 MB")


def test_without_latencies_the_seconds_of_trials_count(make_record: MakeRecord) -> None:
    found = result(make_record(0, 0.5, seconds=1.0), make_record(1, 0.9, seconds=4.0), make_record(2, 0.8, seconds=9.0))
    chart = cost_chart(found)
    assert chart is not None
    assert chart.data["cost"] == "seconds of the trial"
    assert [cost for cost, *_ in chart.data["front"]] == [1.0, 4.0]
    assert front_table(found) == ()


def test_one_candidate_is_no_choice(make_record: MakeRecord) -> None:
    poor = make_record(1, None, state="failed")
    assert cost_chart(result(make_record(0, 0.5), poor)) is None


def test_many_points_are_thinned_in_their_order() -> None:
    series = {"a": [(float(i), 0.5) for i in range(3000)], "b": [(float(i), 0.1) for i in range(3)]}
    found = thinned(series)
    assert MAX_POINTS * 0.9 < sum(map(len, found.values())) <= MAX_POINTS + 1
    assert found["a"] == sorted(found["a"])
    assert found["b"], "a rare kind is not lost"
    assert thinned({"a": series["a"][:10]}) == {"a": series["a"][:10]}
