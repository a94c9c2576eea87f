"""A fold with weights of examples: training counts them in relation to each other, scores by themselves."""

from __future__ import annotations

import numpy as np
import pytest

from autotransfer.data.folds import Fold
from autotransfer.tasks.task import Task

WEIGHTS = np.array([1.0, 3.0, 2.0, 5.0, 1.0, 4.0])


def test_training_weights_have_a_mean_of_one() -> None:
    fold = Fold(
        task=Task(kind="binary", classes=("a", "b")),
        targets=np.array([0, 0, 1, 1, 0, 1]),
        train_rows=np.array([0, 1, 2]),
        validation_rows=np.array([3, 4, 5]),
        class_weight="balanced",
        weights=WEIGHTS,
    )
    assert fold.train_weights is not None
    assert fold.train_weights.tolist() == [0.5, 1.5, 1.0]
    assert fold.class_weights is not None
    np.testing.assert_allclose(fold.class_weights, [3 / 4, 3 / 2])  # 2 and 1 of the weight
    wrong_in_the_first = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9]])
    assert fold.score(fold.validation_rows, wrong_in_the_first) == pytest.approx(0.5)


@pytest.mark.parametrize(("classes", "key"), [(("0", "1"), 1), ((0, 1), "1"), (("0", "1"), 1.0)])
def test_class_weights_find_a_class_that_is_spelled_otherwise(classes: tuple[object, ...], key: object) -> None:
    rows = np.array([0, 1, 2])
    fold = Fold(
        task=Task(kind="binary", classes=classes),
        targets=np.array([0, 1, 1]),
        train_rows=rows,
        validation_rows=rows,
        class_weight={key: 5.0, "gone": 2.0},
    )
    assert fold.class_weights is not None
    assert fold.class_weights.tolist() == [1.0, 5.0]


def test_targets_are_standardised_by_weight() -> None:
    targets = np.array([[1.0], [2.0], [4.0], [9.0], [9.0], [9.0]])
    rows, counts = np.array([0, 1, 2]), [1, 3, 2]
    task = Task(kind="regression", metric="r2")
    weighted = Fold(task=task, targets=targets, train_rows=rows, validation_rows=rows, weights=WEIGHTS)
    copied = Fold(task=task, targets=targets, train_rows=np.repeat(rows, counts), validation_rows=rows)
    np.testing.assert_allclose(weighted.standardisation(), copied.standardisation())
