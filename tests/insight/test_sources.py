"""The ranking of the sources, and negative transfer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from autotransfer.insight.gain import TransferGain
from autotransfer.insight.sources import rank_sources
from autotransfer.search.records import TrialRecord
from autotransfer.task import Task
from autotransfer.transfer.training import Lesson

MakeRecord = Callable[..., TrialRecord]
STAGES = {"birds": 4, "cars": 4, "noise": 4}
TARGETS = np.array([0, 1] * 5)
LESSON = Lesson(
    task=Task(kind="binary", classes=(0, 1)), targets=TARGETS, train=np.arange(4, 10), validation=np.arange(4)
)


def _outputs(right: int) -> np.ndarray:
    """Return outputs of which the first so many are right."""
    named = np.where(np.arange(10) < right, TARGETS, 1 - TARGETS)
    return np.eye(2, dtype=np.float32)[named]


def test_sources_are_ranked_by_their_best_candidate(make_record: MakeRecord) -> None:
    trials = [
        make_record(0, 0.7, backbone="birds"),
        make_record(1, 0.8, backbone="cars"),
        make_record(2, 0.95, 0.9, backbone="birds", depth=2),
        make_record(3, 0.75, backbone="birds"),
        make_record(4, 0.6, backbone="noise", depth=1),
        make_record(5, 0.99, backbone="noise", state="pruned"),
    ]
    rows = rank_sources(trials, STAGES, {"birds": "photographs of birds"}, LESSON, None)
    assert [(row.backbone, row.source, row.score, row.frozen, row.trial) for row in rows] == [
        ("birds", "photographs of birds", 0.95, 0.75, 2),
        ("cars", "", 0.8, 0.8, 1),
        ("noise", "", 0.6, None, 4),
    ]
    assert {row.negative for row in rows} == {None}  # nothing was compared


def test_a_source_below_random_weights_is_named(make_record: MakeRecord) -> None:
    # On the first fold's four examples: birds 1.0, noise 0.5, and cars, whose outputs are gone, as scored.
    trials = [
        make_record(0, 0.4, backbone="birds", scores=_outputs(4)),
        make_record(1, 0.9, backbone="noise", scores=_outputs(2)),
        make_record(2, 0.8, backbone="cars"),
    ]
    for gain in (TransferGain(transfer=1.0, scratch=0.75, untrained=0.6), TransferGain(transfer=1.0, untrained=0.75)):
        rows = rank_sources(trials, STAGES, {}, LESSON, gain)
        assert {row.backbone: row.negative for row in rows} == {"birds": False, "noise": True, "cars": False}
    rows = rank_sources(trials, STAGES, {}, LESSON, TransferGain(transfer=1.0, reason="no time was left"))
    assert {row.negative for row in rows} == {None}


def test_a_source_that_was_given_up_on_a_sample_is_in_the_ranking_and_says_so(make_record: MakeRecord) -> None:
    trials = [
        make_record(0, 0.9, backbone="birds", sampled=0.88),
        make_record(1, 0.4, backbone="noise", state="pruned", sampled=0.4),
        make_record(2, 0.5, backbone="noise", state="pruned", sampled=0.5),
        make_record(3, 0.6, backbone="birds", state="pruned", sampled=0.6),
    ]
    rows = rank_sources(trials, STAGES, {}, LESSON, TransferGain(transfer=1.0, scratch=0.75))
    found = [(row.backbone, row.score, row.trial, row.given_up, row.negative) for row in rows]
    assert found == [("birds", 0.9, 0, False, False), ("noise", 0.5, 2, True, True)]
