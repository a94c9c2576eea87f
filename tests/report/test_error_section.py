"""The numbers of the part on errors are those that a count by hand gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from autotransfer.report.error_section import confused_pairs, error_section
from autotransfer.report.page import Chart, Section, Table
from autotransfer.selection.calibration import Calibration
from autotransfer.tasks.bootstrap import effective_count
from autotransfer.tasks.score import wilson_interval
from autotransfer.tasks.task import Task

ABC = Task(kind="multiclass", classes=("a", "b", "c"))
TRUE = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
GUESSED = np.array([0, 0, 1, 1, 1, 1, 2, 2, 2, 0])


def section(task: Task, encoded: np.ndarray, predictions: np.ndarray, **more: Any) -> Section:
    return error_section(task, encoded, predictions, None, "image", **more)


def charts(found: Section) -> dict[str, Any]:
    return {block.chart: block.data for block in found.blocks if isinstance(block, Chart)}


def tables(found: Section) -> list[Table]:
    return [block for block in found.blocks if isinstance(block, Table)]


def test_the_confusion_matrix_counts_every_example() -> None:
    data = charts(section(ABC, TRUE, np.eye(3)[GUESSED]))["confusion"]
    assert data["classes"] == ["a", "b", "c"]
    assert data["cells"] == [(0, 0, 2), (0, 1, 2), (1, 1, 2), (1, 2, 1), (2, 0, 1), (2, 2, 2)]


def test_the_pairs_that_are_confused_most_come_first() -> None:
    pairs = confused_pairs(ABC, TRUE, np.eye(3)[GUESSED])
    assert [(true, taken, errors) for true, taken, errors, _ in pairs] == [("a", "b", 2), ("b", "c", 1), ("c", "a", 1)]
    assert [share for *_, share in pairs] == pytest.approx([0.5, 1 / 3, 1 / 3])
    rows = tables(section(ABC, TRUE, np.eye(3)[GUESSED]))[0].rows
    assert rows[0][:3] == ("a", "b", 2)


def test_the_worst_class_comes_first() -> None:
    rows = tables(section(ABC, TRUE, np.eye(3)[GUESSED]))[-1].rows
    assert [row[0] for row in rows] == ["a", "b", "c"]
    assert [row[1] for row in rows] == [4, 3, 3]
    value, low, high = rows[0][2]  # type: ignore[misc]
    assert value == pytest.approx(2 / 3)
    assert low < value < high


def test_thresholds_of_the_model_decide() -> None:
    task = Task(kind="binary", classes=("no", "yes"), thresholds=(0.5, 0.2))
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.1, 0.9]])
    assert charts(section(task, np.array([0, 0, 1]), probabilities))["confusion"]["cells"] == [
        (0, 0, 1),
        (0, 1, 1),
        (1, 1, 1),
    ]


def test_many_classes_have_pairs_and_no_huge_matrix() -> None:
    task = Task(kind="multiclass", classes=tuple(range(400)))
    true = np.arange(800) % 400
    found = section(task, true, np.eye(400, dtype=np.float32)[np.where(true == 7, 8, true)])
    assert "confusion" not in charts(found)
    pairs, classes = tables(found)
    assert pairs.rows == (("7", "8", 2, 1.0),)
    assert len(classes.rows) == 400
    assert classes.shown == 15


def test_reliability_has_equal_bins_and_holds_every_prediction() -> None:
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.34, 1.0, 200)
    outputs = np.stack([sure, (1 - sure) / 2, (1 - sure) / 2], axis=1)
    right = rng.random(200) < sure
    found = section(ABC, np.where(right, 0, 1), outputs)
    bins = charts(found)["reliability"]["bins"]
    assert sum(each[4] for each in bins) == 200
    assert {each[4] for each in bins} == {20}
    assert [each[0] for each in bins] == sorted(each[0] for each in bins)
    assert sum(each[1] * each[4] for each in bins) == pytest.approx(right.sum())
    assert all(low <= share <= high for _, share, low, high, _ in bins)


@pytest.mark.parametrize("labels", [False, True])
def test_points_of_reliability_count_by_weights(labels: bool) -> None:
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.34, 1.0, 200)
    outputs = np.stack([sure, (1 - sure) / 2, (1 - sure) / 2], axis=1)
    truth = np.where(rng.random(200) < 0.5, 0, 1)
    weights = np.where(truth == 0, 9.0, 1.0)
    task = Task(kind="multilabel", classes=("a", "b", "c")) if labels else ABC
    found = section(task, np.eye(3)[truth] if labels else truth, outputs, weights=weights)
    plain = section(task, np.eye(3)[truth] if labels else truth, outputs)
    given, came_true = (outputs.ravel(), np.eye(3)[truth].ravel()) if labels else (sure, truth == 0)
    each = np.repeat(weights, 3) if labels else weights
    rows = np.array_split(np.argsort(given, kind="stable"), 10)[-1]
    probability, share, low, high, count = charts(found)["reliability"]["bins"][-1]
    assert probability == pytest.approx(np.average(given[rows], weights=each[rows]))
    assert share == pytest.approx(np.average(came_true[rows], weights=each[rows]))
    assert (low, high) == pytest.approx(wilson_interval(share, effective_count(len(rows), each[rows])))
    assert count == len(rows)
    assert "count images by their weights; numbers of images and of errors count each as one" in found.lead
    assert "weights" not in plain.lead


def test_a_temperature_is_named_where_it_helps() -> None:
    better = Calibration(temperature=2.5, ece_before=0.2, ece_after=0.05, log_loss_before=1.0, log_loss_after=0.5)
    outputs = np.repeat(np.eye(3)[GUESSED], 4, axis=0)
    (caption,) = (
        block.caption
        for block in section(ABC, np.repeat(TRUE, 4), outputs, calibration=better).blocks
        if isinstance(block, Chart) and block.chart == "reliability"
    )
    assert "error is 0.050" in caption
    assert "Without the temperature of 2.50 it would be 0.200" in caption


def test_labels_have_a_row_with_their_threshold() -> None:
    task = Task(kind="multilabel", classes=("x", "y"), metric="f1_macro", thresholds=(0.5, 0.3))
    truth = np.array([[1, 0], [1, 1], [0, 1], [0, 0]], dtype=np.float32)
    found = section(task, truth, np.array([[0.9, 0.1], [0.4, 0.7], [0.1, 0.4], [0.2, 0.2]]))
    assert "confusion" not in charts(found)
    rows = {row[0]: row for row in tables(found)[-1].rows}
    assert [column.title for column in tables(found)[-1].columns][:3] == ["Label", "Examples", "Threshold"]
    assert rows["y"][1:3] == (2, 0.3)
    assert rows["y"][4][0] == 1.0  # type: ignore[index]
    assert rows["x"][4][0] == 0.5  # type: ignore[index]


def test_values_have_errors_in_their_unit() -> None:
    task = Task(kind="regression", metric="r2", width=2, target_names=("height", "weight"))
    true = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    found = section(task, true, true + np.array([[0.5, 0.0], [-0.5, 0.0], [0.5, 0.0]]))
    (table,) = tables(found)
    assert table.rows[0] == ("height", 0.5, 0.5, 0.5, pytest.approx(0.5 / 3), pytest.approx(1 - 0.75 / 2))
    assert table.rows[1] == ("weight", 0.0, 0.0, 0.0, 0.0, 1.0)
    titles = [block.title for block in found.blocks if isinstance(block, Chart)]
    assert "Residuals of height" in titles
    histogram = charts(found)["residuals"]
    assert sum(histogram["counts"]) == 3


def test_errors_of_values_count_by_weights() -> None:
    rng = np.random.default_rng(0)
    true, weights = rng.normal(0, 1, (99, 1)), rng.uniform(0.1, 5.0, 99)
    predictions = true + rng.normal(0.2, 0.5, (99, 1)) * weights[:, None]
    found = section(Task(kind="regression", metric="r2"), true, predictions, weights=weights)
    expected = [
        metrics.mean_absolute_error(true, predictions, sample_weight=weights),
        metrics.root_mean_squared_error(true, predictions, sample_weight=weights),
        metrics.median_absolute_error(true, predictions, sample_weight=weights),
        np.average((predictions - true).ravel(), weights=weights),
        metrics.r2_score(true, predictions, sample_weight=weights),
    ]
    assert tables(found)[-1].rows[0][1:] == pytest.approx(expected)
    assert "Errors in the table count images by their weights" in found.lead


def test_a_single_example_is_shown_without_a_diagram() -> None:
    found = section(ABC, np.array([1]), np.eye(3)[[1]])
    assert list(charts(found)) == ["confusion"]
    assert tables(found)[-1].rows[-1][0] in ("a", "b", "c")
