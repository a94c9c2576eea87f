"""What a model says of examples that are unlike anything seen; damaged files are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures.fitting import fit_with
from safetensors.torch import load_file, save_file

import autotransfer
from autotransfer.errors import ConfigError, ModelFormatError
from autotransfer.model.outliers import MahalanobisDetector, NeighbourDetector, Outliers, mark_unknown
from autotransfer.model.transfer_model import TransferModel
from autotransfer.tasks.task import Task

Digits = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def model(tiny_zoo: Path, digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> TransferModel:
    """A frozen network of digits."""
    return fit_with(
        digits[0][:80], digits[1][:80], zoo=tiny_zoo, out=tmp_path_factory.mktemp("run") / "run", cache=False,
        progress=False, trials=2, backbones="test_resnet", heads="ridge", freeze="frozen", compare_scratch=False,
    ).model  # fmt: skip


def _noise(digits: Digits, count: int = 20) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *digits[0].shape[1:])).astype(digits[0].dtype)


@pytest.mark.slow
def test_noise_is_unknown_and_known_digits_keep_their_labels(
    model: TransferModel, digits: Digits, tmp_path: Path
) -> None:
    known, noise = digits[0][80:], _noise(digits)
    assert (model.outlier_scores(noise) > 1).all()
    scores = model.outlier_scores(known)
    assert scores.shape == (len(known),)
    assert (scores > 1).mean() < 0.1
    found = model.predict(np.concatenate([known, noise]), unknown="?")
    plain = model.predict(known)
    assert list(found[len(known) :]) == ["?"] * len(noise)
    assert (found[: len(known)][scores <= 1] == plain[scores <= 1]).all()
    loaded = autotransfer.load(model.save(tmp_path), device="cpu")
    np.testing.assert_array_equal(loaded.outlier_scores(known), scores)
    assert loaded.predict(noise, unknown=-1).tolist() == [-1] * len(noise)
    np.testing.assert_array_equal(loaded.predict_proba(known), model.predict_proba(known))


def test_scores_take_no_further_pass(model: TransferModel, digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    (group,) = model._groups
    forward = group.backbone.module.forward

    def counted(images: Any) -> Any:
        passes.append(len(images))
        return forward(images)

    monkeypatch.setattr(group.backbone.module, "forward", counted)
    model.predict(digits[0][:10], unknown="?")
    assert passes == [10]


@pytest.mark.slow
def test_the_score_is_that_of_the_pooled_features(model: TransferModel, digits: Digits) -> None:
    assert model.outliers is not None
    store = model.decode(model.find_examples(digits[0][:12]))
    features = torch.from_numpy(model.pooled_features(store, np.arange(12)))
    np.testing.assert_allclose(model.outliers.detector(features), model.predict_with_scores(store)[1], rtol=1e-4)
    graph = torch.export.export(
        model.outliers.detector, (features,), dynamic_shapes={"features": {0: torch.export.Dim("n", min=2, max=4096)}}
    )
    torch.testing.assert_close(graph.module()(features[:3]), model.outliers.detector(features[:3]))


def test_a_model_without_a_detector_says_so(model: TransferModel, digits: Digits, tmp_path: Path) -> None:
    plain = autotransfer.load(replace(model, outliers=None).save(tmp_path), device="cpu")
    with pytest.raises(ConfigError, match="does not know what its training examples were like"):
        plain.predict(digits[0][:3], unknown="?")
    with pytest.raises(ConfigError, match="dense features"):
        plain.outlier_scores(digits[0][:3])


def _break_threshold(about: dict[str, Any], tensors: dict[str, Any]) -> None:
    about["threshold"] = -1.0


def _break_kind(about: dict[str, Any], tensors: dict[str, Any]) -> None:
    about["kind"] = "os.system"


def _break_member(about: dict[str, Any], tensors: dict[str, Any]) -> None:
    about["member"] = 7


def _break_width(about: dict[str, Any], tensors: dict[str, Any]) -> None:
    tensors["outliers.mean"] = tensors["outliers.mean"][1:]


def _break_rank(about: dict[str, Any], tensors: dict[str, Any]) -> None:
    tensors["outliers.basis"] = tensors["outliers.basis"] * 0


def _break_type(about: dict[str, Any], tensors: dict[str, Any]) -> None:
    tensors["outliers.mean"] = tensors["outliers.mean"].long()


def _lose_tensor(about: dict[str, Any], tensors: dict[str, Any]) -> None:
    del tensors["outliers.basis"]


def _break_values(about: dict[str, Any], tensors: dict[str, Any]) -> None:
    tensors["outliers.mean"][0] = float("nan")


@pytest.mark.parametrize(
    "damage",
    [
        _break_threshold,
        _break_kind,
        _break_member,
        _break_width,
        _break_rank,
        _break_type,
        _lose_tensor,
        _break_values,
    ],
)
def test_a_damaged_detector_is_refused(
    model: TransferModel, damage: Callable[[dict[str, Any], dict[str, Any]], None], tmp_path: Path
) -> None:
    model.save(tmp_path)
    about, tensors = json.loads((tmp_path / "model.json").read_text()), load_file(tmp_path / "model.safetensors")
    damage(about["outliers"], tensors)
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "model.json").write_text(json.dumps(about))
    with pytest.raises(ModelFormatError):
        autotransfer.load(tmp_path, device="cpu")


def test_a_detector_of_neighbours_travels_too(model: TransferModel, digits: Digits, tmp_path: Path) -> None:
    store = model.decode(model.find_examples(digits[0][:40]))
    features = torch.from_numpy(model.pooled_features(store, np.arange(40)))
    reference = torch.nn.functional.normalize(features, dim=1).half()
    other = replace(model, outliers=Outliers(detector=NeighbourDetector({"reference": reference}, 0.3)))
    scores = other.outlier_scores(digits[0][:60])
    loaded = autotransfer.load(other.save(tmp_path), device="cpu")
    assert loaded.outliers is not None
    assert isinstance(loaded.outliers.detector, NeighbourDetector)
    np.testing.assert_array_equal(loaded.outlier_scores(digits[0][:60]), scores)
    assert isinstance(model.outliers and model.outliers.detector, MahalanobisDetector)


def test_labels_of_unknown_examples_by_task() -> None:
    unlike = np.array([True, False])
    text = mark_unknown(Task(kind="binary", classes=("a", "b")), np.array(["a", "b"]), unlike, "unknown")
    assert (text.tolist(), text.dtype.kind) == (["unknown", "b"], "U")
    mixed = mark_unknown(Task(kind="binary", classes=(0, 1)), np.array([0, 1]), unlike, "?")
    assert (mixed.tolist(), mixed.dtype) == (["?", 1], object)
    several = np.empty(2, dtype=object)
    several[:] = [("a",), ("a", "b")]
    marked = mark_unknown(Task(kind="multilabel", classes=("a", "b")), several, unlike, "?")
    assert marked.tolist() == [("?",), ("a", "b")]
    values = mark_unknown(Task(kind="regression", width=2), np.ones((2, 2)), unlike, "?")
    np.testing.assert_array_equal(values, [[np.nan, np.nan], [1, 1]])
