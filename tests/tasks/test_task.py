"""The task: what is inferred from targets, how they become arrays and back, and how they are scored."""

from __future__ import annotations

import json
import math
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotransfer.errors import ConfigError, DataError, UnknownNameError
from autotransfer.tasks.score import score_interval
from autotransfer.tasks.task import Kind, Task, infer_task


def kind_of(targets: Any) -> tuple[str, int]:
    task = infer_task(targets)
    return task.kind, task.outputs


@pytest.mark.parametrize(
    ("targets", "kind", "outputs"),
    [
        (["cat", "dog", "cat"], "binary", 2),
        (np.array(["cat", "dog", "cow"]), "multiclass", 3),
        ([0, 1, 1], "binary", 2),
        ([True, False], "binary", 2),
        (np.array([0, 1, 2]), "multiclass", 3),
        ([0.0, 1.0, 2.0], "multiclass", 3),  # whole floats are what a table with gaps makes of integers
        ([0.5, 1.0, 2.0], "regression", 1),
        (np.array([0.5, 1.5], dtype=np.float32), "regression", 1),
        (np.array([[0], [1], [2]]), "multiclass", 3),  # a column, as scikit-learn takes it
        (np.array([[0.5], [1.5]]), "regression", 1),
        ([["a", "b"], ["b"], []], "multilabel", 2),
        ([{"a", "b"}, {"b"}], "multilabel", 2),
        ([("a",), ("b", "c")], "multilabel", 3),
        ([[3, 5], [5], [7, 3]], "multilabel", 3),
        ([[3, 5], [5, 7]], "multilabel", 3),
        ([[0], [1]], "multilabel", 2),  # a matrix has two columns at least
        (np.array([[0, 1, 1], [1, 0, 0]]), "multilabel", 3),
        (np.array([[0.0, 1.0], [1.0, 0.0]]), "multilabel", 2),
        ([[True, False], [False, True]], "multilabel", 2),
        # Rows of numbers with a fraction anywhere are several targets, whatever else they hold.
        (np.array([[0.0, 1.0, 2.5], [1.0, 0.0, 0.0]]), "regression", 3),
        (np.array([[0.0, 3.0], [1.0, 2.0]]), "regression", 2),
        ([[0.0, 1.0], [0.5, 0.0]], "regression", 2),
        ([[1, 2.5], [0, 3]], "regression", 2),
        ([(0.1, 0.2), (0.3, 1.0)], "regression", 2),
    ],
)
def test_the_kind_is_inferred(targets: Any, kind: str, outputs: int) -> None:
    assert kind_of(targets) == (kind, outputs)


@pytest.mark.parametrize(
    ("targets", "kind", "expected"),
    [
        ([0, 1, 2, 3], "regression", Task(kind="regression", metric="r2")),
        ([[0, 1], [1, 0]], "regression", Task(kind="regression", metric="r2", width=2)),
        ([0.5, 1.5, 0.5], "multiclass", Task(kind="binary", classes=(0.5, 1.5))),
        ([0, 1, 0], "multiclass", Task(kind="binary", classes=(0, 1))),
        ([["0.5"], ["1.5", "0.5"]], "multilabel", Task(kind="multilabel", classes=("0.5", "1.5"), metric="f1_macro")),
    ],
)
def test_the_user_overrules_what_is_inferred(targets: Any, kind: Kind, expected: Task) -> None:
    assert infer_task(targets, kind) == expected


@pytest.mark.parametrize(
    ("targets", "kind", "message"),
    [
        ([], None, "no targets"),
        (["a", None], None, "1 of 2 targets are missing .* position 1"),
        ([1.5, math.nan], None, "missing or not finite"),
        ([1.5, math.inf], None, "missing or not finite"),
        ([["a"], ["b", None]], None, "missing or not finite"),
        (["a", "a"], None, r"Only one class is there \('a'\)"),
        (["a", 1], None, "mix text and numbers"),
        (["a", "b", "c"], "binary", "two classes; the targets hold 3"),
        (["a", "b"], "regression", "needs numbers"),
        ([[1.0], [1.0, 2.0]], "regression", "needs numbers"),
        ([["a"], "b"], None, "lists of labels or rows of 0 and 1; got 'b'"),
        (["b", ["a"]], None, "got 'b'"),
        (["a", "b"], "multilabel", "lists of labels"),
        ([["a"], ["b"]], "multiclass", "one label for each example"),
        ([[["a"]], [["b"]]], None, "nest deeper"),
        (np.zeros((2, 2, 2)), None, "nest deeper"),
        (np.zeros((2, 0)), "regression", "no numbers"),
        ([[], []], None, "Only one class"),
        ([{"a": 1}, {"b": 1}], None, "Labels are text or numbers; got .* a dict"),
        ([date(2020, 1, 1), date(2020, 1, 2)], None, "a date"),  # could not be written into a model
        ([b"a", b"b"], None, "a bytes"),
        ([[{}], ["a"]], None, "Labels are text or numbers"),
    ],
)
def test_targets_that_do_not_do_are_refused_in_words(targets: Any, kind: Kind | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        infer_task(targets, kind)


def test_unknown_kinds_and_metrics_are_named_with_the_right_ones() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean regression"):
        infer_task([0, 1], "regresion")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match=r"Did you mean .*roc_auc"):
        infer_task([0, 1], metric="rocauc")


