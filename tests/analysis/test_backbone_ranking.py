"""The ranking of the backbones, and negative transfer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from autotransfer.analysis.backbone_ranking import pretraining_warning, rank_backbones
from autotransfer.data.folds import Fold
from autotransfer.search.trials import TrialRecord
from autotransfer.tasks.task import Task

MakeRecord = Callable[..., TrialRecord]
STAGES = {"birds": 4, "cars": 4, "noise": 4}
TARGETS = np.array([0, 1] * 5)
FOLD = Fold(
    task=Task(kind="binary", classes=(0, 1)), targets=TARGETS, train_rows=np.arange(4, 10), validation_rows=np.arange(4)
)


def test_backbones_are_ranked_by_their_best_candidate(make_record: MakeRecord) -> None:
    trials = [
        make_record(0, 0.7, backbone="birds"),
        make_record(1, 0.8, backbone="cars"),
        make_record(2, 0.95, 0.9, backbone="birds", depth=2),
        make_record(3, 0.75, backbone="birds"),
        make_record(4, 0.6, backbone="noise", depth=1),
        make_record(5, 0.99, backbone="noise", state="pruned"),
    ]
    rows = rank_backbones(trials, STAGES, {"birds": "photographs of birds"}, FOLD, None)
    assert [(row.backbone, row.trained_on, row.score, row.frozen, row.trial) for row in rows] == [
        ("birds", "photographs of birds", 0.95, 0.75, 2),
        ("cars", "", 0.8, 0.8, 1),
        ("noise", "", 0.6, None, 4),
    ]
    assert {row.negative_transfer for row in rows} == {None}  # nothing was compared


def _right(share: float, count: int = 120, seed: int = 0) -> np.ndarray:
    """Return outputs that are right about a share of so many examples."""
    right = np.random.default_rng(seed).permutation(count) < share * count
    return np.eye(2, dtype=np.float32)[np.where(right, TRUTH[:count], 1 - TRUTH[:count])]


TRUTH = np.arange(120) % 2
WHOLE = Fold(
    task=Task(kind="binary", classes=(0, 1)), targets=TRUTH, train_rows=np.arange(0), validation_rows=np.arange(120)
)


def _negative(trials: list[TrialRecord], baseline: np.ndarray | None, fold: Fold = WHOLE) -> dict[str, bool | None]:
    return {row.backbone: row.negative_transfer for row in rank_backbones(trials, STAGES, {}, fold, baseline)}


def test_only_significant_harm_is_negative_transfer(make_record: MakeRecord) -> None:
    trials = [
        make_record(0, 0.9, backbone="birds", predictions=_right(0.9)),
        make_record(1, 0.5, backbone="noise", predictions=_right(0.5, seed=1)),
        make_record(2, 0.79, backbone="cars", predictions=_right(0.79, seed=2)),  # by one of 120, which is chance
    ]
    assert _negative(trials, _right(0.8, seed=3)) == {"birds": False, "noise": True, "cars": False}
    assert set(_negative(trials, None).values()) == {None}


def test_a_backbone_without_predictions_is_not_compared(make_record: MakeRecord) -> None:
    partly = _right(0.5)
    partly[7] = np.nan
    trials = [make_record(0, 0.1, backbone="birds"), make_record(1, 0.1, backbone="cars", predictions=partly)]
    assert _negative(trials, _right(0.9, seed=3)) == {"birds": None, "cars": None}


def test_examples_of_one_group_count_once_in_the_paired_test(make_record: MakeRecord) -> None:
    # Thirty wrong images of one patient are one case, not thirty.
    outputs = np.eye(2, dtype=np.float32)[TRUTH]
    outputs[:30] = 1 - outputs[:30]
    trials, group_ids = [make_record(0, 0.75, backbone="birds", predictions=outputs)], np.arange(120) // 30
    right = np.eye(2, dtype=np.float32)[TRUTH]
    assert _negative(trials, right) == {"birds": True}
    assert _negative(trials, right, replace(WHOLE, group_ids=group_ids)) == {"birds": False}


def test_a_backbone_stopped_on_a_subsample_is_ranked_by_it(make_record: MakeRecord) -> None:
    trials = [
        make_record(0, 0.9, backbone="birds", sample_score=0.88),
        make_record(1, 0.4, backbone="noise", state="pruned", sample_score=0.4),
        make_record(2, 0.5, backbone="noise", state="pruned", sample_score=0.5),
        make_record(3, 0.6, backbone="birds", state="pruned", sample_score=0.6),
    ]
    rows = rank_backbones(trials, STAGES, {}, FOLD, None)
    found = [(row.backbone, row.score, row.trial, row.on_subsample, row.negative_transfer) for row in rows]
    assert found == [("birds", 0.9, 0, False, None), ("noise", 0.5, 2, True, None)]


def test_winner_without_pretraining_is_said_beside_the_best(make_record: MakeRecord) -> None:
    trials = [make_record(0, 0.9, backbone="noise"), make_record(1, 0.8, backbone="cars")]
    rows = rank_backbones(trials, STAGES, {}, FOLD, None)
    warning = pretraining_warning("noise", rows, {"noise"}, "accuracy")
    assert warning is not None
    assert warning.code == "transfer_does_not_pay"
    assert "'noise' with an estimated accuracy of 0.9000" in warning.message
    assert "cars, reaches 0.8000" in warning.message
    assert warning.details == {"winner": "noise", "score": 0.9, "pretrained": "cars", "best": 0.8}
    assert pretraining_warning("cars", rows, {"noise"}, "accuracy") is None
    alone = pretraining_warning("noise", rows[:1], {"noise"}, "accuracy")
    assert alone is not None
    assert "No pretrained backbone was scored" in alone.message
