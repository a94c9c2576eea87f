"""A search within limits: what exceeds them is never trained, and the saved model keeps them.

Where speed matters, latencies are written down instead of measured.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.fitting import fit_with
from typer.testing import CliRunner

import autotransfer
from autotransfer.cli.main import app
from autotransfer.errors import ConfigError
from autotransfer.evaluation.inference_cost import InferenceCost
from autotransfer.model import inference_costs, saved_cost
from autotransfer.model.latency import PassCost, files_bytes, measure_pass
from autotransfer.pipeline import within_limits

Digits = tuple[np.ndarray, np.ndarray]
# Milliseconds that backbones take for each view of an example.
MILLISECONDS = {"test_resnet": 5.0, "test_vit": 20.0}


@pytest.fixture
def fit(digits: Digits, tiny_zoo: Path, tmp_path: Path) -> Callable[..., autotransfer.FitResult]:
    """Return a function that searches the tiny zoo with a few trials."""

    def fit(**settings: Any) -> autotransfer.FitResult:
        given = {"trials": 8, "zoo": tiny_zoo, "out": tmp_path / "run", "cache": False, "compare_scratch": False}
        return fit_with(*digits, **{**given, "progress": False, **settings})

    return fit


@pytest.fixture
def written_latencies(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Let backbones take what ``MILLISECONDS`` says, and the saved model ``factor`` times what its members take."""
    written = {"factor": 1.0, "models": 0.0}

    def passes(loaded: Any, sample: Any, device: Any, **options: Any) -> PassCost:
        options.pop("max_seconds", None)
        views, found = options.get("views", 1), measure_pass(loaded, sample, device, max_seconds=0.0, **options)
        seconds = views * MILLISECONDS[loaded.spec.name.partition("@")[0]] / 1e3
        return PassCost(**{**vars(found), "seconds": seconds, "load_seconds": 0.0})

    def model(model: Any, sample: Any, folder: Path, **options: Any) -> InferenceCost:
        written["models"] += 1
        views: dict[int, tuple[str, int]] = {}
        for member in model.members:
            key = id(member.network.backbone)
            views[key] = (member.candidate.backbone, max(member.views, views.get(key, ("", 0))[1]))
        seconds = sum(MILLISECONDS[name] * count for name, count in views.values()) / 1e3
        return InferenceCost(latency_seconds=seconds * written["factor"], size_bytes=files_bytes(folder))

    monkeypatch.setattr(inference_costs, "measure_pass", passes)
    monkeypatch.setattr(within_limits, "measure_pass", passes)
    monkeypatch.setattr(saved_cost, "measure_model", model)
    monkeypatch.setattr(saved_cost, "latency_in_new_process", lambda request: None)
    return written


def tried(result: autotransfer.FitResult) -> set[str]:
    return {record.candidate.backbone for record in result.trials if record.candidate is not None}


@pytest.mark.slow
def test_a_backbone_over_the_size_is_never_trained(fit: Callable[..., autotransfer.FitResult]) -> None:
    free = fit(trials=8, heads="ridge", freeze="frozen")
    sizes = {r.candidate.backbone: r.size_bytes for r in free.trials if r.candidate}
    small = min(sizes, key=lambda name: sizes[name] or 0)
    limit = (sizes[small] or 0) + 100_000
    assert {size for name, size in sizes.items() if name != small and (size or 0) <= limit} == set()
    result = fit(max_size=limit, overwrite=True)
    assert tried(result) == {small}
    assert files_bytes(result.run / "model") <= limit
    (warning,) = [warning for warning in result.warnings if warning.code == "backbones_over_limit"]
    assert set(warning.details["backbones"]) == set(sizes) - {small}
    assert result.to_json()["limits"]["size_bytes"] == limit
    assert result.to_json()["cost"]["size_bytes"] == files_bytes(result.run / "model")


def test_nothing_within_the_limits_is_said_before_the_search(
    fit: Callable[..., autotransfer.FitResult], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"No backbone keeps the limits \(1 kB\): 5 .* The smallest, [\w.]+, has "):
        fit(max_size="1kB")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_views_and_ensembles_keep_the_latency(
    fit: Callable[..., autotransfer.FitResult], written_latencies: dict[str, float]
) -> None:
    result = fit(max_latency="9ms", trials=12)
    assert tried(result) == {"test_resnet"}
    assert {record.candidate.views for record in result.trials if record.candidate} == {1}
    assert all((record.latency_seconds or 1) < 0.009 for record in result.trials)
    assert len({id(member.network.backbone) for member in result.model.members}) == 1
    assert result.selection.cost is not None
    assert result.selection.cost.latency_seconds == pytest.approx(0.005)
    assert "5 ms" in str(result)
    assert "limits: 9 ms" in str(result)


@pytest.mark.slow
def test_noise_at_the_end_falls_back_to_a_faster_candidate(
    fit: Callable[..., autotransfer.FitResult], written_latencies: dict[str, float]
) -> None:
    written_latencies["factor"] = 1.3
    result = fit(max_latency="25ms", backbones=["test_*"], ensemble=False, views=1)
    assert tried(result) == {"test_resnet", "test_vit"}
    assert result.selection.cost is not None
    if result.best.backbone == "test_resnet":
        assert result.selection.cost.latency_seconds == pytest.approx(0.0065)
    assert not result.selection.cost.exceeds(result.selection.limits)
    assert "limits_exceeded" not in {warning.code for warning in result.warnings}


