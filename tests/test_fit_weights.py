"""Weights of examples from end to end: every form of data, every kind of task, and a weight of 0 is no example."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fixtures.fitting import fit_with
from PIL import Image
from sklearn.metrics import accuracy_score

import autotransfer
from autotransfer.errors import ConfigError, DataError, RunFormatError

Digits = tuple[np.ndarray, np.ndarray]
_QUICK = {
    "backbones": "test_vit",
    "freeze": "frozen",
    "compare_scratch": False,
    "ensemble": False,
    "device": "cpu",
    "progress": False,
}


@pytest.fixture
def quick(tiny_zoo: Path, tmp_path: Path) -> dict[str, Any]:
    """Settings of a fit that takes a second."""
    return {**_QUICK, "zoo": tiny_zoo, "cache_dir": tmp_path / "cache", "out": tmp_path / "run", "trials": 1}


@pytest.fixture(scope="module")
def halves(digits: Digits) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Digits, labels of which half are wrong, and weights of 0 for the wrong ones, of 1 and 2 for the others."""
    images, truth = digits
    rng = np.random.default_rng(0)
    wrong = rng.random(len(truth)) < 0.5
    return images, np.where(wrong, (truth + 1) % 3, truth), np.where(wrong, 0.0, rng.integers(1, 3, len(truth)))


def _targets(kind: str, labels: np.ndarray) -> Any:
    if kind == "multilabel":
        return np.stack([labels == 0, labels > 0], axis=1).astype(int)
    return labels + 0.5 if kind == "regression" else labels


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "head"),
    [("multiclass", "ridge"), ("multiclass", "knn"), ("multilabel", "logistic"), ("regression", "ridge")],
)
def test_fit_with_weights_of_zero_is_a_fit_without_them(
    halves: tuple[np.ndarray, np.ndarray, np.ndarray], quick: dict[str, Any], tmp_path: Path, kind: str, head: str
) -> None:
    images, labels, weights = halves
    given, kept = _targets(kind, labels), weights > 0
    quick = {**quick, "heads": head, "class_weight": "balanced" if kind == "multiclass" else None}
    whole = fit_with(images, given, sample_weight=weights, **quick)
    quick["out"] = tmp_path / "without"
    part = fit_with(images[kept], given[kept], sample_weight=weights[kept] * 7, **quick)
    np.testing.assert_allclose(whole.model.predict_proba(images), part.model.predict_proba(images), atol=1e-6)
    scores = [(found.validation.score, *found.validation.ci95, found.validation.examples) for found in (whole, part)]
    assert scores[0] == pytest.approx(scores[1])
    assert scores[0][-1] == kept.sum()
    assert {one.reason for one in whole.data.skipped} == {"its weight is 0"}
    assert len(whole.data.skipped) == (~kept).sum()
    assert "examples_skipped" not in {warning.code for warning in whole.warnings}
    quick["out"] = tmp_path / "equal"
    equal = fit_with(images[kept], given[kept], **quick)
    assert np.abs(equal.model.predict_proba(images) - part.model.predict_proba(images)).max() > 1e-4


@pytest.mark.slow
def test_scores_are_weighted_means(digits: Digits, quick: dict[str, Any]) -> None:
    images, labels = digits
    weights = np.where(labels == 2, 5.0, 1.0)
    quick |= {"heads": "ncm", "metric": "accuracy", "test": images[90:], "test_targets": labels[90:]}
    found = fit_with(images[:90], labels[:90], sample_weight=weights[:90], test_sample_weight=weights[90:], **quick)
    held_out = found.selection.out_of_fold
    np.testing.assert_array_equal(held_out.weights, weights[:90][held_out.rows])
    chosen = found.selection.out_of_fold_predictions.argmax(1)
    expected = accuracy_score(held_out.targets, chosen, sample_weight=held_out.weights)
    assert found.validation.score == pytest.approx(expected)
    assert found.validation.score != pytest.approx(accuracy_score(held_out.targets, chosen))
    assert found.test is not None
    predicted = found.model.predict(images[90:])
    assert found.test.score == pytest.approx(accuracy_score(labels[90:], predicted, sample_weight=weights[90:]))
    again = found.model.score(images[90:], labels[90:], sample_weight=weights[90:])
    assert again.score == pytest.approx(found.test.score)
    assert again.effective_examples == pytest.approx(found.test.effective_examples)


