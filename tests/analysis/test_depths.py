"""The table of freeze depths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from autotransfer.analysis.depths import best_by_depth
from autotransfer.search.trials import TrialRecord

MakeRecord = Callable[..., TrialRecord]
STAGES = {"small": 3, "large": 6}


def test_each_backbone_has_its_best_candidate_at_each_depth(make_record: MakeRecord) -> None:
    trials = [
        make_record(0, 0.7, backbone="small", depth=3),
        make_record(1, 0.8, backbone="small", depth=3),
        make_record(2, 0.9, 0.75, backbone="large", depth=6),  # a score that is not to be taken at its word
        make_record(3, 0.6, backbone="small", depth=2),
        make_record(4, 0.65, backbone="large", depth=5),
        make_record(5, 0.5, backbone="large", depth=0),
        make_record(6, 0.99, backbone="large", depth=5, state="pruned"),
        make_record(7, None, backbone="small", depth=None, state="failed"),
    ]
    rows = best_by_depth(trials, STAGES)
    assert [(row.trained, row.frozen, row.stages, row.backbone, row.score, row.trial) for row in rows] == [
        (0, 3, 3, "small", 0.8, 1),
        (0, 6, 6, "large", 0.9, 2),
        (1, 5, 6, "large", 0.65, 4),
        (1, 2, 3, "small", 0.6, 3),
        (6, 0, 6, "large", 0.5, 5),
    ]
    assert rows[1].to_json() == {
        "frozen": 6, "stages": 6, "backbone": "large", "score": 0.9, "objective": 0.75, "trial": 2,
    }  # fmt: skip


def test_the_earlier_of_equals_stays(make_record: MakeRecord) -> None:
    (row,) = best_by_depth([make_record(i, 0.5, backbone="small", depth=1) for i in range(3)], STAGES)
    assert row.trial == 0


def test_a_paused_trial_counts_as_one_that_ended(make_record: MakeRecord) -> None:
    trials = [make_record(0, 0.7, backbone="small", depth=2), make_record(1, 0.98, backbone="small", depth=2)]
    (row,) = best_by_depth([trials[0], replace(trials[1], state="paused")], STAGES)
    assert (row.trial, row.score) == (1, 0.98)