@pytest.mark.slow
def test_a_model_that_no_candidate_undercuts_is_warned_of(
    fit: Callable[..., autotransfer.FitResult], written_latencies: dict[str, float]
) -> None:
    written_latencies["factor"] = 100.0
    result = fit(max_latency="25ms", trials=3)
    (warning,) = [warning for warning in result.warnings if warning.code == "limits_exceeded"]
    assert warning.details["limits"]["latency_ms"] == 25.0
    assert written_latencies["models"] == saved_cost.MEDIANS


@pytest.mark.slow
def test_another_point_of_the_front_is_trained_without_a_search(
    fit: Callable[..., autotransfer.FitResult], digits: Digits, written_latencies: dict[str, float], tmp_path: Path
) -> None:
    result = fit(trials=6)
    front = result.pareto
    assert {point.trial for point in front} <= {record.number for record in result.trials}
    fast = result.pick(latency="9ms")
    assert fast.candidate.backbone == "test_resnet"
    assert fast.validation.score == pytest.approx(fast.point.score)
    assert len(result.trials) == 6
    again = autotransfer.load(fast.save(tmp_path / "fast"))
    assert np.array_equal(again.predict(digits[0][:10]), fast.predict(digits[0][:10]))
    with pytest.raises(ConfigError, match=r"No candidate .* keeps the limits \(1 ms\): the fastest, test_resnet"):
        result.pick(latency="1ms")
    with pytest.raises(ConfigError, match=r"Say what the model may take"):
        result.pick()


@pytest.mark.slow
def test_the_command_line_takes_limits(digit_folder: Path, tiny_zoo: Path, tmp_path: Path) -> None:
    asked = ["fit", str(digit_folder / "train"), "--trials", "2", "--zoo", str(tiny_zoo), "--no-compare-scratch"]
    done = CliRunner().invoke(app, [*asked, "--max-size", "900MB", "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert "limits: 900 MB" in done.output
    chosen = ["pick", str(tmp_path / "run"), "--max-size", "900MB", "--out", str(tmp_path / "small"), "--json"]
    picked = CliRunner().invoke(app, chosen)
    assert picked.exit_code == 0, picked.output
    best = json.loads((tmp_path / "run" / "result.json").read_text())["pareto"][0]
    assert json.loads(picked.stdout)["trial"] == best["trial"]
    assert json.loads(picked.stdout)["validation"]["score"] == pytest.approx(best["score"], abs=0.05)
    assert autotransfer.load(tmp_path / "small").predict([next((digit_folder / "test" / "one").iterdir())]) is not None
    assert "holds a model already" in " ".join(CliRunner().invoke(app, chosen).output.split())
    none = CliRunner().invoke(app, [*chosen[:3], "1kB", *chosen[4:], "--overwrite"])
    assert none.exit_code != 0
    assert "No candidate of the search keeps the limits (1 kB)" in " ".join(none.output.split())
    wrong = CliRunner().invoke(app, [*asked, "--max-latency", "10", "--out", str(tmp_path / "other")])
    assert wrong.exit_code != 0
    assert "a number with a unit, such as '10ms'" in " ".join(wrong.output.split())


@pytest.mark.slow
def test_a_resumed_run_keeps_its_limits(fit: Callable[..., autotransfer.FitResult], digits: Digits) -> None:
    small = fit(trials=2, max_size="1.25MB")
    assert tried(small) == {"test_vit"}
    result = fit(trials=4, max_size="1.25MB", resume=True)
    assert tried(result) == {"test_vit"}
    assert len(result.trials) == 4
    assert result.selection.limits.size_bytes == 1_250_000


@pytest.mark.slow
def test_a_resumed_run_keeps_the_forms_within_its_limits(
    digits: Digits, tiny_zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def passes(loaded: Any, sample: Any, device: Any, **options: Any) -> PassCost:
        found = measure_pass(loaded, sample, device, memory=False, max_seconds=0.0)
        return replace(found, seconds=1e-3 if "@squash" in loaded.spec.name else 1.0, load_seconds=0.0)

    monkeypatch.setattr(inference_costs, "measure_pass", passes)
    monkeypatch.setattr(within_limits, "measure_pass", passes)
    wide = digits[0].repeat(3, axis=2)
    given = {"zoo": tiny_zoo, "backbones": "test_*", "out": tmp_path / "run", "cache": False, "compare_scratch": False}
    given |= {"max_latency": "100ms", "ensemble": False, "views": 1, "heads": "ridge", "progress": False}
    begun = fit_with(wide, digits[1], trials=1, **given)
    result = fit_with(wide, digits[1], trials=6, resume=True, **given)
    assert result.trials.records[0] == begun.trials.records[0]
    forms = json.loads((tmp_path / "run" / "run.json").read_text())["choices"]["forms"]
    assert len(forms) > 1
    assert tried(result) == set(forms), "those that were not tried yet, too"


@pytest.mark.slow
def test_what_workers_try_is_measured_when_they_have_ended(fit: Callable[..., autotransfer.FitResult]) -> None:
    result = fit(trials=3, workers=1, max_size="900MB")
    assert all(record.latency_seconds for record in result.trials if record.score is not None)
    assert "latency_ms" in (result.run / "trials.csv").read_text().splitlines()[0]


@pytest.mark.slow
def test_results_with_limits_are_pickled(fit: Callable[..., autotransfer.FitResult], digits: Digits) -> None:
    class Local:  # cannot be pickled
        def search_finished(self, result: Any) -> None:
            pass

    result = pickle.loads(pickle.dumps(fit(trials=2, callbacks=[Local()])))
    picked = result.pick(size="900MB")
    assert picked.predict(digits[0][:3]).shape == (3,)
