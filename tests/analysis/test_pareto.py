"""The front holds the candidates that no other one dominates."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from fixtures.trials import MakeRecord

from autotransfer.analysis.pareto import find_front, pick_order, within
from autotransfer.report.pareto_chart import pareto_svg
from autotransfer.search.trials import TrialRecord


def records(make_record: MakeRecord) -> list[TrialRecord]:
    """Return trials of which some are dominated; latencies in ms, sizes in MB."""
    costs = [(0.90, 20.0, 50), (0.95, 40.0, 90), (0.89, 21.0, 60), (0.80, 5.0, 10), (0.85, 30.0, 5), (0.95, 60.0, 95)]
    return [
        make_record(i, score, backbone=f"b{i}", latency_seconds=ms / 1e3, size_bytes=size * 10**6)
        for i, (score, ms, size) in enumerate(costs)
    ]


def test_a_candidate_is_on_the_front_unless_one_dominates_it(make_record: MakeRecord) -> None:
    front = find_front(records(make_record))
    assert [point.trial for point in front] == [1, 0, 4, 3]
    assert front[0].to_json()["latency_ms"] == 40.0


def test_costs_that_no_measurement_tells_apart_are_equal(make_record: MakeRecord) -> None:
    first = make_record(0, 0.9, latency_seconds=0.0100, size_bytes=1000)
    second = make_record(1, 0.8, latency_seconds=0.0098, size_bytes=990)
    assert [point.trial for point in find_front([second, first])] == [0]


def test_trials_without_a_cost_or_a_score_are_left_out(make_record: MakeRecord) -> None:
    known = {"latency_seconds": 0.1, "size_bytes": 10}
    stopped = make_record(1, 0.9, state="pruned", **known)
    assert find_front([make_record(0, 0.9), stopped, make_record(2, None, **known)]) == ()


def test_points_within_limits_keep_their_order(make_record: MakeRecord) -> None:
    points = pick_order(records(make_record))
    assert [point.trial for point in within(points, 0.025, 70e6)] == [0, 2, 3]


def test_the_picture_names_each_backbone_and_is_equal_each_time(make_record: MakeRecord) -> None:
    front = find_front(
        [*records(make_record), make_record(9, 0.99, backbone="<&$b^9$", latency_seconds=9.0, size_bytes=10**9)]
    )
    svg = pareto_svg(front, "accuracy")
    texts = {text for element in ET.fromstring(svg).iter() for text in [(element.text or "").strip()] if text}
    assert {"b0", "b1", "<&$b^9$", "accuracy", "latency in ms", "size in MB"} <= texts
    assert pareto_svg(front, "accuracy") == svg
