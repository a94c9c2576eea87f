"""Suspected label errors, in words and as a table."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from fixtures.shown import make_shown

from autotransfer.analysis.label_errors import LabelErrors, find_label_errors, to_csv
from autotransfer.tasks.task import Task

CLASSES = Task(kind="multiclass", classes=("a", "b", "=c"))


def confident(targets: np.ndarray, probability: float = 0.9) -> np.ndarray:
    found = np.full((len(targets), 3), (1 - probability) / 2)
    found[np.arange(len(targets)), targets] = probability
    return found


def found_with_one_flip() -> LabelErrors:
    true = np.arange(30) % 3
    given = true.copy()
    given[4] = 2  # it is a "b"
    return find_label_errors(
        CLASSES, given, confident(true), np.arange(30), make_shown([f"text {i}" for i in range(30)])
    )


def test_the_flipped_label_is_found() -> None:
    found = found_with_one_flip()
    assert (found.estimated, found.examined, len(found.worst)) == (1, 30, 1)
    first = found.worst[0]
    assert (first.row, first.name, first.given, first.suggested, first.suspected) == (4, "4.txt", "=c", "b", True)
    assert (first.probability_given, first.probability_suggested) == pytest.approx((0.05, 0.9))
    assert first.preview is not None
    assert first.preview.text == "text 4"
    json.dumps(found.to_json())


def test_the_table_is_safe_for_spreadsheets() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(found_with_one_flip()))))
    assert rows == [
        {
            "path": "4.txt",
            "given": "'=c",
            "suggested": "b",
            "score": "0.0500",
            "p_given": "0.0500",
            "p_suggested": "0.9000",
            "suspected": "yes",
        }
    ]


def test_what_differs_without_confidence_is_listed_last() -> None:
    true = np.arange(30) % 3
    given, predictions = true.copy(), confident(true)
    given[4] = 2
    predictions[9] = [0.4, 0.45, 0.15]  # labelled "a"
    found = find_label_errors(CLASSES, given, predictions, np.arange(30), make_shown(["x"] * 30))
    assert [(each.row, each.suspected) for each in found.listed] == [(4, True), (9, False)]
    assert found.estimated == 1


def test_several_labels_have_a_column_for_the_suspected_one() -> None:
    task = Task(kind="multilabel", classes=("a", "b"))
    targets = np.tile([[1.0, 0.0], [0.0, 1.0]], (10, 1)).astype(np.float32)
    predictions = np.where(targets > 0, 0.9, 0.1)
    targets[3] = [1, 1]
    found = find_label_errors(task, targets, predictions, np.arange(20), make_shown(["x"] * 20))
    (row,) = csv.DictReader(io.StringIO(to_csv(found)))
    assert (row["label"], row["given"], row["suggested"], row["p_suggested"]) == ("a", "a, b", "b", "0.9000")


@pytest.mark.parametrize(
    "task", [Task(kind="multilabel", classes=("a", "b", "c")), Task(kind="regression", metric="r2", width=3)]
)
def test_each_label_of_an_example_is_examined(task: Task) -> None:
    rng = np.random.default_rng(0)
    true = np.zeros((200, 3)) if task.kind == "regression" else rng.integers(0, 2, (200, 3)).astype(np.float64)
    predictions = np.clip(true, 0.1, 0.9) + rng.normal(0, 0.01, true.shape)
    wrong = np.zeros(true.shape, dtype=bool)
    wrong[:80] = True  # more labels than there are examples
    found = find_label_errors(
        task, np.where(wrong, 1 - true, true), predictions, np.arange(200), make_shown(["x"] * 200)
    )
    assert found.examined == 600
    assert found.estimated == 240


def test_a_regression_suspects_outliers() -> None:
    rng = np.random.default_rng(0)
    predictions = rng.standard_normal((60, 1))
    targets = predictions + 0.1 * rng.standard_normal((60, 1))
    targets[5] = 99.0
    found = find_label_errors(Task(kind="regression"), targets, predictions, np.arange(60), make_shown(["x"] * 60))
    (row,) = csv.DictReader(io.StringIO(to_csv(found)))
    assert (row["path"], float(row["given"]), row["p_given"]) == ("5.txt", 99.0, "")


def test_nothing_to_examine_gives_an_empty_table() -> None:
    none = find_label_errors(CLASSES, np.empty(0, int), np.empty((0, 3)), np.empty(0, int), make_shown([]))
    assert none == LabelErrors()
    assert to_csv(none) == "path,given,suggested,score,p_given,p_suggested,suspected\n"


def test_hostile_names_stay_in_their_cell() -> None:
    found = found_with_one_flip()
    hostile = replace(found.listed[0], name='=HYPERLINK("x")\n,<b>', given="+1\x00", suggested="@x")
    rows = list(csv.reader(io.StringIO(to_csv(replace(found, listed=(hostile,))))))
    assert len(rows) == 2
    assert rows[1][:3] == ['\'=HYPERLINK("x")\n,<b>', "'+1\\x00", "'@x"]
