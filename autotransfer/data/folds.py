"""A fold: which examples train and which score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from autotransfer.tasks.task import Task

__all__ = ["Fold"]


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One fold: which examples train and which score.

    Attributes:
        task: The task.
        targets: Encoded targets of all examples.
        train_rows: Rows to train on.
        validation_rows: Rows to score on; empty in a refit.
        class_weight: ``"balanced"`` weights the loss by inverse class frequency; a dictionary gives the weight of each
            class, 1 for those that it leaves out; None for equal ones.
        group_ids: Number (N,) of the set that each example cannot leave, as copies and groups are; None means that each
            is by itself.
    """

    task: Task
    targets: np.ndarray
    train_rows: np.ndarray
    validation_rows: np.ndarray
    class_weight: Literal["balanced"] | Mapping[Any, float] | None = None
    group_ids: np.ndarray | None = None

    @property
    def class_weights(self) -> np.ndarray | None:
        """Weights (classes,) of the loss on the rows to train on; None for equal ones."""
        if self.class_weight is None:
            return None
        if isinstance(self.class_weight, str):
            return self.task.class_weights(self.targets[self.train_rows])
        # A class whose images cannot be read may be gone since the weights were checked.
        known = {label: weight for label, weight in self.class_weight.items() if label in self.task.classes}
        return self.task.class_weights_from(known)

    def group_ids_of(self, rows: np.ndarray) -> np.ndarray | None:
        """Return the group ids of some rows; None where each example is by itself."""
        return None if self.group_ids is None else self.group_ids[rows]

    def standardisation(self) -> tuple[np.ndarray | float, np.ndarray | float]:
        """Return mean and standard deviation (width,) of regression targets, as float64; 0 and 1 for classes.

        The deviation is 0 where all that train have one value: it is what a network then says.
        """
        if self.task.kind != "regression":
            return 0.0, 1.0
        values = self.targets[self.train_rows]
        return values.mean(0), values.std(0)

    def standardised_targets(self) -> np.ndarray:
        """Return the targets as a network learns them."""
        if self.task.kind != "regression":
            return self.targets
        shift, scale = self.standardisation()
        return np.asarray((self.targets - shift) / np.where(np.equal(scale, 0.0), 1.0, scale), dtype=np.float32)
