"""What people read, and what programs do."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autotransfer.analysis.depths import DepthScore
from autotransfer.analysis.selection_bias import SelectionBias
from autotransfer.analysis.sources import Source
from autotransfer.analysis.summary import Insight, _warn_of
from autotransfer.analysis.transfer_gain import TransferGain
from autotransfer.selection.selected import Selected
from autotransfer.warnings import WarningList

ALONE = Selected(kind="single", trials=(3,), predictions=np.empty((0, 2)))
NOTHING = Insight(selected=ALONE, inflation=None, gain=None, sources=(), importance=None, depths=())


def _source(name: str, score: float, *, negative: bool | None = False) -> Source:
    return Source(backbone=name, source="s", score=score, objective=score, frozen=score, trial=0, negative=negative)


def _depth(frozen: int, score: float, backbone: str = "b") -> DepthScore:
    return DepthScore(frozen=frozen, stages=9, backbone=backbone, score=score, objective=score, trial=0)


GAIN = TransferGain(
    transfer=0.95, scratch=0.5, untrained=0.625, head="ridge", examples=49, epochs=7, steps=210, seconds=12.345,
    error=0.0311, verdict="gain", of="trial 3",
)  # fmt: skip
FULL = Insight(
    selected=ALONE,
    inflation=SelectionBias(inflation=0.0123, corrected=0.9, candidates=88, tried=90, of="trial 3"),
    gain=GAIN,
    sources=(_source("birds", 0.91), _source("noise", 0.4, negative=True)),
    importance={"backbone": 0.75, "settings": 0.247, "depth": 0.003},
    depths=(_depth(9, 0.91), _depth(9, 0.9, "c"), _depth(8, 0.89)),
)


def test_every_answer_has_one_line() -> None:
    assert str(FULL).splitlines() == [
        "corrected   0.9000 for trial 3: choosing the best of 88 of 90 candidates flatters by 0.0123",
        "gain        +0.3250 (standard error 0.0311) over random weights: trial 3 0.9500 against 0.5000 (7 epochs, "
        "210 steps, 12.3 s) or 0.6250 (frozen, ridge); 49 examples",
        "sources     birds 0.9100, noise 0.4000 (negative transfer)",
        "depths      0 trained 0.9100, 1 trained 0.8900",
        "mattered    backbone 75%, settings 25%",
    ]


def test_what_is_not_known_is_not_printed() -> None:
    assert str(NOTHING) == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param(
            {"verdict": "none"},
            "no measurable difference from random weights (standard error 0.0311): trial 3 0.9500 against 0.5000 (7 "
            "epochs, 210 steps, 12.3 s) or 0.6250 (frozen, ridge); 49 examples",
            id="within its error",
        ),
        pytest.param(
            {"verdict": "negative_transfer", "transfer": 0.25},
            "-0.3750 (standard error 0.0311), worse than random weights: negative transfer: trial 3 0.2500 against "
            "0.5000 (7 epochs, 210 steps, 12.3 s) or 0.6250 (frozen, ridge); 49 examples",
            id="harm",
        ),
        pytest.param(
            {"verdict": "too_little_training", "untrained": None, "epochs": 1, "steps": 30, "scratch": 0.06},
            "not known, since random weights had too little training: trial 3 0.9500 against 0.0600 (1 epoch, 30 "
            "steps, 12.3 s); 49 examples",
            id="one epoch is no rival, and no finding",
        ),
        pytest.param(
            {"verdict": "too_little_training", "scratch": None, "reason": "the time left is too short for an epoch"},
            "not known: trial 3 0.9500 against 0.6250 (frozen, ridge) from random weights, which were not trained: the "
            "time left is too short for an epoch",
            id="frozen only",
        ),
        pytest.param(
            {"verdict": "not_compared", "scratch": None, "untrained": None, "reason": "no time was left"},
            "not compared with random weights: no time was left",
            id="not at all",
        ),
    ],
)
def test_what_is_said_of_the_gain_is_what_a_test_bears_out(changes: dict[str, Any], said: str) -> None:
    assert str(replace(NOTHING, gain=replace(GAIN, **changes))) == f"gain        {said}"


@pytest.mark.parametrize(
    ("verdict", "harmful", "codes"),
    [
        ("gain", False, []),
        ("none", False, []),
        ("gain", True, ["negative_transfer"]),
        ("negative_transfer", False, ["negative_transfer"]),
        ("too_little_training", False, ["compared_late"]),
    ],
)
def test_what_a_user_should_know_of_the_gain_is_a_warning(verdict: Any, harmful: bool, codes: list[str]) -> None:
    warnings = WarningList()
    _warn_of(replace(GAIN, verdict=verdict), (_source("noise", 0.4, negative=harmful),), warnings)
    assert [warning.code for warning in warnings] == codes
    for warning in warnings:
        json.dumps(warning.to_json())
        assert ("noise" in warning.message) is harmful


def test_long_lists_are_cut_for_people_only() -> None:
    many = Insight(
        selected=ALONE, inflation=None, gain=None, importance=None,
        sources=tuple(_source(f"s{i}", 1 - i / 100) for i in range(8)),
        depths=tuple(_depth(9 - i, 0.5) for i in range(8)),
    )  # fmt: skip
    assert "s4 0.9600, and 3 more" in str(many)
    assert "s5" not in str(many)
    assert "4 trained 0.5000, and 3 more" in str(many)
    assert len(many.to_json()["sources"]) == len(many.to_json()["depths"]) == 8


def test_names_cannot_steer_the_terminal() -> None:
    hostile = replace(NOTHING, sources=(_source("\x1b[2Jgone\n", 0.5),))
    assert str(hostile) == "sources     \\x1b[2Jgone\\x0a 0.5000"


def test_json_holds_all_of_it() -> None:
    data = json.loads(json.dumps(FULL.to_json()))
    assert data["model"] == {"kind": "single", "trials": [3]}
    assert data["inflation"] == {
        "inflation": 0.0123, "corrected": 0.9, "candidates": 88, "tried": 90, "of": "trial 3"
    }  # fmt: skip
    assert data["gain"]["gain"] == 0.95 - 0.625
    assert "baseline" not in data["gain"]
    assert [row["negative"] for row in data["sources"]] == [False, True]
    assert data["importance"] == {"backbone": 0.75, "settings": 0.247, "depth": 0.003}
    assert [row["frozen"] for row in data["depths"]] == [9, 9, 8]
    assert json.dumps(NOTHING.to_json()) == (
        '{"model": {"kind": "single", "trials": [3]}, "inflation": null, '
        '"gain": null, "sources": [], "importance": null, "depths": []}'
    )