@pytest.fixture(scope="module")
def table(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 60 files with their labels and weights."""
    folder = tmp_path_factory.mktemp("table")
    rows = []
    for number, (image, label) in enumerate(zip(digits[0][:60], digits[1][:60], strict=True)):
        Image.fromarray(image).save(folder / f"{number:03d}.png")
        rows.append((f"{number:03d}.png", f"digit {label}", number % 4))
    pd.DataFrame(rows, columns=["file", "label", "importance"]).to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


@pytest.mark.slow
def test_run_on_a_table_with_weights_is_resumed(table: Path, quick: dict[str, Any]) -> None:
    quick |= {"heads": ["ncm", "ridge"], "weight_column": "importance"}
    first = fit_with(str(table), **quick)
    assert first.validation.examples == 45
    assert first.validation.effective_examples is not None
    again = autotransfer.resume(first.run, trials=2, progress=False)
    assert len(again.trials) == 2
    assert again.validation.examples == 45
    recorded = json.loads((first.run / "run.json").read_text())
    recorded["call"]["settings"]["data_options"]["weight_column"] = None
    (first.run / "run.json").write_text(json.dumps(recorded))
    with pytest.raises(DataError):
        autotransfer.resume(first.run, trials=3, progress=False)


@pytest.mark.slow
def test_other_weights_are_other_data(table: Path, quick: dict[str, Any]) -> None:
    quick |= {"heads": ["ncm", "ridge"]}
    weights = np.linspace(1, 2, 60)
    first = fit_with(str(table), sample_weight=weights, target_column="label", **quick)
    quick |= {"trials": 2, "resume": True}
    with pytest.raises(DataError, match="The data have changed since the run"):
        fit_with(str(table), sample_weight=weights[::-1].copy(), target_column="label", **quick)
    assert len(autotransfer.resume(first.run, trials=2, progress=False).trials) == 2


@pytest.mark.slow
def test_weights_of_another_library_start_no_resume(table: Path, quick: dict[str, Any]) -> None:
    first = fit_with(
        str(table), sample_weight=pd.Series(np.linspace(1, 2, 60)), target_column="label", **{**quick, "heads": "ncm"}
    )
    with pytest.raises(RunFormatError, match="call fit with the same arguments"):
        autotransfer.resume(first.run, trials=2, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"sample_weight": [1.0] * 119}, DataError, "There are 120 examples but 119 weights"),
        ({"sample_weight": [0.0] * 120}, DataError, "All weights are zero"),
        ({"sample_weight": [1.0] * 120, "metric": "roc_auc_ovo"}, ConfigError, "takes no sample weights"),
        ({"test_sample_weight": [1.0] * 120, "metric": "roc_auc_ovo"}, ConfigError, "takes no sample weights"),
    ],
)
def test_wrong_weights_are_refused_before_anything_is_read(
    digits: Digits, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch, settings: Any, error: Any, message: str
) -> None:
    from autotransfer_plugins.modalities.image import modality

    monkeypatch.setattr(modality.ImageModality, "load", None)  # nothing is decoded
    if "test_sample_weight" in settings:
        settings = {**settings, "test": digits[0], "test_targets": digits[1]}
    with pytest.raises(error, match=message):
        fit_with(*digits, **{**quick, **settings})


@pytest.mark.slow
def test_networks_learn_what_the_heavy_examples_say(
    halves: tuple[np.ndarray, np.ndarray, np.ndarray], digits: Digits, quick: dict[str, Any]
) -> None:
    images, labels, weights = halves
    quick |= {"freeze": "full", "heads": "linear", "epochs": 4, "trials": 2}
    found = fit_with(images, labels, sample_weight=np.where(weights > 0, weights, 0.01), **quick)
    agreement = np.mean(found.model.predict(images) == digits[1])
    assert agreement > 0.6, "half of the labels are wrong, and hardly count"
    assert found.validation.effective_examples is not None


@pytest.mark.slow
def test_score_says_how_many_equal_examples_these_are(digits: Digits, quick: dict[str, Any]) -> None:
    images, labels = digits
    found = fit_with(images, labels, sample_weight=1.0 + 9.0 * (labels == 0), heads="ncm", **quick)
    assert "which count as" in str(found.validation)
