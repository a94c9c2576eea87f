"""What follows a saved model that takes more than the limits: others are trained, and the closest of them stays.

What saved models take is written down instead of measured.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.fitting import fit_with

import autotransfer
from autotransfer.candidate import Candidate
from autotransfer.evaluation.inference_cost import InferenceCost
from autotransfer.run.result import FitResult
from autotransfer.selection.ensemble import Ensemble
from autotransfer.selection.records import rank_records
from autotransfer.settings import Limits

Fit = Callable[..., FitResult]


@pytest.fixture
def fit(digits: tuple[np.ndarray, np.ndarray], tiny_zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fit:
    """Return a function that searches with a limit of 900 MB, when saved models take so many MB, one after another.

    Every candidate is expected to keep the limit.
    """

    def fit(*sizes: int, **settings: Any) -> FitResult:
        costs = [InferenceCost(latency_seconds=1e-3, size_bytes=size * 10**6) for size in sizes]
        monkeypatch.setattr("autotransfer.pipeline.select.measure_saved", lambda *arguments: costs.pop(0))
        given = {"zoo": tiny_zoo, "out": tmp_path / "run", "cache": False, "progress": False, "compare_scratch": False}
        given |= {"heads": ["knn", "ncm", "ridge"], "freeze": "frozen", "max_size": "900MB"}
        result = fit_with(digits[0][:60], digits[1][:60], **{**given, **settings})
        assert not costs, "each model is measured once"
        return result

    monkeypatch.setattr(
        "autotransfer.pipeline.select.cheaper_records", lambda failed, cost, all, costs: rank_records(all)
    )
    return fit


def _saved(result: FitResult) -> list[Candidate]:
    return [member.candidate for member in autotransfer.load(result.run).members]


def _check(result: FitResult, size: int) -> None:
    """Check that one model is returned, saved, and spoken of."""
    said, selected = json.loads((result.run / "result.json").read_text()), result.selection.selected
    assert _saved(result) == [member.candidate for member in selected.members]
    assert _saved(result) == [member.candidate for member in result.model.members]
    assert result.best == _saved(result)[0]
    assert said["cost"]["size_bytes"] == size * 10**6
    assert (said["model"]["kind"], said["model"]["trials"]) == (selected.kind, list(selected.trials))
    assert said["ensemble"] is None or said["ensemble"]["used"] == (selected.kind == "ensemble")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "trials", "why"),
    [
        pytest.param(
            (1300, 1000, 1200, 1100),
            8,
            "closest to them of the 4 models that were trained; no more are tried.",
            id="most",
        ),
        pytest.param(
            (1300, 1000, 1200),
            3,
            "closest to them of the 3 models that were trained; no other candidate is likely to keep them.",
            id="all",
        ),
    ],
)
def test_of_models_beyond_the_limits_the_closest_stays(fit: Fit, sizes: tuple[int, ...], trials: int, why: str) -> None:
    result = fit(*sizes, trials=trials, ensemble=False)
    _check(result, 1000)
    (warning,) = [warning for warning in result.warnings if warning.code == "limits_exceeded"]
    assert why in warning.message
    assert (warning.details["cost"]["size_bytes"], warning.details["trained"]) == (10**9, len(sizes))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "kind"),
    [((1300, 800), "single"), ((1000, 1300, 1200, 1100), "ensemble")],
    ids=["a fallback", "the ensemble"],
)
def test_an_ensemble_is_used_only_where_it_is_the_model(
    fit: Fit, sizes: tuple[int, ...], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ensemble, "is_better", property(lambda self: len(self.members) > 1))  # however little
    result = fit(*sizes, trials=8)
    assert result.selection.ensemble is not None
    assert result.selection.selected.kind == kind
    _check(result, min(sizes))


def test_the_limit_that_leaves_least_says_how_close_a_model_is() -> None:
    cost = InferenceCost(latency_seconds=0.03, size_bytes=10**7, memory_bytes=10**8)
    assert cost.share_of(Limits()) == 0.0
    assert cost.share_of(Limits(latency="10ms", size="5MB")) == pytest.approx(3.0)
    assert cost.share_of(Limits(latency="100ms", size="20MB", memory="100MB")) == 1.0
