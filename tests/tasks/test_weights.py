"""Weights of examples in scores and their errors: a whole weight is so many copies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, make_scorer, max_error

from autotransfer.errors import ConfigError
from autotransfer.evaluation.objective import compute_objective
from autotransfer.model.temperature import fit_temperature
from autotransfer.tasks.bootstrap import effective_count, paired_standard_error, score_slope, significantly_better
from autotransfer.tasks.score import Score, score_interval
from autotransfer.tasks.task import Task, infer_task

THREE = Task(kind="multiclass", classes=("a", "b", "c"))
BINARY = Task(kind="binary", classes=("a", "b"), positive_class="a")
LABELS = Task(kind="multilabel", classes=("a", "b"), metric="f1_macro")
VALUES = Task(kind="regression", metric="r2")


def _case(task: Task, count: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return targets and predictions that are partly right."""
    rng = np.random.default_rng(seed)
    if task.kind == "regression":
        truth = rng.normal(size=(count, 1))
        return truth, truth + rng.normal(size=(count, 1))
    if task.kind == "multilabel":
        several = rng.integers(0, 2, (count, 2)).astype(np.float32)
        return several, np.clip(0.3 + 0.4 * several + rng.normal(0, 0.3, several.shape), 0.01, 0.99)
    truth = rng.integers(0, task.outputs, count)
    logits = 1.5 * np.eye(task.outputs)[truth] + rng.normal(size=(count, task.outputs))
    return truth, np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


@pytest.mark.parametrize(
    ("task", "metric"),
    [
        *((THREE, name) for name in ("accuracy", "balanced_accuracy", "f1_macro", "neg_log_loss", "roc_auc_ovr")),
        *((BINARY, name) for name in ("recall", "roc_auc", "average_precision", "matthews_corrcoef")),
        *((LABELS, name) for name in ("f1_macro", "accuracy")),
        *((VALUES, name) for name in ("r2", "neg_mean_absolute_error", "neg_median_absolute_error")),
    ],
)
def test_weights_score_as_copies_do(task: Task, metric: str) -> None:
    truth, predictions = _case(task)
    counts = np.random.default_rng(1).integers(0, 4, len(truth))
    copies, task = np.repeat(np.arange(len(truth)), counts), replace(task, metric=metric)
    expected = task.score(truth[copies], predictions[copies])
    assert task.score(truth, predictions, weights=counts.astype(float)) == pytest.approx(expected)
    assert task.score(truth, predictions) != pytest.approx(expected, abs=1e-4)
    objective = compute_objective(task, truth, predictions, counts.astype(float))
    assert objective == pytest.approx(compute_objective(task, truth[copies], predictions[copies]))


def test_scorers_of_the_user_get_the_weights() -> None:
    truth, predictions = _case(THREE)
    counts = np.random.default_rng(1).integers(0, 4, len(truth))
    copies = np.repeat(np.arange(len(truth)), counts)

    def share_of_a(estimator: object, X: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> float:
        return float(np.average(y == "a", weights=sample_weight))

    for metric in (share_of_a, make_scorer(accuracy_score)):
        task = infer_task(np.array(["a", "b", "c"])[truth], metric=metric, weighted=True)
        found = task.score(truth, predictions, weights=counts.astype(float))
        assert found == pytest.approx(task.score(truth[copies], predictions[copies]))


def test_metrics_without_weights_are_refused() -> None:
    values = [0.5, 1.5, 2.0, 0.1]
    with pytest.raises(ConfigError, match=r"'neg_max_error' takes no sample weights: leave them out"):
        infer_task(values, metric="neg_max_error", weighted=True)
    with pytest.raises(ConfigError, match="takes no sample weights"):
        infer_task(values, metric=lambda estimator, X, y: 1.0, weighted=True)
    with pytest.raises(
        ConfigError, match="'roc_auc_ovo' takes no sample weights"
    ):  # scikit-learn takes the argument, and refuses it
        infer_task(["a", "b", "c"] * 3, metric="roc_auc_ovo", weighted=True)
    assert infer_task(values, metric=make_scorer(max_error, greater_is_better=False)).score(
        np.array([[1.0]]), np.array([[0.5]])
    ) == pytest.approx(-0.5)


@pytest.mark.slow
@pytest.mark.parametrize("task", [THREE, replace(THREE, metric="balanced_accuracy"), LABELS, VALUES])
def test_equal_weights_change_no_error(task: Task) -> None:
    truth, predictions = _case(task)
    other, ones = _case(task, seed=5)[1], np.full(len(truth), 3.0)
    plain, weighted = Score.of(task, truth, predictions), Score.of(task, truth, predictions, weights=ones)
    assert (weighted.score, *weighted.ci95) == pytest.approx((plain.score, *plain.ci95))
    assert (weighted.accuracy, weighted.effective_examples) == (plain.accuracy, 80.0)
    known = (truth, predictions)
    assert score_slope(task, *known, other, weights=ones) == pytest.approx(score_slope(task, *known, other))
    paired = paired_standard_error(task, *known, other, weights=ones)
    assert paired == pytest.approx(paired_standard_error(task, *known, other))
    assert significantly_better(task, *known, other, weights=ones) == significantly_better(task, *known, other)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy"])
def test_intervals_hold_scores_of_new_examples(metric: str) -> None:
    task, weights = replace(THREE, metric=metric), np.where(np.arange(300) % 3, 1.0, 6.0)
    cases = [_case(task, 300, seed) for seed in range(40)]
    scores = [task.score(*case, weights=weights) for case in cases]
    inside = [
        low <= np.mean(scores) <= high for low, high in (score_interval(task, *c, weights=weights) for c in cases)
    ]
    assert np.mean(inside) > 0.8


def test_few_heavy_examples_make_a_wide_interval() -> None:
    truth, predictions = _case(THREE)
    weights = np.where(np.arange(80) < 8, 100.0, 1.0)
    heavy = Score.of(THREE, truth, predictions, weights=weights)
    assert heavy.effective_examples == pytest.approx(effective_count(80, weights))
    assert effective_count(80, weights) == pytest.approx(9.5, abs=0.2)
    assert heavy.ci95[1] - heavy.ci95[0] > 2 * np.subtract(*Score.of(THREE, truth, predictions).ci95[::-1])
    assert heavy.accuracy == pytest.approx(heavy.score)
    assert "80 examples, which count as 9.5 equal ones" in str(heavy)
    assert heavy.to_json()["effective_examples"] == heavy.effective_examples


def test_temperature_suits_the_heavy_examples() -> None:
    truth, predictions = _case(THREE, 300)
    right = predictions.argmax(1) == truth
    cold, hot = (fit_temperature(THREE, truth, predictions, np.where(right == of, 9.0, 1.0)) for of in (True, False))
    assert cold < fit_temperature(THREE, truth, predictions) < hot


def test_balanced_class_weights_count_weights() -> None:
    encoded, weights = np.array([0, 0, 0, 1]), np.array([1.0, 0.5, 0.5, 2.0])
    np.testing.assert_allclose(BINARY.class_weights(encoded, weights), [1.0, 1.0])
    np.testing.assert_allclose(BINARY.class_weights(encoded), [4 / 6, 2.0])
    several = np.array([[1, 0], [1, 1]], dtype=np.float32)
    np.testing.assert_allclose(LABELS.class_weights(several, np.array([1.0, 3.0])), [7 / 8, 7 / 6])
