"""Targets and predictions of single examples as JSON has them, and what to show of each example."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotransfer.contract.modality import Item, Store
from autotransfer.contract.preview import Preview
from autotransfer.data.examples import Examples
from autotransfer.tasks.task import Task

__all__ = ["ShownExamples", "predicted_values", "target_name", "true_values"]

log = logging.getLogger("autotransfer")


def true_values(task: Task, encoded: np.ndarray) -> list[Any]:
    """Return encoded targets (n, ...) as labels, lists of labels, numbers, or lists of numbers."""
    if task.single_label:
        return [task.classes[position] for position in encoded.tolist()]
    return predicted_values(task, encoded)


def predicted_values(task: Task, predictions: np.ndarray) -> list[Any]:
    """Return predictions (n, outputs) as labels, lists of labels, numbers, or lists of numbers."""
    return [list(value) if isinstance(value, tuple) else value for value in task.predict(predictions).tolist()]


def target_name(task: Task, output: int) -> Any:
    """Return the label of an output, or the name of a target of a regression; None where it has a single target."""
    if task.classes:
        return task.classes[output]
    return None if task.width == 1 else task.target_names[output] if task.target_names else str(output)


@dataclass(frozen=True, kw_only=True)
class ShownExamples:
    """Names the examples of a store, and shows them.

    Attributes:
        examples: The examples.
        store: What was read of them.
        expired: Whether the time to make previews has run out.
    """

    examples: Examples
    store: Store
    expired: Callable[[], bool] = lambda: False

    def name(self, row: int) -> str:
        """Return the path, or the position, of the example in a row of the store."""
        return self.examples.names[int(self.store.kept[row])]

    def item(self, row: int) -> Item:
        """Return the example in a row of the store, before it was read."""
        return self.examples.items[int(self.store.kept[row])]

    def preview(self, row: int) -> Preview | None:
        """Return what to show of the example in a row; None where that fails, or no time is left."""
        if self.expired():
            return None
        try:
            return self.store.modality.preview(self.item(row), self.store.reading)
        except Exception as error:  # a file may be gone, and a data set is the user's code: nothing is lost without it
            log.info("%s is not shown: %s", self.name(row), error)
            return None
