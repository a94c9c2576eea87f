"""Weights of examples in closed forms: none is no example, two are two examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.datasets import load_diabetes, load_iris

from autotransfer.contract.specs import HeadSpec
from autotransfer.tasks.task import Task
from autotransfer_plugins.heads import KNN, LOGISTIC, NCM, RIDGE, STAGE_RIDGE, TFIDF_LOGISTIC, TFIDF_RIDGE

IRIS = Task(kind="multiclass", classes=(0, 1, 2))
VALUES = Task(kind="regression", metric="r2")
LABELS = Task(kind="multilabel", classes=("second", "long"))


def _data(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return flowers with their species or two labels, or patients with the progress of their disease."""
    if task is VALUES:
        x, y = load_diabetes(return_X_y=True)
        return x.astype(np.float32), y[:, None]
    x, y = load_iris(return_X_y=True)
    labels = np.stack([y == 1, x[:, 2] > 4], axis=1).astype(np.float32)
    return x.astype(np.float32), y if task is IRIS else labels


def _outputs(
    spec: HeadSpec, task: Task, x: Any, y: np.ndarray, sample_weight: np.ndarray | None, asked: np.ndarray
) -> np.ndarray:
    shape = (2, 2) if spec.features == "stages" and x.shape[1] == 4 else (4, 6) if spec.features == "stages" else None
    module = spec.build(shape or (x.shape[1],), task.outputs, {})
    assert spec.solve is not None
    given = csr_matrix(np.round(np.abs(x) * 10)) if spec.name.startswith("tfidf") else x
    spec.solve(module, given, y, task, {}, None, sample_weight=sample_weight)
    with torch.inference_mode():
        return np.asarray(module.eval()(torch.from_numpy(asked)).numpy())


CASES = [
    *((spec, IRIS) for spec in (KNN, LOGISTIC, NCM, RIDGE, STAGE_RIDGE, TFIDF_LOGISTIC)),
    *((spec, VALUES) for spec in (KNN, RIDGE, STAGE_RIDGE, TFIDF_RIDGE)),
    *((spec, LABELS) for spec in (KNN, LOGISTIC, RIDGE, TFIDF_LOGISTIC)),
]


@pytest.mark.parametrize(("spec", "task"), CASES, ids=lambda value: getattr(value, "name", getattr(value, "kind", "")))
def test_examples_of_weight_zero_change_nothing(spec: HeadSpec, task: Task) -> None:
    x, y = _data(task)
    kept = np.random.default_rng(0).random(len(x)) < 0.6
    wild = np.where(kept[:, None], x, 1000 * x)  # would move the mean, were it to count
    weights = np.where(kept, 1.5, 0.0)
    found = _outputs(spec, task, wild, y, weights, x)
    np.testing.assert_allclose(found, _outputs(spec, task, x[kept], y[kept], weights[kept], x), rtol=1e-4, atol=1e-4)
    assert np.abs(found - _outputs(spec, task, x, y, None, x)).max() > 1e-3, "the others do count"


@pytest.mark.parametrize(
    ("spec", "task"),
    [(LOGISTIC, IRIS), (LOGISTIC, LABELS), (RIDGE, VALUES), (STAGE_RIDGE, VALUES)],
    ids=lambda value: getattr(value, "name", getattr(value, "kind", "")),
)
def test_weight_two_is_two_examples(spec: HeadSpec, task: Task) -> None:
    x, y = _data(task)
    counts = np.random.default_rng(0).integers(1, 4, len(x))
    copies = np.repeat(np.arange(len(x)), counts)
    found = _outputs(spec, task, x, y, counts.astype(np.float64), x)
    expected = _outputs(spec, task, x[copies], y[copies], None, x)
    scale = np.abs(expected).mean()
    np.testing.assert_allclose(found / scale, expected / scale, atol=0.02)
    assert np.abs(found - _outputs(spec, task, x, y, None, x)).max() > 0.02 * scale


@pytest.mark.parametrize("spec", [NCM, RIDGE, KNN], ids=lambda spec: spec.name)
def test_heavy_examples_decide_where_classes_overlap(spec: HeadSpec) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)).astype(np.float32)
    y = np.arange(200) % 2  # nothing tells the classes apart
    task, weights = Task(kind="binary", classes=(0, 1)), np.where((y == 1) == (x[:, 0] > 0), 9.0, 1.0)
    chosen = _outputs(spec, task, x, y, weights, x).argmax(1)
    assert ((chosen == 1) == (x[:, 0] > 0)).mean() > 0.8


def test_weighted_neighbours_come_back_with_the_state() -> None:
    x, y = _data(IRIS)
    weights = np.linspace(0.1, 1.9, len(x))
    module = KNN.build((4,), 3, {})
    assert KNN.solve is not None
    KNN.solve(module, x, y, IRIS, {}, None, sample_weight=weights)
    loaded = KNN.build((4,), 3, {})
    loaded.load_state_dict(module.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(loaded(torch.from_numpy(x)), module(torch.from_numpy(x)))
    assert len(module.log_weights) == len(x)
