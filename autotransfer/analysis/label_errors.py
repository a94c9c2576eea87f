"""Suspected label errors, by confident learning on predictions of networks that did not train on the examples.

Source: Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels" (JAIR 2021).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from autotransfer.analysis.confident_learning import Suspicion, suspect
from autotransfer.analysis.example_values import ShownExamples, predicted_values, target_name, true_values
from autotransfer.contract.preview import Preview, Shown
from autotransfer.runtime.text import cell
from autotransfer.tasks.task import Task

__all__ = ["LabelError", "LabelErrors", "find_label_errors", "to_csv"]

# The most suspected examples, which a page shows, and the most that the file lists.
MAX_SHOWN, MAX_LISTED = 24, 10_000


@dataclass(frozen=True, kw_only=True)
class LabelError(Shown):
    """An example whose label is probably wrong.

    Attributes:
        row: Row of the example among those that were read.
        name: Its path, or its position.
        given: Its label; a list of labels, a number or a list of numbers, as the task has them.
        suggested: What networks predict for it, of the same kind.
        label: The label that is suspected, where an example has several; else None.
        score: How well its label fits, from 0 to 1; the lower, the more it is suspected.
        probability_given: Probability of the given label; None for a regression.
        probability_suggested: Probability of the suggested label; None for a regression.
        suspected: Whether it is among as many as are estimated to be wrong.
        preview: What to show of it; None for nothing.
    """

    row: int
    name: str
    given: Any
    suggested: Any
    label: Any = None
    score: float
    probability_given: float | None = None
    probability_suggested: float | None = None
    suspected: bool = True
    preview: Preview | None = None


@dataclass(frozen=True, kw_only=True)
class LabelErrors:
    """Suspected label errors.

    Attributes:
        worst: The most suspected examples, the worst first.
        estimated: How many labels are estimated to be wrong; None where none was examined.
        examined: How many labels were examined: one of each example, or all of several labels or targets, each of
            which counts by itself whether the example has it or not.
        listed: All examples for which networks say something else than their label, the worst first, as far as
            ``label_errors.csv`` lists them.
    """

    worst: tuple[LabelError, ...] = ()
    estimated: int | None = None
    examined: int = 0
    listed: tuple[LabelError, ...] = field(default=(), repr=False, compare=False)

    def to_json(self, *, previews: bool = True) -> dict[str, Any]:
        """Return them as JSON, with what to show of them or without."""
        worst = [each.to_json(previews=previews) for each in self.worst]
        return {"worst": worst, "estimated": self.estimated, "examined": self.examined}

    @classmethod
    def from_json(cls, about: Mapping[str, Any]) -> LabelErrors:
        """Read what ``to_json`` returned.

        Raises:
            RunFormatError: What is shown of an example is damaged.
            KeyError: A value is missing.
            TypeError: A value is missing.
        """
        worst = tuple(LabelError.from_json(each) for each in about["worst"])
        return cls(worst=worst, estimated=about["estimated"], examined=about["examined"])


def find_label_errors(
    task: Task, targets: np.ndarray, predictions: np.ndarray, rows: np.ndarray, shown: ShownExamples
) -> LabelErrors:
    """Return the examples whose labels are probably wrong.

    Args:
        task: The task.
        targets: Encoded targets (n, ...).
        predictions: What networks predict for the examples that did not train on them (n, outputs).
        rows: Rows (n,) of the examples in the store.
        shown: Names and shows the examples.
    """
    if not len(rows):
        return LabelErrors()
    suspicion = suspect(task, targets, predictions)
    order, suspected = suspicion.order, np.zeros(suspicion.scores.size, dtype=bool)
    suspected[order[: suspicion.estimated]] = True
    order = order[(suspected | _disagrees(task, targets, predictions, suspicion).ravel())[order]][:MAX_LISTED]
    places = np.stack(np.unravel_index(order, suspicion.scores.shape), 1)
    given, suggested = true_values(task, targets), predicted_values(task, predictions)
    listed = []
    for place, (i, output) in zip(order.tolist(), places.tolist(), strict=True):
        of_given, of_suggested = _probabilities(task, targets, predictions, i, output) or (None, None)
        error = LabelError(
            row=int(rows[i]),
            name=shown.name(int(rows[i])),
            given=given[i],
            suggested=suggested[i],
            label=None if task.single_label else target_name(task, output),
            score=float(suspicion.scores[i, output]),
            probability_given=of_given,
            probability_suggested=of_suggested,
            suspected=bool(suspected[place]),
        )
        listed.append(error)
    worst = tuple(replace(each, preview=shown.preview(each.row)) for each in listed[:MAX_SHOWN])
    return LabelErrors(worst=worst, estimated=suspicion.estimated, examined=suspicion.scores.size, listed=tuple(listed))


def to_csv(found: LabelErrors) -> str:
    """Return a table of the listed examples, the worst first.

    Names that a spreadsheet would run as a formula get an apostrophe in front.
    """
    several = any(each.label is not None for each in found.listed)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["path", *(["label"] if several else []), "given", "suggested", "score", "p_given", "p_suggested", "suspected"]
    )
    for each in found.listed:
        values = [each.name, *([each.label] if several else []), _text(each.given), _text(each.suggested)]
        numbers = [_digits(each.score), _digits(each.probability_given), _digits(each.probability_suggested)]
        writer.writerow([*map(cell, values), *numbers, "yes" if each.suspected else "no"])
    return text.getvalue()


def _disagrees(task: Task, targets: np.ndarray, predictions: np.ndarray, suspicion: Suspicion) -> np.ndarray:
    """Return whether networks say something else than the label (n, k), be it with little confidence."""
    if task.kind == "regression":
        return suspicion.disagrees
    if task.single_label:
        return np.asarray(predictions.argmax(1) != targets)[:, None]
    return np.asarray((predictions > 0.5) != (targets > 0.5))


def _probabilities(
    task: Task, targets: np.ndarray, predictions: np.ndarray, i: int, output: int
) -> tuple[float, float] | None:
    """Return the probability of what is given, and of what is suggested instead; None for a regression."""
    if task.kind == "regression":
        return None
    if task.single_label:
        return float(predictions[i, targets[i]]), float(predictions[i].max())
    present = float(predictions[i, output])
    return (present, 1 - present) if targets[i, output] > 0.5 else (1 - present, present)


def _text(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
