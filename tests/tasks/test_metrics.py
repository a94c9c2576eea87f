"""Metrics: names, scorers that are objects, the positive class, and classes that are missing."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    cohen_kappa_score,
    confusion_matrix,
    f1_score,
    fbeta_score,
    get_scorer,
    get_scorer_names,
    log_loss,
    make_scorer,
    mean_absolute_error,
    precision_score,
    recall_score,
    zero_one_loss,
)

from autotransfer.errors import ConfigError, UnknownNameError
from autotransfer.tasks.metrics import find_metric
from autotransfer.tasks.task import Task, infer_task

NAMES = ["defect"] * 20 + ["ok"] * 80


def outcome() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return encoded targets, probabilities and predicted labels of a mediocre classifier."""
    encoded = np.repeat([0, 1], [20, 80])
    chances = np.clip(0.2 + 0.6 * encoded + np.random.default_rng(0).normal(0, 0.3, 100), 0.01, 0.99)
    outputs = np.stack([1 - chances, chances], axis=1)
    return encoded, outputs, np.array(["defect", "ok"])[outputs.argmax(1)]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("mae", "neg_mean_absolute_error"),
        ("rmse", "neg_root_mean_squared_error"),
        ("RMSE", "neg_root_mean_squared_error"),
        ("mcc", "matthews_corrcoef"),
        ("auc", "roc_auc"),
        ("acc", "accuracy"),
        ("F1-score", "f1"),
        ("log loss", "neg_log_loss"),
        ("mean_squared_error", "neg_mean_squared_error"),
        ("r^2", "r2"),
        ("kappa", r"make_scorer\(cohen_kappa_score\)"),
        ("qwk", r"make_scorer\(cohen_kappa_score, weights=\"quadratic\"\)"),
    ],
)
def test_what_was_meant_is_suggested(name: str, meant: str) -> None:
    with pytest.raises(
        UnknownNameError, match=rf"No metric matches '.*'\. (Did you mean|From Python, metric=) ?{meant}"
    ):
        find_metric(name)


def test_all_suggested_scorers_exist() -> None:
    from autotransfer.tasks.metric_names import ALIASES

    assert set(ALIASES.values()) <= set(get_scorer_names())


@pytest.mark.parametrize("metric", ["f1", "recall", "precision", "jaccard"])
def test_a_metric_of_two_classes_names_those_for_several(metric: str) -> None:
    with pytest.raises(ConfigError, match=rf"for several classes take {metric}_macro, {metric}_weighted or"):
        infer_task(["a", "b", "c"], metric=metric)
    with pytest.raises(ConfigError, match=rf"for several labels take .*{metric}_samples"):
        infer_task([["a"], ["b"], ["a", "b"]], metric=metric)


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        (get_scorer("recall"), "recall"),
        (f1_score, "f1"),
        (log_loss, "neg_log_loss"),
        (mean_absolute_error, "neg_mean_absolute_error"),
        (make_scorer(f1_score, average="macro"), "f1_macro"),
    ],
)
def test_a_scorer_that_a_name_says_is_known_by_it(metric: Any, name: str) -> None:
    assert find_metric(metric) == (name, None)


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        (make_scorer(fbeta_score, beta=2), "fbeta_score(beta=2)"),
        (cohen_kappa_score, "cohen_kappa_score"),
        (zero_one_loss, "neg_zero_one_loss"),  # less is better, as its name says
        (make_scorer(precision_score, pos_label="ok"), "precision_score(pos_label='ok')"),
    ],
)
def test_another_scorer_has_the_name_of_its_function(metric: Any, name: str) -> None:
    found, scorer = find_metric(metric)
    assert found == name
    assert scorer is not None


def test_a_scorer_named_like_another_one_is_not_taken_for_it() -> None:
    def accuracy(estimator: Any, images: Any, targets: Any) -> float:
        return 0.25

    assert find_metric(accuracy)[0] == "custom accuracy"
    assert infer_task(NAMES, metric=accuracy).score(*outcome()[:2]) == 0.25


def test_what_is_no_metric_is_refused_in_words() -> None:
    def share(truth: Any, predicted: Any) -> float:
        return 1.0

    with pytest.raises(ConfigError, match=r"make_scorer\(share, greater_is_better=\.\.\.\)"):
        infer_task(NAMES, metric=share)
    with pytest.raises(ConfigError, match="a metric returns one number"):
        infer_task(NAMES, metric=make_scorer(confusion_matrix))
    with pytest.raises(ConfigError, match="name of a scikit-learn scorer, or a scorer; got 3"):
        infer_task(NAMES, metric=3)
    with pytest.raises(ConfigError, match="it scores values"):
        infer_task(NAMES, metric=make_scorer(mean_absolute_error, greater_is_better=False, response_method="predict"))


