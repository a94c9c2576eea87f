"""The printed result: a line for each finding, and none for a difference below its standard error."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fixtures.selected import make_selected

from autotransfer.analysis.backbone_ranking import BackboneScore
from autotransfer.analysis.depths import DepthScore
from autotransfer.analysis.result import Analysis
from autotransfer.analysis.selection_bias import SelectionBias
from autotransfer.analysis.transfer_gain import TransferGain
from autotransfer.candidate import Candidate
from autotransfer.data.grouping import Grouping
from autotransfer.pipeline.analyse import _warn_of_transfer
from autotransfer.run import summary
from autotransfer.run.summary import describe_analysis, describe_selection
from autotransfer.search.trials import TrialRecord
from autotransfer.selection.calibration import Calibration
from autotransfer.selection.ensemble import Ensemble
from autotransfer.selection.finals import Finalist, Finals
from autotransfer.selection.result import SelectionResult
from autotransfer.selection.selected_model import SelectedModel
from autotransfer.selection.thresholds import Thresholds
from autotransfer.tasks.score import Score, format_score
from autotransfer.tasks.task import Task
from autotransfer.warnings import FitWarning, WarningList

NONE = np.empty((0, 2))
CANDIDATE = Candidate(backbone="b")
NOTHING = Analysis(selection_bias=None, transfer_gain=None, backbones=(), importance=None, depths=())
GAIN = TransferGain(
    score=0.95, from_scratch=0.5, random_features=0.625, head="ridge", examples=49, epochs=7, steps=210,
    seconds=12.345, error=0.0311, verdict="gain",
)  # fmt: skip

TWO = Task(kind="binary", classes=("no", "yes"))


def backbone(name: str, score: float, *, negative: bool | None = False, subsample: bool = False) -> BackboneScore:
    return BackboneScore(
        backbone=name, trained_on="s", score=score, objective=score, frozen=score, trial=0, negative_transfer=negative,
        on_subsample=subsample,
    )  # fmt: skip


def depth(frozen: int, score: float, name: str = "b") -> DepthScore:
    return DepthScore(frozen=frozen, stages=9, backbone=name, score=score, objective=score, trial=0)


def selection(selected: SelectedModel, **more: Any) -> SelectionResult:
    record = TrialRecord(number=3, state="complete", candidate=CANDIDATE)
    score = Score(metric="accuracy", score=0.9, ci95=(0.8, 1.0), accuracy=0.9, examples=9)
    model: Any = None  # no line is about its networks
    held_out: Any = None  # nor about single examples
    return SelectionResult(
        best=record,
        selected=selected,
        model=model,
        validation=score,
        out_of_fold=held_out,
        out_of_fold_predictions=np.empty((0, 2)),
        decided_predictions=np.empty((0, 2)),
        **more,
    )


def test_each_finding_of_the_analysis_has_a_line() -> None:
    analysis = Analysis(
        selection_bias=None,
        transfer_gain=GAIN,
        backbones=(
            backbone("birds", 0.91),
            backbone("noise", 0.4, negative=True),
            backbone("far", 0.3, subsample=True),
        ),
        importance={"backbone": 0.75, "settings": 0.247, "depth": 0.003},
        depths=(depth(9, 0.91), depth(9, 0.9, "c"), depth(8, 0.89)),
    )
    assert describe_analysis(analysis) == [
        ("transfer gain", "+0.3250 ± 0.0311 over random weights (0.6250, frozen)"),
        ("backbones", "birds 0.9100, noise 0.4000 (negative transfer), far 0.3000 (on a subsample)"),
        ("stages trained", "none 0.9100, 1 0.8900"),
        ("importance", "backbone 75%, settings 25%"),
    ]


def test_what_is_not_known_has_no_text() -> None:
    assert {text for _, text in describe_analysis(NOTHING)} == {""}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        pytest.param(
            {"from_scratch": 0.7},
            "+0.2500 ± 0.0311 over random weights (0.7000, trained for 7 epochs, 210 steps)",
            id="trained weights are the better baseline",
        ),
        pytest.param(
            {"verdict": "no_difference"},
            "none measurable (standard error 0.0311): random weights reach 0.6250",
            id="within the standard error",
        ),
        pytest.param(
            {"verdict": "negative_transfer", "score": 0.25},
            "-0.3750 ± 0.0311 over random weights, negative transfer (0.6250, frozen)",
            id="harm",
        ),
        pytest.param(
            {"verdict": "undertrained_baseline", "random_features": None, "epochs": 1, "steps": 30},
            "not known: random weights were trained for 1 epoch, 30 steps only",
            id="one epoch",
        ),
        pytest.param(
            {"verdict": "undertrained_baseline", "from_scratch": None, "reason": "the time left is too short"},
            "not known: the time left is too short",
            id="frozen only",
        ),
        pytest.param(
            {"verdict": "not_compared", "from_scratch": None, "random_features": None, "reason": "no time was left"},
            "not measured: no time was left",
            id="not at all",
        ),
    ],
)
def test_a_transfer_gain_is_claimed_where_a_test_finds_one(changes: dict[str, Any], text: str) -> None:
    assert describe_analysis(replace(NOTHING, transfer_gain=replace(GAIN, **changes)))[0] == ("transfer gain", text)


@pytest.mark.parametrize(
    ("verdict", "harmful", "codes"),
    [
        ("gain", False, []),
        ("no_difference", False, []),
        ("gain", True, ["negative_transfer"]),
        ("negative_transfer", False, ["negative_transfer"]),
        ("undertrained_baseline", False, ["undertrained_baseline"]),
    ],
)
def test_harm_and_an_undertrained_baseline_are_warnings(verdict: Any, harmful: bool, codes: list[str]) -> None:
    warnings = WarningList()
    _warn_of_transfer(replace(GAIN, verdict=verdict), (backbone("noise", 0.4, negative=harmful),), warnings)
    assert [warning.code for warning in warnings] == codes
    for warning in warnings:
        json.dumps(warning.to_json())
        assert ("noise" in warning.message) is harmful


def test_long_lists_are_cut_for_people_only() -> None:
    many = replace(
        NOTHING,
        backbones=tuple(backbone(f"s{i}", 1 - i / 100) for i in range(8)),
        depths=tuple(depth(9 - i, 0.5) for i in range(8)),
    )
    lines = dict(describe_analysis(many))
    assert lines["backbones"].endswith("s4 0.9600, and 3 more")
    assert lines["stages trained"].endswith("4 0.5000, and 3 more")
    assert len(many.to_json()["backbones"]) == len(many.to_json()["depths"]) == 8


def test_a_single_candidate_is_the_best() -> None:
    assert describe_selection(selection(make_selected(NONE, 3))) == [("best", str(CANDIDATE))]


@pytest.mark.parametrize(("gain", "score"), [(0.02, ", score +0.0200"), (0.001, "")])
def test_an_ensemble_says_its_members_and_what_it_brings(gain: float, score: str) -> None:
    selected = make_selected(NONE, 3, 5)
    ensemble = Ensemble(
        members=selected.members, gain=gain, error=0.01, loss_reduction=0.24, tolerance=0.02, predictions=NONE
    )
    assert describe_selection(selection(selected, ensemble=ensemble)) == [
        ("model", f"ensemble of 2: loss -24% against the best candidate alone{score}"),
        ("", f"0.50  trial 3: {CANDIDATE}"),
        ("", f"0.50  trial 5: {CANDIDATE}"),
    ]


@pytest.mark.parametrize(
    ("bias", "tried", "text"),
    [
        (0.0004, 14, "0.9896 (best of 14 candidates: +0.0004)"),
        (0.0004, 20, "0.9896 (best of 14 of 20 candidates: +0.0004)"),
        (0.0, 14, ""),
    ],
)
def test_the_unbiased_estimate_says_among_how_many(bias: float, tried: int, text: str) -> None:
    found = SelectionBias(bias=bias, unbiased_estimate=0.9896, candidates=14, tried=tried)
    assert summary._selection_bias(found) == text


def test_small_errors_keep_their_digits() -> None:
    small = replace(GAIN, score=-1.2e-4, from_scratch=-2.4e-4, random_features=None, error=3e-6)
    many = (backbone("birds", -1.2e-4), backbone("noise", -2.4e-4))
    lines = dict(describe_analysis(replace(NOTHING, transfer_gain=small, backbones=many)))
    assert lines["transfer gain"].startswith("+0.0001200 ± 0.0000030 over random weights (-0.0002400,")
    assert lines["backbones"] == "birds -0.0001200, noise -0.0002400"
    found = SelectionBias(bias=4e-6, unbiased_estimate=-1.24e-4, candidates=14, tried=14)
    assert summary._selection_bias(found) == "-0.0001240 (best of 14 candidates: +0.0000040)"
    score = Score(metric="neg_mean_absolute_error", score=-1.2e-4, ci95=(-2e-4, -1e-4), accuracy=None, examples=9)
    assert "-0.0001200 (95% interval -0.0002000 to -0.0001000, 9 examples)" in str(score)


def test_large_errors_have_five_digits_or_their_whole_part() -> None:
    score = Score(metric="neg_mean_absolute_error", score=-1234567.8, ci95=(-2e6, -123.456), accuracy=None, examples=9)
    assert "-1234568 (95% interval -2000000 to -123.46, 9 examples)" in str(score)
    assert format_score(123456789.0) == "1.235e+08"


def test_shares_near_zero_keep_their_places_beside_others() -> None:
    score = Score(metric="r2", score=-3e-5, ci95=(-0.012, 0.011), accuracy=None, examples=90)
    assert str(score) == "r2 0.0000 (95% interval -0.0120 to 0.0110, 90 examples)"
    assert format_score(0.85, 0.0004, sign=True) == "+0.8500"
    assert format_score(1e-5, -1e-4, sign=True) == "+0.0000100"


def test_only_finalists_behind_by_more_than_the_error_are_named() -> None:
    def row(number: int, score: float, behind: float | None, **more: Any) -> Finalist:
        given = {"state": "complete", "spread": None, "error": 0.01, **more}
        return Finalist(number=number, candidate=CANDIDATE, score=score, folds=7, behind=behind, **given)

    rows = (row(0, 0.95, None, state="won", error=None), row(1, 0.945, 0.005), row(2, 0.9, 0.05))
    winner = TrialRecord(number=0, state="complete", candidate=CANDIDATE)
    finals = Finals(rows=rows, records=(), winner=winner)
    assert summary._finals(finals) == "trial 0 0.9500 on 7 folds, ahead of trial 2 0.9000"
    assert summary._finals(replace(finals, rows=rows[:2])) == ""


@pytest.mark.parametrize(
    ("error", "text"),
    [(0.01, "expected error 0.0900 to 0.0300 by a temperature of 1.50"), (0.2, "expected error 0.0900")],
)
def test_a_calibration_below_its_error_is_no_finding(error: float, text: str) -> None:
    found = Calibration(
        temperature=1.5, ece_before=0.09, ece_after=0.03, log_loss_before=0.5, log_loss_after=0.4, error=error
    )
    assert summary._calibration(found) == text


@pytest.mark.parametrize(
    ("task", "thresholds", "error", "text"),
    [
        (Task(kind="binary", classes=("no", "yes")), (), 0.01, ""),
        (
            Task(kind="binary", classes=("no", "yes")),
            (0.7, 0.3),
            0.01,
            "0.300 for 'yes': score +0.1000 against one half",
        ),
        (Task(kind="binary", classes=("no", "yes"), positive_class="no"), (0.7, 0.3), 0.2, "0.700 for 'no'"),
        (Task(kind="multilabel", classes=("a", "b")), (0.2, 0.2), 0.2, "0.200 for every label"),
        (Task(kind="multilabel", classes=("a", "b")), (0.2, 0.4), 0.2, "0.200 for 'a', 0.400 for 'b'"),
    ],
)
def test_thresholds_say_of_what_and_what_they_bring(
    task: Task, thresholds: tuple[float, ...], error: float, text: str
) -> None:
    scores: dict[str, Any] = {"score_before": 0.5, "score_after": 0.6, "error": error}
    found = Thresholds(thresholds=thresholds, predictions=np.empty((0, 2)), **scores)
    assert summary._thresholds(found, task) == text
    assert summary._thresholds(None, task) == ""


def test_groups_say_what_a_random_split_would_overestimate() -> None:
    found = Grouping(source="found", groups=39, examples=119, grouped_score=0.968, random_score=0.971)
    text = "39 groups of near-duplicates (119 examples) stay on one side of each split"
    assert summary._groups(found) == text
    assert summary._groups(replace(found, random_score=0.99)).endswith("would score 0.990 instead of 0.968")
    assert summary._groups(replace(found, random_score=float("nan"))) == text


def test_the_codes_of_warnings_are_printed_once_each() -> None:
    warnings = [FitWarning(code="truncated", message="a"), FitWarning(code="truncated", message="b")]
    assert summary._warnings(warnings) == "truncated (see result.json)"
    assert summary._warnings([]) == ""
