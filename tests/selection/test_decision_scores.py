"""Metrics from counts are those of scikit-learn, for every threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, fbeta_score, make_scorer, precision_score

from autotransfer.selection.decision_scores import Counts, DecisionMetric
from autotransfer.tasks.task import Task, infer_task

TRUTH = np.arange(80) % 7 < 2
PROBABILITIES = np.clip(0.2 + 0.4 * TRUTH + np.random.default_rng(0).normal(0, 0.25, 80), 0, 1).astype(np.float32)
CUTS = np.linspace(0.02, 0.98, 13)


@pytest.mark.parametrize(
    "metric",
    [
        "f1",
        "f1_macro",
        "f1_weighted",
        "jaccard",
        "jaccard_macro",
        "balanced_accuracy",
        "matthews_corrcoef",
        make_scorer(fbeta_score, beta=2),
        make_scorer(cohen_kappa_score),
    ],
    ids=str,
)
def test_values_of_two_classes_are_those_of_the_scorer(metric: Any) -> None:
    task = infer_task(TRUTH.astype(int).tolist(), metric=metric, positive_class=1)
    found = DecisionMetric.of(task)
    assert found is not None
    values = found.values(Counts.of(TRUTH.astype(float), PROBABILITIES, CUTS))
    for cut, value in zip(CUTS, values, strict=True):
        decided = (cut < PROBABILITIES).astype(np.float32)
        scored = task.score(TRUTH.astype(int), np.stack([1 - decided, decided], axis=1))
        assert value == pytest.approx(scored, abs=1e-9)


@pytest.mark.parametrize(
    ("kind", "metric"),
    [
        ("binary", "accuracy"),
        ("binary", "roc_auc"),
        ("binary", "precision"),
        ("binary", "recall"),
        ("binary", "f1_micro"),
        ("binary", "neg_log_loss"),
        ("multiclass", "f1_macro"),
        ("multiclass", "balanced_accuracy"),
        ("multilabel", "average_precision"),
        ("multilabel", make_scorer(precision_score, average="macro")),
    ],
    ids=str,
)
def test_other_metrics_have_no_thresholds(kind: str, metric: Any) -> None:
    targets: dict[str, Any] = {"binary": [0, 1, 1], "multiclass": [0, 1, 2], "multilabel": [["a"], ["b"], ["a", "b"]]}
    assert DecisionMetric.of(infer_task(targets[kind] * 4, metric=metric)) is None


def test_a_regression_has_no_thresholds() -> None:
    assert DecisionMetric.of(Task(kind="regression", metric="r2")) is None


def test_beliefs_count_as_parts_of_an_example() -> None:
    counts = Counts.of(np.array([0.5, 1.0, 0.25]), np.array([0.9, 0.2, 0.4]), np.array([0.3]))
    assert (counts.tp.tolist(), counts.fp.tolist()) == ([0.75], [1.25])
    assert (counts.fn.tolist(), counts.tn.tolist()) == ([1.0], [0.0])


def test_weights_count_as_copies() -> None:
    weights = np.arange(80) % 3
    rows = np.repeat(np.arange(80), weights)
    one = Counts.of(TRUTH.astype(float), PROBABILITIES, CUTS, weights.astype(float))
    other = Counts.of(TRUTH[rows].astype(float), PROBABILITIES[rows], CUTS)
    for name in ("tp", "fp", "fn", "tn"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-9)