@pytest.mark.parametrize(
    ("targets", "metric"), [([0, 1, 2], "roc_auc"), ([[0, 1], [1, 0]], "matthews_corrcoef"), ([0.5, 1.5], "accuracy")]
)
def test_unsuitable_metric_is_refused_before_training(targets: Any, metric: str) -> None:
    with pytest.raises(ConfigError, match=metric):
        infer_task(targets, metric=metric)


@pytest.mark.parametrize(
    ("targets", "metric"),
    [
        (["a"] * 3 + ["b"], "accuracy"),
        (["a"] * 4 + ["b"], "balanced_accuracy"),  # accuracy hides the small class
        ([["a"], ["b"]], "f1_macro"),
        ([0.5, 1.5], "r2"),
    ],
)
def test_the_metric_follows_the_targets(targets: Any, metric: str) -> None:
    assert infer_task(targets).metric == metric


@pytest.mark.parametrize(
    ("targets", "encoded"),
    [
        (["b", "a", "b"], [1, 0, 1]),
        (np.array([[7], [3], [7]]), [1, 0, 1]),
        ([["b"], ["a", "b"], []], [[0, 1], [1, 1], [0, 0]]),
        ([[0, 1], [1, 0]], [[0, 1], [1, 0]]),
        # Lists of the labels 0 and 1: the second one is no row of 0 and 1, since the first is none.
        ([[0], [0, 1], [1]], [[1, 0], [1, 1], [0, 1]]),
        ([0.5, 1.0], [[0.5], [1.0]]),
        ([[0.5, 1.0], [2.0, 3.0]], [[0.5, 1.0], [2.0, 3.0]]),
    ],
)
def test_targets_become_arrays(targets: Any, encoded: Any) -> None:
    result = infer_task(targets).encode(targets)
    np.testing.assert_array_equal(result, encoded)
    kind = infer_task(targets).kind
    assert result.dtype == {"multilabel": np.float32, "regression": np.float64}.get(kind, np.int64)


@pytest.mark.parametrize(
    ("task", "targets", "message"),
    [
        (Task(kind="binary", classes=("a", "b")), ["a", "c"], r"Unknown label 'c'; the classes are \['a', 'b'\]"),
        (Task(kind="binary", classes=("a", "b")), [["a"]], "Unknown label"),
        (Task(kind="multilabel", classes=("a", "b")), [["a", "c"]], "Unknown label 'c'"),
        (Task(kind="multilabel", classes=("a", "b")), ["a"], "lists of labels"),
        (Task(kind="regression", width=2), [1.0, 2.0, 3.0], "not 2 number"),
        (Task(kind="regression"), ["x"], "not 1 number"),
        (Task(kind="regression"), [[1.0], [1.0, 2.0]], "not 1 number"),
        (Task(kind="regression"), [1.0, math.nan], "position 1 is not finite"),
        (Task(kind="regression"), [1e300], r"position 0 is beyond 1e\+150"),
    ],
)
def test_other_targets_than_those_of_the_task_are_refused(task: Task, targets: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        task.encode(targets)


# NumPy's text arrays, which predictions are, drop NUL characters at the end.
_WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3)


@given(st.lists(st.one_of(_WORDS, st.sampled_from(["a", "b"])), min_size=2).filter(lambda t: len({*t}) > 1))
def test_predicting_the_encoded_labels_returns_them(targets: list[str]) -> None:
    task = infer_task(targets)
    predictions = np.eye(task.outputs, dtype=np.float32)[task.encode(targets)]
    assert task.predict(predictions).tolist() == targets


@given(st.lists(st.sets(st.sampled_from("abcd")), min_size=1).filter(lambda t: len(set().union(*t)) > 1))
def test_predicting_the_encoded_label_sets_returns_them(targets: list[set[str]]) -> None:
    task = infer_task(targets)
    assert [set(labels) for labels in task.predict(task.encode(targets))] == targets


def test_predictions_keep_the_type_of_the_labels() -> None:
    def predicted(classes: tuple[Any, ...]) -> np.ndarray:
        kind: Kind = "binary" if len(classes) == 2 else "multiclass"
        return Task(kind=kind, classes=classes).predict(np.eye(len(classes)))

    assert predicted((3, 7)).dtype.kind == "i"
    assert predicted(("a", "bb")).dtype.kind == "U"
    assert predicted((False, True)).dtype.kind == "b"
    assert predicted((0, 0.5, True)).dtype == object
    one, two = Task(kind="regression"), Task(kind="regression", width=2)
    assert one.predict(np.ones((3, 1), np.float32)).shape == (3,)
    assert two.predict(np.ones((3, 2), np.float32)).shape == (3, 2)


