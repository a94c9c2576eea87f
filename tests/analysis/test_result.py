"""The analysis as JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from autotransfer.analysis.attention import Attention
from autotransfer.analysis.backbone_ranking import BackboneScore
from autotransfer.analysis.depths import DepthScore
from autotransfer.analysis.label_errors import LabelError, LabelErrors
from autotransfer.analysis.result import Analysis
from autotransfer.analysis.selection_bias import SelectionBias
from autotransfer.analysis.transfer_gain import TransferGain
from autotransfer.analysis.worst_errors import WorstError
from autotransfer.contract.preview import Preview


def test_an_empty_analysis_is_json() -> None:
    empty = Analysis(selection_bias=None, transfer_gain=None, backbones=(), importance=None, depths=())
    assert empty.to_json() == {
        "selection_bias": None,
        "transfer_gain": None,
        "backbones": [],
        "importance": None,
        "depths": [],
        "worst_errors": [],
        "label_errors": {"worst": [], "estimated": None, "examined": 0},
        "attention": [],
    }


def test_json_holds_the_whole_analysis() -> None:
    analysis = Analysis(
        selection_bias=SelectionBias(bias=0.0123, unbiased_estimate=0.9, candidates=88, tried=90),
        transfer_gain=TransferGain(
            score=0.95,
            from_scratch=0.5,
            random_features=0.625,
            verdict="gain",
            error=np.inf,
            baseline_predictions=np.empty(3),
        ),
        backbones=(
            BackboneScore(
                backbone="birds",
                trained_on="photographs",
                score=0.9,
                objective=0.9,
                frozen=None,
                trial=0,
                negative_transfer=True,
            ),
        ),
        importance={"backbone": 0.75},
        depths=(DepthScore(frozen=9, stages=9, backbone="birds", score=0.9, objective=0.9, trial=0),),
    )
    data = json.loads(json.dumps(analysis.to_json(), allow_nan=False))
    assert data["selection_bias"] == {"bias": 0.0123, "unbiased_estimate": 0.9, "candidates": 88, "tried": 90}
    gain = data["transfer_gain"]
    assert (gain["gain"], gain["baseline"], gain["error"]) == (0.95 - 0.625, 0.625, None)
    assert "baseline_predictions" not in gain
    assert data["backbones"][0]["negative_transfer"] is True
    assert data["importance"] == {"backbone": 0.75}
    assert data["depths"][0]["frozen"] == 9


def test_examples_in_the_analysis_survive_json() -> None:
    shown = Preview(media_type="image/png", data=b"\x89PNG", text="<b>")
    error = WorstError(row=1, name="a.png", true="cat", predicted="dog", probability=0.9, loss=2.3, preview=shown)
    label = LabelError(row=2, name="b.png", given=["cat"], suggested=["dog"], label="cat", score=0.1, preview=None)
    attention = Attention(row=3, name="c.png", predicted=0.5, preview=shown)
    labels = LabelErrors(worst=(label,), estimated=1, examined=9)
    for each in (error, label, attention, labels):
        assert type(each).from_json(json.loads(json.dumps(each.to_json()))) == each


def test_the_result_holds_no_pictures() -> None:
    shown = Preview(media_type="image/png", data=b"\x89PNG", text="12 x 12 pixels")
    error = WorstError(row=1, name="a.png", true="cat", predicted="dog", loss=2.3, preview=shown)
    attention = Attention(row=3, name="c.png", predicted=0.5, preview=shown)
    empty = Analysis(selection_bias=None, transfer_gain=None, backbones=(), importance=None, depths=())
    text = json.dumps(replace(empty, worst_errors=(error,), attention=(attention,)).to_json())
    assert "a.png" in text
    assert "preview" not in text