def test_a_scorer_sees_labels_as_they_were_given() -> None:
    seen: list[Any] = []

    def look(estimator: Any, outputs: Any, truth: Any) -> float:
        seen.extend([set(truth), set(estimator.predict(outputs)), list(estimator.classes_)])
        return 1.0

    infer_task(NAMES, metric=look).score(*outcome()[:2])
    assert seen[-3:] == [{"defect", "ok"}, {"defect", "ok"}, ["defect", "ok"]]


@pytest.mark.parametrize("positive", ["defect", "ok"])
def test_scores_are_of_the_positive_class(positive: str) -> None:
    encoded, outputs, predicted = outcome()

    def of(metric: Any) -> float:
        return infer_task(NAMES, metric=metric, positive_class=positive).score(encoded, outputs)

    assert of("recall") == recall_score(NAMES, predicted, pos_label=positive)
    assert of("precision") == precision_score(NAMES, predicted, pos_label=positive)
    expected = average_precision_score(NAMES, outputs[:, ["defect", "ok"].index(positive)], pos_label=positive)
    assert of("average_precision") == pytest.approx(expected)
    assert of(make_scorer(fbeta_score, beta=2)) == fbeta_score(NAMES, predicted, beta=2, pos_label=positive)
    assert of("roc_auc") == pytest.approx(infer_task(NAMES, metric="roc_auc").score(encoded, outputs))


@pytest.mark.parametrize(
    ("targets", "metric", "positive"),
    [
        (NAMES, "recall", "defect"),
        (["defect"] * 80 + ["ok"] * 20, "recall", "ok"),
        ([0] * 20 + [1] * 80, "f1", 0),
        ([True] * 20 + [False] * 80, "average_precision", True),
        (["a", "b"] * 10, "recall", "b"),  # as frequent as each other: as scikit-learn has it
        (NAMES, "accuracy", None),
        (NAMES, "roc_auc", None),
        (NAMES, "f1_macro", None),
        (NAMES, "balanced_accuracy", None),
        (NAMES, make_scorer(fbeta_score, beta=2), "defect"),
        (NAMES, make_scorer(recall_score, pos_label="ok"), "ok"),
    ],
)
def test_the_rarer_class_is_positive_where_the_metric_asks(targets: Any, metric: Any, positive: Any) -> None:
    task = infer_task(targets, metric=metric)
    assert task.positive_class == positive
    assert task.uses_positive_class == (positive is not None)
    assert task.metric_label == (task.metric if positive is None else f"{task.metric} of {positive!r}")
    assert Task.from_json(task.to_json()) == task


def test_a_positive_class_is_one_of_two() -> None:
    assert infer_task([0, 1, 1], metric="recall", positive_class="1").positive_class == 1  # as a command line says it
    even = infer_task(["ok", "defect"], positive_class="ok")
    assert (even.positive_class, even.metric_label) == ("ok", "accuracy"), "accuracy is of both"
    with pytest.raises(ConfigError, match=r"'bad' is no class; the classes are \['defect', 'ok'\]"):
        infer_task(NAMES, positive_class="bad")
    with pytest.raises(ConfigError, match="one of two classes, and this is a multiclass task"):
        infer_task(["a", "b", "c"], positive_class="a")
    with pytest.raises(ConfigError, match="takes 'ok' for the positive class; positive_class says 'defect'"):
        infer_task(NAMES, metric=make_scorer(recall_score, pos_label="ok"), positive_class="defect")


@pytest.mark.parametrize("metric", ["neg_log_loss", "neg_brier_score", "top_k_accuracy"])
def test_probability_metric_gets_classes_that_examples_lack(metric: str) -> None:
    task = infer_task(["a", "b", "c"] * 3, metric=metric)
    some, outputs = np.array([0, 1, 1, 0]), np.random.default_rng(0).dirichlet([1, 1, 1], 4)
    assert math.isfinite(task.score(some, outputs))
    expected = log_loss(some, outputs, labels=[0, 1, 2])
    assert metric != "neg_log_loss" or task.score(some, outputs) == pytest.approx(-expected)


def test_perfect_score_is_the_score_of_perfect_predictions() -> None:
    assert infer_task(NAMES, metric=make_scorer(cohen_kappa_score)).perfect_score == 1.0
    assert infer_task(NAMES, metric=make_scorer(zero_one_loss, greater_is_better=False)).perfect_score == 0.0
    assert infer_task(NAMES, metric=lambda estimator, images, targets: 5.0).perfect_score == 5.0


def test_a_scorer_is_pickled_by_value() -> None:
    factor = 3.0
    task = infer_task(NAMES, metric=lambda estimator, images, targets: factor)
    again = pickle.loads(pickle.dumps(task))
    assert again == task
    assert again.score(*outcome()[:2]) == 3.0


def test_custom_scorer_read_from_json_raises_on_scoring() -> None:
    task = Task.from_json(infer_task(NAMES, metric=make_scorer(fbeta_score, beta=2)).to_json())
    with pytest.raises(ConfigError, match=r"'fbeta_score\(beta=2\)' was given as an object"):
        task.score(*outcome()[:2])
