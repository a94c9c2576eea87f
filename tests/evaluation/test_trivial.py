"""The trivial predictor: what can be scored without looking at an example."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from autotransfer.data.folds import Fold
from autotransfer.evaluation.trivial import trivial_score
from autotransfer.search.levels import Levels
from autotransfer.tasks.task import Task

CLASSES = ("a", "b", "c")


def _fold(task: Task, targets: Any, validation: int = 4, **more: Any) -> Fold:
    """Return a fold whose last examples score."""
    encoded = np.asarray(targets)
    rows = np.arange(len(encoded))
    return Fold(task=task, targets=encoded, train_rows=rows[:-validation], validation_rows=rows[-validation:], **more)


def test_the_trivial_accuracy_is_that_of_the_commonest_class() -> None:
    task = Task(kind="multiclass", metric="accuracy", classes=CLASSES)
    assert trivial_score(_fold(task, [0, 0, 0, 1, 2, 0, 0, 0, 1])) == pytest.approx(0.75)


def test_the_training_examples_alone_say_which_class_is_common() -> None:
    task = Task(kind="multiclass", metric="accuracy", classes=CLASSES)
    assert trivial_score(_fold(task, [1, 1, 1, 0, 0, 0, 0, 1])) == pytest.approx(0.25)


def test_the_trivial_log_loss_is_the_entropy_of_the_classes() -> None:
    task = Task(kind="multiclass", metric="neg_log_loss", classes=CLASSES)
    assert trivial_score(_fold(task, [0, 1, 2, 0, 1, 2], 3)) == pytest.approx(-math.log(3), rel=1e-3)


def test_the_trivial_r2_and_error_are_those_of_the_mean() -> None:
    targets = np.array([[1.0], [3.0], [1.0], [3.0], [0.0], [4.0]])
    assert trivial_score(_fold(Task(kind="regression", metric="r2"), targets)) == pytest.approx(0.0)
    errors = Task(kind="regression", metric="neg_root_mean_squared_error")
    scores = [trivial_score(_fold(errors, unit * targets)) for unit in (1.0, 1000.0)]
    assert scores[1] == pytest.approx(1000.0 * scores[0], rel=1e-5)
    level = Levels(perfect=errors.perfect_score, trivial=scores[1])(0.5 * scores[1])
    assert level == pytest.approx(Levels()(0.5)), "half of the error of the mean"


def test_labels_of_which_none_is_common_are_scored() -> None:
    task = Task(kind="multilabel", metric="f1_macro", classes=CLASSES)
    labels = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float32)
    assert 0.0 <= trivial_score(_fold(task, labels, 3)) < 1.0


def test_weights_of_examples_count() -> None:
    task = Task(kind="multiclass", metric="accuracy", classes=CLASSES)
    weights = np.array([1.0, 1.0, 1.0, 9.0, 1.0])
    assert trivial_score(_fold(task, [0, 0, 1, 0, 1], 2, weights=weights)) == pytest.approx(0.9)


def _refuses(targets: Any, predictions: Any, **more: Any) -> float:
    if len(np.unique(predictions, axis=0)) == 1:
        raise ValueError("all predictions are equal")
    return 1.0


def _unbounded(targets: Any, predictions: Any, **more: Any) -> float:
    return math.nan


@pytest.mark.parametrize("scorer", [_refuses, _unbounded, lambda targets, predictions, **more: 1.0])
def test_a_metric_without_a_trivial_score_has_one_below_perfect(scorer: Any) -> None:
    task = Task(kind="multiclass", metric="mine", classes=CLASSES, scorer=scorer)
    found = trivial_score(_fold(task, [0, 1, 2, 0, 1, 2, 0]))
    assert found == task.perfect_score - 1.0
