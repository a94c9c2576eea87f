"""Whether a metric is defined on examples, and what is said of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autotransfer.errors import DataError
from autotransfer.tasks.metrics import Metric
from autotransfer.tasks.preconditions import check_scored, positive_class_warning
from autotransfer.tasks.task import Task, infer_task

THREE = ["a", "b", "c"] * 4
TAGS = [["a"], ["b"], ["a", "b"], ["c"]]


def check(task: Task, targets: Any) -> list[str]:
    return [warning.message for warning in check_scored(task, task.encode(targets), "test")]


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "f1_macro", "neg_log_loss", "roc_auc_ovo"])
def test_classes_that_are_missing_are_named(metric: str) -> None:
    task = infer_task(THREE, metric=metric)
    assert check(task, THREE) == []
    (message,) = check(task, ["a", "b"])
    assert message.startswith("The test examples lack 1 of 3 classes ('c')")


def test_a_metric_that_needs_every_class_is_refused_without_one() -> None:
    with pytest.raises(
        DataError, match=r"roc_auc_ovr is not defined on the test examples: they lack 'c'\. Add examples"
    ):
        check(infer_task(THREE, metric="roc_auc_ovr"), ["a", "b"])


@pytest.mark.parametrize("metric", ["recall", "f1", "jaccard", "average_precision", "roc_auc"])
def test_a_metric_of_positives_is_refused_without_any(metric: str) -> None:
    # scikit-learn sets most of them to 0 then.
    with pytest.raises(DataError, match="they lack 'bad'"):
        check(infer_task(["bad", "good", "good"], metric=metric), ["good", "good"])


def test_missing_labels_lower_the_perfect_score_with_warning() -> None:
    (message,) = check(infer_task(TAGS), [["a"], ["b"]])
    assert "lack 1 of 3 classes ('c')" in message
    assert "Even perfect predictions have a f1_macro of 0.6667" in message


@pytest.mark.parametrize("metric", ["r2", "explained_variance", "d2_absolute_error_score"])
@pytest.mark.parametrize(("values", "why"), [([2.0, 2.0, 2.0], "all equal"), ([2.0], "there is one")])
def test_a_share_of_a_variance_that_is_none_is_refused(metric: str, values: list[float], why: str) -> None:
    with pytest.raises(DataError, match=why):
        check(infer_task([0.5, 1.5], metric=metric), values)


@pytest.mark.parametrize("metric", ["neg_mean_absolute_error", "neg_root_mean_squared_error", "neg_max_error"])
def test_an_error_of_equal_values_is_defined(metric: str) -> None:
    assert check(infer_task([0.5, 1.5], metric=metric), [2.0, 2.0]) == []
    assert check(infer_task([0.5, 1.5], metric=metric), [0.0]) == []


def test_one_of_several_columns_that_is_constant_is_refused() -> None:
    task = infer_task([[0.5, 1.0], [1.5, 2.0]])
    assert check(task, [[0.5, 1.0], [2.5, 3.0]]) == []
    with pytest.raises(DataError, match="r2 is not defined"):
        check(task, [[0.5, 1.0], [2.5, 1.0]])


@pytest.mark.parametrize("scale", [1e40, 1e-40, 1.7e9])
def test_values_of_any_size_can_be_scored(scale: float) -> None:
    values = [scale * factor for factor in (1.0, 1.5, 2.0)]
    for metric in ("r2", "neg_mean_absolute_error"):
        assert check(infer_task(values, "regression", metric), values) == []


def test_positive_class_warning_unless_user_or_metric_sets_it() -> None:
    names = ["bad"] + ["good"] * 3
    task = infer_task(names, metric="recall")
    found = positive_class_warning(task, task.encode(names), None)
    assert found is not None
    assert found.message.startswith("The metric is recall of 'bad', the rarer class (1 of 4 examples)")
    assert found.to_json()["positive_class"] == "bad"
    assert positive_class_warning(task, task.encode(names), "bad") is None
    even = infer_task(["a", "b"], metric="recall")
    found = positive_class_warning(even, even.encode(["a", "b"]), None)
    assert found is not None
    assert "recall of 'b', sorted last of two classes as frequent" in found.message
    plain = infer_task(names)
    assert positive_class_warning(plain, plain.encode(names), None) is None


def test_a_scorer_of_the_users_own_is_asked_itself() -> None:
    task = infer_task(THREE, metric=lambda estimator, images, targets: float(len(targets)))
    assert isinstance(task.scorer, Metric)
    assert len(check(task, ["a", "b"])) == 1
    assert np.isfinite(task.perfect_score)