def test_a_task_survives_json() -> None:
    for targets in (["a", "b"], np.array([3, 7, 9]), [["a"], ["b"]], [0.5, 1.5], np.arange(6).reshape(2, 3) * 0.5):
        task = infer_task(targets)
        assert Task.from_json(json.loads(json.dumps(task.to_json()))) == task


def test_labels_of_pandas_and_numpy_are_plain_afterwards() -> None:
    series = pd.Series(["x", "y", "x"], dtype="category")
    assert [type(label) for label in infer_task(series.tolist()).classes] == [str, str]
    assert [type(label) for label in infer_task(np.array([1, 2], dtype=np.int8)).classes] == [int, int]


def test_class_weights_undo_imbalance() -> None:
    task = Task(kind="multiclass", classes=("a", "b", "c"))
    encoded = np.array([0] * 6 + [1] * 2)
    weights = task.class_weights(encoded)
    assert weights[0] * 6 == pytest.approx(weights[1] * 2)
    assert np.isfinite(weights).all(), "a class without examples has a weight all the same"
    both = Task(kind="binary", classes=("a", "b"))
    assert both.class_weights(encoded)[encoded].mean() == pytest.approx(1.0)


def test_listed_class_weights_follow_the_classes() -> None:
    task = Task(kind="multiclass", classes=("a", "b", "c"))
    assert task.class_weights_from({"c": 5.0, "a": 0.5}).tolist() == [0.5, 1.0, 5.0]
    with pytest.raises(ConfigError, match=r"'d', which is no class; the classes are \['a', 'b', 'c'\]"):
        task.class_weights_from({"d": 2.0})


def test_scores_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import balanced_accuracy_score, f1_score, r2_score, roc_auc_score

    rng = np.random.default_rng(0)
    truth, predictions = rng.integers(0, 2, 50), rng.dirichlet([1, 1], 50)
    binary = Task(kind="binary", classes=("a", "b"), metric="roc_auc")
    assert binary.score(truth, predictions) == pytest.approx(roc_auc_score(truth, predictions[:, 1]))
    expected = balanced_accuracy_score(truth, predictions.argmax(1))
    assert binary.score(truth, predictions, "balanced_accuracy") == pytest.approx(expected)
    several = Task(kind="multilabel", classes=("a", "b"), metric="f1_macro")
    labels, chances = rng.integers(0, 2, (50, 2)).astype(np.float32), rng.random((50, 2))
    assert several.score(labels, chances) == pytest.approx(f1_score(labels, chances > 0.5, average="macro"))
    assert several.score(labels, chances, "roc_auc") == pytest.approx(roc_auc_score(labels, chances))
    values = rng.random((50, 2)).astype(np.float32)
    assert Task(kind="regression", width=2).score(values, chances, "r2") == pytest.approx(r2_score(values, chances))


def test_a_metric_that_is_not_defined_is_nan_and_no_warning() -> None:
    task = Task(kind="binary", classes=("a", "b"), metric="roc_auc")
    assert math.isnan(task.score(np.zeros(4, dtype=np.int64), np.full((4, 2), 0.5)))


def test_a_class_that_is_not_there_is_no_warning() -> None:
    task = Task(kind="multiclass", classes=("a", "b", "c"), metric="balanced_accuracy")
    assert task.score(np.array([0, 1, 1]), np.eye(3)) == pytest.approx(0.75)


def test_the_interval_of_accuracy_is_wilsons() -> None:
    # 8 of 10, from Wilson's formula: 0.4902 to 0.9433.
    encoded = np.zeros(10, dtype=np.int64)
    predictions = np.eye(2)[[0] * 8 + [1] * 2]
    task = Task(kind="binary", classes=("a", "b"))
    assert score_interval(task, encoded, predictions) == pytest.approx((0.4902, 0.9433), abs=1e-3)
    low, high = score_interval(task, encoded, np.eye(2)[[0] * 10])
    assert (round(low, 2), high) == (0.72, 1.0)


def test_bootstrap_interval_holds_the_score_and_is_repeatable() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((60, 1)).astype(np.float32)
    predictions = truth + rng.normal(0, 0.1, truth.shape).astype(np.float32)
    task = Task(kind="regression", metric="r2")
    low, high = score_interval(task, truth, predictions)
    assert low < task.score(truth, predictions) < high
    assert (low, high) == score_interval(task, truth, predictions)


def test_an_interval_that_cannot_be_had_is_nan() -> None:
    task = Task(kind="regression", metric="r2")
    assert all(map(math.isnan, score_interval(task, np.ones((1, 1), np.float32), np.ones((1, 1), np.float32))))


def test_log_loss_rewards_confidence_in_the_truth() -> None:
    task, truth = Task(kind="binary", classes=("a", "b")), np.array([0, 1])
    assert task.log_loss(truth, np.full((2, 2), 0.5)) == pytest.approx(math.log(2))
    assert task.log_loss(truth, np.eye(2)) < 1e-6
    assert math.isfinite(task.log_loss(truth, 1 - np.eye(2)))
    several = Task(kind="multilabel", classes=("a", "b"))
    assert several.log_loss(np.eye(2), np.full((2, 2), 0.5)) == pytest.approx(math.log(2))
