"""The part of the page on errors: which classes are taken for which, by how much values are missed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from autotransfer.analysis.class_scores import ClassScore, score_classes
from autotransfer.report.error_charts import HALF_WIDTH, MAX_NAMED_CLASSES, matrix_size
from autotransfer.report.page import Block, Chart, Column, Section, Table
from autotransfer.report.wording import count_text, score_text
from autotransfer.selection.calibration import Calibration
from autotransfer.tasks.bootstrap import effective_count
from autotransfer.tasks.score import wilson_interval
from autotransfer.tasks.task import Task

__all__ = ["confused_pairs", "error_section"]

# Bins of a reliability diagram, of equally many examples each, and examples in each.
MAX_BINS, MIN_EXAMPLES_OF_A_BIN = 10, 8
# Most classes of a matrix, most pairs of a table, and pairs and classes that are open at once.
MAX_CLASSES, MAX_PAIRS, SHOWN_PAIRS, SHOWN_ROWS = 300, 100, 8, 15
# Points of a picture of a regression, bins of its residuals, and targets that have pictures.
MAX_POINTS, RESIDUAL_BINS, MAX_PICTURED_TARGETS = 1000, 24, 3
# Residuals beyond these quantiles are counted in the outermost bins.
RESIDUAL_QUANTILES = (0.005, 0.995)


def error_section(
    task: Task,
    encoded: np.ndarray,
    predictions: np.ndarray,
    group_ids: np.ndarray | None,
    noun: str,
    *,
    decided: np.ndarray | None = None,
    calibration: Calibration | None = None,
    weights: np.ndarray | None = None,
) -> Section:
    """Return the part of the page on errors, from out-of-fold predictions.

    Args:
        task: The task, with the thresholds by which it decides.
        encoded: Targets (n, ...).
        predictions: Predictions (n, outputs) of networks that did not train on these examples.
        group_ids: Group (n,) of each example; None makes each example a group.
        noun: What one example is called.
        decided: The same, shifted so that decisions at one half are those of the model; see ``SelectionResult``. None
            means that the thresholds of the task decide.
        calibration: What a temperature changed; None without one.
        weights: Weight (n,) of each example; None weights all examples equally.
    """
    judge = task if decided is None else replace(task, thresholds=())
    decided = predictions if decided is None else decided
    blocks: list[Block] = []
    if task.kind == "regression":
        blocks = _regression(task, encoded, predictions, weights)
    else:
        scores = score_classes(judge, encoded, decided, group_ids, weights=weights)
        if task.single_label:
            blocks += _confusion(judge, encoded, decided)
        blocks += _reliability(task, encoded, predictions, calibration, weights)
        if task.single_label and len(task.classes) > 2:
            blocks += _pairs(judge, encoded, decided)
        blocks.append(_classes(task, scores))
    return Section(
        id="errors",
        title="What it gets right and wrong",
        lead=f"From {count_text(len(encoded), noun)}, each predicted by a network that did not train on it."
        + ("" if weights is None else _weighted(task, noun)),
        blocks=tuple(blocks),
    )


def _weighted(task: Task, noun: str) -> str:
    """Say what counts examples by their weights, as the score does, and what shows them as they are."""
    what = "Errors in the table" if task.kind == "regression" else "Precision, recall, F1 and reliability"
    others = "pictures show" if task.kind == "regression" else f"numbers of {noun}s and of errors count"
    return f" {what} count {noun}s by their weights; {others} each as one."


def confused_pairs(task: Task, encoded: np.ndarray, predictions: np.ndarray) -> list[tuple[Any, Any, int, float]]:
    """Return true class, predicted class, errors and their share of the true class, the most confused pair first."""
    sizes = np.bincount(encoded, minlength=len(task.classes))
    cells = [cell for cell in _cells(task, encoded, predictions) if cell[0] != cell[1]]
    cells.sort(key=lambda cell: (-cell[2], -cell[2] / sizes[cell[0]], cell[:2]))
    return [(task.classes[t], task.classes[p], number, number / float(sizes[t])) for t, p, number in cells]


def _cells(task: Task, encoded: np.ndarray, predictions: np.ndarray) -> list[tuple[int, int, int]]:
    """Return the confusion matrix, without the cells of no example."""
    count = len(task.classes)
    numbers, sizes = np.unique(encoded * count + task.decide(predictions), return_counts=True)
    return [(int(at) // count, int(at) % count, int(size)) for at, size in zip(numbers, sizes, strict=True)]


def _confusion(task: Task, encoded: np.ndarray, predictions: np.ndarray) -> list[Block]:
    """Return the confusion matrix, unless there are too many classes for one."""
    classes, wrong = list(map(str, task.classes)), int((task.decide(predictions) != encoded).sum())
    if len(classes) > MAX_CLASSES:
        return []
    order = "" if len(classes) <= MAX_NAMED_CLASSES else " Classes stand in the order of their names."
    return [
        Chart(
            chart="confusion",
            data={"classes": classes, "cells": _cells(task, encoded, predictions)},
            title="Confusion matrix",
            caption=f"Rows are true classes, columns predicted ones. The shade is the share of the true class.{order}",
            alt=f"{wrong:,} of {len(encoded):,} predictions are wrong.",
            layout="half" if matrix_size(classes)[0] <= HALF_WIDTH else "alone",
        )
    ]


def _pairs(task: Task, encoded: np.ndarray, predictions: np.ndarray) -> list[Block]:
    """Return a table of the classes that are confused most; nothing where there is no error."""
    pairs = confused_pairs(task, encoded, predictions)
    wrong = sum(pair[2] for pair in pairs)
    if not pairs:
        return []
    return [
        Table(
            columns=(
                Column(title="True class"),
                Column(title="Taken for"),
                Column(title="Errors", kind="number"),
                Column(title="Of the true class", kind="share"),
            ),
            rows=tuple((str(t), str(p), number, share) for t, p, number, share in pairs[:MAX_PAIRS]),
            caption=f"Classes that are confused; {count_text(wrong, 'error')} in all.",
            shown=SHOWN_PAIRS,
            layout="half",
        )
    ]


def _classes(task: Task, scores: Sequence[ClassScore]) -> Table:
    """Return precision, recall and F1 of each class, the worst first."""
    several = not task.single_label
    order = sorted(
        range(len(scores)), key=lambda i: (scores[i].f1.value if scores[i].f1.value is not None else -1.0, i)
    )
    rows = []
    for i in order:
        row = scores[i]
        threshold = (task.thresholds[i] if task.thresholds else 0.5,) if several else ()
        rows.append((str(row.label), row.examples, *threshold, tuple(row.precision), tuple(row.recall), tuple(row.f1)))
    columns = [Column(title="Label" if several else "Class"), Column(title="Examples", kind="number")]
    columns += [Column(title="Threshold", kind="number")] if several else []
    columns += [Column(title=title, kind="interval") for title in ("Precision", "Recall", "F1")]
    what = "labels" if several else "classes"
    caption = f"All {what}, the worst F1 first, with 95% intervals."
    return Table(columns=tuple(columns), rows=tuple(rows), caption=caption, shown=SHOWN_ROWS)


def _reliability(
    task: Task,
    encoded: np.ndarray,
    predictions: np.ndarray,
    calibration: Calibration | None,
    weights: np.ndarray | None,
) -> list[Block]:
    """Return the reliability diagram: of the probability of the predicted class, or of every label of several."""
    if task.single_label:
        given, came_true = predictions.max(1), predictions.argmax(1) == encoded
        share = "share that is right"
    else:
        given, came_true, share = predictions.ravel(), encoded.ravel() > 0, "share that has the label"
        weights = None if weights is None else np.repeat(weights, task.outputs)
    bins = _bins(given, came_true, np.ones(len(given)) if weights is None else weights)
    if len(bins) < 2:
        return []
    error = ""
    if calibration is not None:
        error = f" The expected calibration error is {calibration.ece_after:.3f}."
        if calibration.is_better:
            error += (
                f" Without the temperature of {calibration.temperature:.2f} it would be {calibration.ece_before:.3f}."
            )
    return [
        Chart(
            chart="reliability",
            data={"bins": bins, "share": share},
            title="Can the probabilities be believed?",
            caption="On the dashed line, predictions of 80% are right in 80 of 100 cases; below it, the model is too "
            f"sure of itself. Each point is a bin of equally many predictions, with its 95% interval.{error}",
            alt=f"Reliability in {len(bins)} bins.",
            layout="half",
        )
    ]


def _bins(
    given: np.ndarray, came_true: np.ndarray, weights: np.ndarray
) -> list[tuple[float, float, float, float, int]]:
    """Return bins of equally many predictions: mean probability, share that came true, its interval, count."""
    count = int(np.clip(len(given) // MIN_EXAMPLES_OF_A_BIN, 1, MAX_BINS))
    found = []
    for rows in np.array_split(np.argsort(given, kind="stable"), count):
        own = weights[rows]
        share = float(np.average(came_true[rows], weights=own))
        interval = wilson_interval(share, effective_count(len(rows), own))
        found.append((float(np.average(given[rows], weights=own)), share, *interval, len(rows)))
    return found


def _regression(task: Task, encoded: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None) -> list[Block]:
    blocks, rows = list[Block](), []
    for number in range(task.width):
        true, found = encoded[:, number], predictions[:, number]
        name = task.target_names[number] if task.target_names else "" if task.width == 1 else f"target {number + 1}"
        rows.append((name or "target", *_errors(true, found, weights)))
        if number < MAX_PICTURED_TARGETS:
            blocks += _target_charts(name, true, found, weights)
    titles = ("Mean absolute error", "Root mean squared error", "Median absolute error", "Mean error", "R2")
    columns = (Column(title="Target"), *(Column(title=title, kind="number") for title in titles))
    return [*blocks, Table(columns=columns, rows=tuple(rows), caption="Errors in the unit of the target.")]


def _errors(true: np.ndarray, found: np.ndarray, weights: np.ndarray | None) -> tuple[float | None, ...]:
    """Return mean absolute, root mean squared, median absolute and mean error of a target, and R2 where defined."""
    residuals = found - true
    sizes, squares = np.abs(residuals), residuals**2
    spread = float(np.average((true - np.average(true, weights=weights)) ** 2, weights=weights))
    mean_square = float(np.average(squares, weights=weights))
    return (
        float(np.average(sizes, weights=weights)),
        math.sqrt(mean_square),
        _median(sizes, weights),
        float(np.average(residuals, weights=weights)),
        1.0 - mean_square / spread if spread > 0 else None,
    )


def _median(values: np.ndarray, weights: np.ndarray | None) -> float:
    """Return the median; of weighted values the one up to which they weigh half."""
    if weights is None:
        return float(np.median(values))
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(reached, reached[-1] / 2)]])


def _target_charts(name: str, true: np.ndarray, found: np.ndarray, weights: np.ndarray | None) -> list[Block]:
    """Return a picture of predicted against true values of a target, and one of the residuals."""
    of = f" of {name}" if name else ""
    chosen = np.sort(np.random.default_rng(0).permutation(len(true))[:MAX_POINTS])
    residuals = found - true
    low, high = np.quantile(residuals, RESIDUAL_QUANTILES)
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    counts, edges = np.histogram(np.clip(residuals, low, high), bins=RESIDUAL_BINS, range=(low, high))
    points = [(float(true[i]), float(found[i])) for i in chosen]
    error = math.sqrt(float(np.average(residuals**2, weights=weights)))
    mean = float(np.average(residuals, weights=weights))
    return [
        Chart(
            chart="predicted",
            data={"points": points, "name": name},
            title=f"Predicted against true values{of}",
            caption="On the dashed line, a prediction is right.",
            alt=f"{len(true):,} predictions{of}; the root mean squared error is {score_text(error)}.",
            layout="half",
        ),
        Chart(
            chart="residuals",
            data={"counts": counts.tolist(), "edges": edges.tolist()},
            title=f"Residuals{of}",
            caption="How far predictions are off; to the right of 0, they are too high. The outermost bars hold all "
            "beyond.",
            alt=f"Histogram of {len(true):,} residuals{of}, mean {score_text(mean)}.",
            layout="half",
        ),
    ]
