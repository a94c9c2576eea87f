"""Scores by class, against counts by hand."""

from __future__ import annotations

import numpy as np

from autotransfer.analysis.class_scores import score_classes
from autotransfer.tasks.task import Task


def test_classes_have_precision_recall_and_f1() -> None:
    task = Task(kind="multiclass", classes=("a", "b", "c"))
    outputs = np.eye(3)[[0, 0, 1, 0]]
    a, b, c = score_classes(task, np.array([0, 0, 1, 1]), outputs)
    assert (a.label, a.precision, a.recall, a.f1, a.examples) == ("a", 2 / 3, 1.0, 0.8, 2)
    assert (b.precision, b.recall, b.examples) == (1.0, 0.5, 2)
    assert (c.precision, c.recall, c.f1, c.examples) == (0.0, 0.0, 0.0, 0)


def test_labels_of_one_example_count_each_by_itself() -> None:
    task = Task(kind="multilabel", classes=("x", "y"))
    truth, outputs = (
        np.array([[1, 0], [1, 1], [0, 0]], dtype=np.float32),
        np.array([[0.9, 0.6], [0.4, 0.7], [0.1, 0.2]]),
    )
    x, y = score_classes(task, truth, outputs)
    assert (x.precision, x.recall, x.examples) == (1.0, 0.5, 2)
    assert (y.precision, y.recall, y.examples) == (0.5, 1.0, 1)


def test_a_single_label_is_no_pair_of_classes() -> None:
    task = Task(kind="multilabel", classes=("x",))
    (x,) = score_classes(task, np.array([[1], [0], [0]], dtype=np.float32), np.array([[0.9], [0.8], [0.1]]))
    assert (x.label, x.precision, x.recall, x.examples) == ("x", 0.5, 1.0, 1)


def test_values_have_no_classes() -> None:
    assert score_classes(Task(kind="regression", metric="r2"), np.zeros((3, 1)), np.zeros((3, 1))) == ()
