"""A fold: training rows, validation rows and targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from autotransfer.tasks.task import Task

__all__ = ["Fold"]


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Training and validation rows of one fold.

    Attributes:
        task: The task.
        targets: Targets (N, ...) of all examples, as ``Task.encode`` returns them.
        train_rows: Rows that train.
        validation_rows: Rows that score; empty in a refit.
        class_weight: ``"balanced"`` weights the loss by inverse class frequency. A dictionary holds weights by class; a
            class that it lacks has the weight 1. None weights all classes equally.
        group_ids: Group (N,) of each example, such as a patient or the copies of one example; None makes each example a
            group.
    """

    task: Task
    targets: np.ndarray
    train_rows: np.ndarray
    validation_rows: np.ndarray
    class_weight: Literal["balanced"] | Mapping[Any, float] | None = None
    group_ids: np.ndarray | None = None

    @property
    def class_weights(self) -> np.ndarray | None:
        """Class weights (classes,) of the loss; None weights all classes equally."""
        if self.class_weight is None:
            return None
        if isinstance(self.class_weight, str):
            return self.task.class_weights(self.targets[self.train_rows])
        # A class whose examples cannot be read is no class of the task any more.
        known = {label: weight for label, weight in self.class_weight.items() if label in self.task.classes}
        return self.task.class_weights_from(known)

    def group_ids_of(self, rows: np.ndarray) -> np.ndarray | None:
        """Return the groups of some rows; None where each example is a group."""
        return None if self.group_ids is None else self.group_ids[rows]

    def standardisation(self) -> tuple[np.ndarray | float, np.ndarray | float]:
        """Return the mean and the standard deviation (width,) of the training targets, as float64.

        The standard deviation is 0 where all training targets are equal: a network then predicts their mean. A
        classification has the mean 0 and the standard deviation 1.
        """
        if self.task.kind != "regression":
            return 0.0, 1.0
        values = self.targets[self.train_rows]
        return values.mean(0), values.std(0)

    def standardised_targets(self) -> np.ndarray:
        """Return the targets with mean 0 and standard deviation 1 for a regression, else unchanged."""
        if self.task.kind != "regression":
            return self.targets
        shift, scale = self.standardisation()
        return np.asarray((self.targets - shift) / np.where(np.equal(scale, 0.0), 1.0, scale), dtype=np.float32)
