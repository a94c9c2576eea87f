"""Before anything is scored: whether the metric is defined on the examples, and what a user should know of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from autotransfer.errors import DataError
from autotransfer.tasks.metrics import scorer_positive_class
from autotransfer.tasks.task import Task
from autotransfer.warnings import FitWarning

__all__ = ["check_scored", "positive_class_warning"]

Part = Literal["test", "validation"]

# Classes that a message names.
_NAMED = 5
# What the score of perfect predictions may fall short by.
_ROUNDING = 1e-6


def check_scored(task: Task, encoded: np.ndarray, part: Part) -> tuple[FitWarning, ...]:
    """Make sure that the metric is defined on examples, and say which classes they lack.

    Args:
        task: The task.
        encoded: Their targets (N, ...).
        part: What they are.

    Raises:
        DataError: The metric is not defined on them.
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
    named = ", ".join(repr(label) for label in missing[:_NAMED]) + (", …" if len(missing) > _NAMED else "")
    message = (
        f"The {part} examples lack {len(missing)} of {len(task.classes)} classes ({named}): the score says nothing of "
        "them."
    )
    if not task.single_label and best < task.perfect_score - _ROUNDING:
        message += f" Even perfect predictions have a {task.metric} of {best:.4f}."
    return (FitWarning(code="missing_classes", message=message, details={"where": part, "classes": [*missing]}),)


def positive_class_warning(task: Task, encoded: np.ndarray, asked: Any) -> FitWarning | None:
    """Say which class the metric takes for the positive one, where it depends on that and the user has not said.

    Args:
        task: The task.
        encoded: Targets (N,).
        asked: The positive class that the user asked for; None where nothing was said.
    """
    if asked is not None or scorer_positive_class(task.scorer) is not None or not task.uses_positive_class:
        return None
    at = task.classes.index(task.positive_class)
    count, other = int((encoded == at).sum()), task.classes[1 - at]
    rarer = 2 * count < len(encoded)
    why = "the rarer class" if rarer else "sorted last of two classes as frequent as each other"
    message = (
        f"The metric is {task.metric_label}, {why} ({count} of {len(encoded)} examples): "
        f"--positive-class {other!r} takes the other one."
    )
    details = {"metric": task.metric, "positive_class": task.positive_class, "examples": count}
    return FitWarning(code="positive_class", message=message, details=details)


def _missing(task: Task, encoded: np.ndarray) -> Sequence[Any]:
    """Return the classes that no example has."""
    if task.kind == "regression":
        return ()
    there = np.bincount(encoded, minlength=len(task.classes)) if task.single_label else encoded.sum(0)
    return [label for label, count in zip(task.classes, there, strict=True) if not count]


def _defined(task: Task, encoded: np.ndarray, best: float, missing: Sequence[Any]) -> bool:
    """Whether the metric is defined on examples, given the score of perfect predictions."""
    if not math.isfinite(best):
        return False
    if task.kind == "regression":
        return task.scorer is not None or all(_tells_apart(task, encoded, i) for i in range(task.width))
    # Without positives, recall is set to 0. Of several labels, the others still say something.
    return not (task.single_label and missing and task.scorer is None and best < task.perfect_score - _ROUNDING)


def _tells_apart(task: Task, encoded: np.ndarray, column: int) -> bool:
    """Whether the metric tells a small error of a column from one twice as large: R2 does not where all are equal."""
    values = encoded[:, column]
    step = np.zeros_like(encoded)
    step[:, column] = float(np.abs(values).max()) / 10 or 1.0
    once, twice = (task.score(encoded, encoded + factor * step) for factor in (1, 2))
    return math.isfinite(once) and math.isfinite(twice) and once != twice


def _why(task: Task, encoded: np.ndarray, missing: Sequence[Any]) -> str:
    if missing:
        return f"they lack {', '.join(repr(label) for label in missing[:_NAMED])}"
    if task.kind == "regression" and len(encoded) > 1 and (encoded == encoded[0]).all(0).any():
        return "their targets are all equal"
    return f"there {'is one' if len(encoded) == 1 else f'are {len(encoded)}'}"
