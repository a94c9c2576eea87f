"""Checks before scoring: whether the metric is defined on the examples, and which class is the positive one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from autotransfer.errors import DataError
from autotransfer.tasks.metrics import scorer_positive_class
from autotransfer.tasks.score import format_score
from autotransfer.tasks.task import Task
from autotransfer.warnings import FitWarning

__all__ = ["check_scored", "positive_class_warning"]

Part = Literal["test", "validation"]

_MAX_CLASSES_IN_MESSAGE = 5
# Differences of a score below this are rounding errors.
_SCORE_TOLERANCE = 1e-6


def check_scored(task: Task, encoded: np.ndarray, part: Part) -> tuple[FitWarning, ...]:
    """Check that the metric is defined on validation or test examples.

    Args:
        task: The task.
        encoded: Targets (N, ...) of the examples.
        part: Whether the examples are the test or the validation examples.

    Returns:
        A warning that names the missing classes, where classes are missing.

    Raises:
        DataError: The metric is not defined on the examples.
    """
    missing = _missing(task, encoded)
    best = task.score(encoded, task.perfect_outputs(encoded))
    if not _defined(task, encoded, best, missing):
        raise DataError(
            f"The metric {task.metric_label} is not defined on the {part} examples: {_why(task, encoded, missing)}. "
            "Add examples, or choose another metric."
        )
    if not missing:
        return ()
    named = ", ".join(repr(label) for label in missing[:_MAX_CLASSES_IN_MESSAGE]) + (
        ", …" if len(missing) > _MAX_CLASSES_IN_MESSAGE else ""
    )
    message = (
        f"The {part} examples lack {len(missing)} of {len(task.classes)} classes ({named}): the score says nothing of "
        "them."
    )
    if not task.single_label and best < task.perfect_score - _SCORE_TOLERANCE:
        message += f" Even perfect predictions have a {task.metric} of {format_score(best)}."
    return (FitWarning(code="missing_classes", message=message, details={"where": part, "classes": [*missing]}),)


def positive_class_warning(task: Task, encoded: np.ndarray, given: Any) -> FitWarning | None:
    """Return a warning that names the positive class, where the metric depends on it and the user gave none.

    Args:
        task: The task.
        encoded: Targets (N,).
        given: The positive class that the user gave; None without one.
    """
    if given is not None or scorer_positive_class(task.scorer) is not None or not task.uses_positive_class:
        return None
    position = task.classes.index(task.positive_class)
    count, other = int((encoded == position).sum()), task.classes[1 - position]
    rarer = 2 * count < len(encoded)
    why = "the rarer class" if rarer else "sorted last of two classes as frequent as each other"
    message = (
        f"The metric is {task.metric_label}, {why} ({count} of {len(encoded)} examples): "
        f"--positive-class {other!r} takes the other one."
    )
    details = {"metric": task.metric, "positive_class": task.positive_class, "examples": count}
    return FitWarning(code="positive_class", message=message, details=details)


def _missing(task: Task, encoded: np.ndarray) -> Sequence[Any]:
    """Return the classes without an example."""
    if task.kind == "regression":
        return ()
    counts = np.bincount(encoded, minlength=len(task.classes)) if task.single_label else encoded.sum(0)
    return [label for label, count in zip(task.classes, counts, strict=True) if not count]


def _defined(task: Task, encoded: np.ndarray, best: float, missing: Sequence[Any]) -> bool:
    """Whether the metric is defined on examples, given the score of perfect predictions."""
    if not math.isfinite(best):
        return False
    if task.kind == "regression":
        return task.scorer is not None or all(_separates_errors(task, encoded, i) for i in range(task.width))
    # Without positives, scikit-learn sets recall to 0. With several labels, the other labels still have a score.
    return not (task.single_label and missing and task.scorer is None and best < task.perfect_score - _SCORE_TOLERANCE)


def _separates_errors(task: Task, encoded: np.ndarray, column: int) -> bool:
    """Whether doubling the error of one target column changes the score; R2 does not change on equal targets."""
    values = encoded[:, column]
    step = np.zeros_like(encoded)
    step[:, column] = float(np.abs(values).max()) / 10 or 1.0
    once, twice = (task.score(encoded, encoded + factor * step) for factor in (1, 2))
    return math.isfinite(once) and math.isfinite(twice) and once != twice


def _why(task: Task, encoded: np.ndarray, missing: Sequence[Any]) -> str:
    if missing:
        return f"they lack {', '.join(repr(label) for label in missing[:_MAX_CLASSES_IN_MESSAGE])}"
    if task.kind == "regression" and len(encoded) > 1 and (encoded == encoded[0]).all(0).any():
        return "their targets are all equal"
    return f"there {'is one' if len(encoded) == 1 else f'are {len(encoded)}'}"
