"""The worst errors: honest, named, and different ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fixtures.shown import make_shown

from autotransfer.analysis.worst_errors import MAX_WORST_ERRORS, find_worst_errors
from autotransfer.selection.out_of_fold import OutOfFold
from autotransfer.tasks.task import Task

CLASSES = Task(kind="multiclass", classes=("a", "b", "c"))


def held_out(task: Task, targets: np.ndarray, rows: np.ndarray | None = None, groups: object = None) -> OutOfFold:
    rows = np.arange(len(targets)) if rows is None else rows
    group_ids = None if groups is None else np.asarray(groups)
    return OutOfFold(task=task, rows=rows, targets=targets, group_ids=group_ids, parts=(np.arange(len(rows)),))


def test_the_worst_error_comes_first_with_its_name() -> None:
    shown = make_shown(["zero", "one", "two", "three"])
    predictions = np.array([[0.2, 0.7, 0.1], [0.05, 0.05, 0.9], [0.1, 0.1, 0.8]], np.float32)
    found = find_worst_errors(held_out(CLASSES, np.array([0, 1, 2]), np.array([1, 2, 3])), predictions, shown)
    assert [(each.row, each.name, each.true, each.predicted) for each in found] == [
        (2, "2.txt", "b", "c"),
        (1, "1.txt", "a", "b"),
    ]
    assert found[0].probability == pytest.approx(0.9)
    assert found[0].loss == pytest.approx(-np.log(0.05), rel=1e-5)
    assert found[0].preview is not None
    assert found[0].preview.text == "two"
    json.dumps([each.to_json() for each in found])


def test_copies_of_one_example_are_one_error() -> None:
    predictions = np.tile([[0.1, 0.9, 0.0]], (8, 1)) + np.linspace(0, 0.05, 8)[:, None] * [[-1, 1, 0]]
    groups = [0, 0, 0, 0, 0, 0, 1, 2]
    found = find_worst_errors(
        held_out(CLASSES, np.zeros(8, int), groups=groups), predictions, make_shown(list("abcdefgh"))
    )
    assert [each.row for each in found] == [7, 6, 5]


def test_no_pair_of_labels_fills_the_list() -> None:
    targets = np.repeat([0, 1, 2], [30, 3, 3])
    predictions = np.repeat([[0.01, 0.99, 0.0], [0.0, 0.1, 0.9], [0.8, 0.0, 0.2]], [30, 3, 3], 0)
    shown = make_shown(["x"] * 36)
    found = find_worst_errors(held_out(CLASSES, targets), predictions, shown)
    assert len(found) == MAX_WORST_ERRORS
    assert {each.true for each in found} == {"a", "b", "c"}
    assert [each.loss for each in found] == sorted((each.loss for each in found), reverse=True)
    alone = find_worst_errors(held_out(CLASSES, targets[:30]), predictions[:30], shown)
    assert len(alone) == MAX_WORST_ERRORS


def test_right_predictions_are_no_errors() -> None:
    predictions = np.array([[0.4, 0.3, 0.3]], np.float32)
    assert find_worst_errors(held_out(CLASSES, np.array([0])), predictions, make_shown(["x"])) == ()


def test_of_several_labels_the_wrong_one_is_named() -> None:
    task = Task(kind="multilabel", classes=("a", "b"))
    predictions = np.array([[0.9, 0.95], [0.2, 0.1]], np.float32)
    targets = np.array([[1, 0], [1, 0]], np.float32)
    found = find_worst_errors(held_out(task, targets), predictions, make_shown(["x", "y"]))
    assert [(each.row, each.label, each.true, each.predicted) for each in found] == [
        (0, "b", ["a"], ["a", "b"]),
        (1, "a", ["a"], []),
    ]
    assert [each.probability for each in found] == pytest.approx([0.95, 0.8])


def test_residuals_count_in_standard_deviations() -> None:
    task = Task(kind="regression", width=2, target_names=("metres", "grams"))
    targets = np.array([[0.0, 0.0], [1.0, 1000.0], [2.0, 2000.0]])
    predictions = targets + np.array([[2.0, 0.0], [0.0, 500.0], [0.0, 0.0]])
    found = find_worst_errors(held_out(task, targets), predictions, make_shown(["x", "y", "z"]))
    assert [(each.row, each.label) for each in found] == [(0, "metres"), (1, "grams")]
    assert found[0].loss == pytest.approx(2 / targets[:, 0].std())
    assert found[0].probability is None


def test_errors_are_those_by_the_thresholds_of_the_model() -> None:
    task = Task(kind="binary", classes=("no", "yes"), thresholds=(0.8, 0.2))
    predictions = np.array([[0.7, 0.3], [0.6, 0.4]], np.float32)
    decided = np.array([[0.4, 0.6], [0.3, 0.7]], np.float32)  # both are a yes
    found = find_worst_errors(held_out(task, np.array([0, 1])), predictions, make_shown(["x", "y"]), decided)
    assert [(each.row, each.true, each.predicted) for each in found] == [(0, "no", "yes")]
    assert found[0].probability == pytest.approx(0.3)
    assert found[0].loss == pytest.approx(-np.log(0.7), rel=1e-5)
