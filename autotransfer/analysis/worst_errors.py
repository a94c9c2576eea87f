"""The worst errors: what the model gets most wrong, by predictions of networks that did not train on the examples."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from autotransfer.analysis.example_values import ShownExamples, predicted_values, target_name, true_values
from autotransfer.contract.preview import Preview, Shown
from autotransfer.selection.out_of_fold import MIN_PROBABILITY, OutOfFold
from autotransfer.tasks.task import Task

__all__ = ["MAX_WORST_ERRORS", "WorstError", "find_worst_errors"]

MAX_WORST_ERRORS = 12
# Largest share of the errors that take one label for one other, where there are other errors.
MAX_SHARE_OF_CONFUSION = 1 / 3
# Errors among which different ones are looked for.
_MAX_COMPARED = 10_000


@dataclass(frozen=True, kw_only=True)
class WorstError(Shown):
    """One of the worst errors.

    Attributes:
        row: Row of the example among those that were read.
        name: Its path, or its position.
        true: Its label; a list of labels, a number or a list of numbers, as the task has them.
        predicted: What was predicted for it, of the same kind.
        output: The output of the model that is wrong: of the predicted label, or of ``label``.
        label: The label that is wrong, where an example has several; else None.
        probability: Probability of what was predicted: of the predicted label, or for ``label`` of what was said of it.
            None for a regression.
        loss: Log loss of the example, or of ``label``; for a regression the error in standard deviations of the target.
        preview: What to show of it; None for nothing.
    """

    row: int
    name: str
    true: Any
    predicted: Any
    output: int = 0
    label: Any = None
    probability: float | None = None
    loss: float
    preview: Preview | None = None


def find_worst_errors(
    held_out: OutOfFold, predictions: np.ndarray, shown: ShownExamples, decided: np.ndarray | None = None
) -> tuple[WorstError, ...]:
    """Return the errors with the greatest loss, the worst first: different ones, not copies of one.

    A group of examples, such as near-duplicates, has one of its errors among them, and no two labels that are confused
    fill the list, as long as there are others.

    Args:
        held_out: The examples that were held out.
        predictions: What networks predict for them that did not train on them (n, outputs).
        shown: Names and shows the examples.
        decided: The same, shifted so that decisions at one half are those of the model; see ``SelectionResult``. None
            means that they are anyway.
    """
    decided, task = predictions if decided is None else decided, replace(held_out.task, thresholds=())
    losses = _losses(held_out, predictions, decided)
    chosen = _chosen(held_out, losses)
    true, predicted = true_values(task, held_out.targets), predicted_values(task, decided)
    return tuple(
        WorstError(
            row=(row := int(held_out.rows[i])),
            name=shown.name(row),
            true=true[i],
            predicted=predicted[i],
            output=output,
            label=None if task.single_label else target_name(task, output),
            probability=_probability(task, float(predictions[i, output]), says_so=bool(decided[i, output] > 0.5)),
            loss=float(losses[i, output]),
            preview=shown.preview(row),
        )
        for i, output in chosen
    )


def _losses(held_out: OutOfFold, predictions: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """Return the loss (n, outputs) of each example and output; 0 where the prediction is right.

    Examples of one label have their loss at the output of the predicted label.
    """
    task, n = held_out.task, len(held_out.rows)
    terms = held_out.loss_terms(predictions)
    if task.kind == "regression":
        deviation = held_out.targets.std(0)
        return np.asarray(np.abs(terms) / np.where(deviation > 0, deviation, 1.0))
    losses = -np.log(np.clip(terms, MIN_PROBABILITY, 1.0))
    if not task.single_label:
        return np.asarray(np.where((decided > 0.5) != (held_out.targets > 0.5), losses, 0.0))
    found = np.zeros_like(predictions)
    said = decided.argmax(1)
    found[np.arange(n), said] = np.where(said == held_out.targets, 0.0, losses[:, 0])
    return found


def _chosen(held_out: OutOfFold, losses: np.ndarray) -> list[tuple[int, int]]:
    """Return positions and outputs of the worst errors, the worst first."""
    wrong = min(np.count_nonzero(losses), _MAX_COMPARED)
    worst_first = np.argsort(-losses, axis=None, kind="stable")[:wrong]
    groups = np.arange(len(losses)) if held_out.group_ids is None else held_out.group_ids
    found: dict[Any, tuple[int, int]] = {}
    for i, output in np.stack(np.unravel_index(worst_first, losses.shape), 1).tolist():
        found.setdefault(groups[i], (i, output))
    errors = list(found.values())
    kinds = [_kind(held_out, i, output) for i, output in errors]
    most = math.ceil(MAX_WORST_ERRORS * max(MAX_SHARE_OF_CONFUSION, 1 / max(len(set(kinds)), 1)))
    taken, first, others = Counter[Any](), list[int](), list[int]()
    for number, kind in enumerate(kinds):
        (first if taken[kind] < most else others).append(number)
        taken[kind] += 1
    return [errors[number] for number in sorted([*first, *others][:MAX_WORST_ERRORS])]


def _kind(held_out: OutOfFold, i: int, output: int) -> Any:
    """Return what an error confuses: the true and the predicted label, or the label or target that is wrong."""
    return (int(held_out.targets[i]), output) if held_out.task.single_label else output


def _probability(task: Task, value: float, *, says_so: bool) -> float | None:
    """Return the probability of what was said of an output; None for a regression."""
    if task.kind == "regression":
        return None
    return value if task.single_label or says_so else 1 - value
