"""Targets and predictions of single examples, and what is shown of each."""

from __future__ import annotations

import json

import numpy as np
from fixtures.shown import make_shown

from autotransfer.analysis.example_values import predicted_values, target_name, true_values
from autotransfer.tasks.task import Task


def test_values_are_those_of_the_task() -> None:
    one = Task(kind="multiclass", classes=(3, 5, 9))
    assert true_values(one, np.array([0, 2])) == [3, 9]
    assert predicted_values(one, np.array([[0.1, 0.8, 0.1]])) == [5]
    several = Task(kind="multilabel", classes=("a", "b"))
    assert true_values(several, np.array([[1, 1], [0, 0]], np.float32)) == [["a", "b"], []]
    numbers = Task(kind="regression", width=2, target_names=("x", "y"))
    assert true_values(numbers, np.array([[1.5, 2.0]])) == [[1.5, 2.0]]
    json.dumps([true_values(one, np.array([1])), predicted_values(numbers, np.ones((2, 2)))])


def test_outputs_have_names() -> None:
    assert target_name(Task(kind="multilabel", classes=("a", "b")), 1) == "b"
    assert target_name(Task(kind="regression"), 0) is None
    assert target_name(Task(kind="regression", width=2), 1) == "1"
    assert target_name(Task(kind="regression", width=2, target_names=("x", "y")), 1) == "y"


def test_examples_are_named_by_their_place_in_the_data() -> None:
    shown = make_shown(["first", "unreadable", "third"], kept=[0, 2])
    assert [shown.name(row) for row in (0, 1)] == ["0.txt", "2.txt"]
    preview = shown.preview(1)
    assert preview is not None
    assert preview.text == "third"


def test_nothing_is_shown_of_a_file_that_is_gone() -> None:
    assert make_shown([None]).preview(0) is None


def test_nothing_is_shown_when_the_time_has_run_out() -> None:
    assert make_shown(["first"], expired=True).preview(0) is None
