"""A fold: training rows, validation rows and targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from autotransfer.tasks.targets import Labels
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
        weights: Weight (N,) of each example, positive; None weights all examples equally.
    """

    task: Task
    targets: np.ndarray
    train_rows: np.ndarray
    validation_rows: np.ndarray
    class_weight: Literal["balanced"] | Mapping[Any, float] | None = None
    group_ids: np.ndarray | None = None
    weights: np.ndarray | None = None

    @property
    def class_weights(self) -> np.ndarray | None:
        """Class weights (classes,) of the loss; None weights all classes equally."""
        if self.class_weight is None:
            return None
        if isinstance(self.class_weight, str):
            return self.task.class_weights(self.targets[self.train_rows], self.train_weights)
        # A class whose examples cannot be read is no class of the task any more.
        labels = Labels(self.task.classes)
        known = {label: weight for label, weight in self.class_weight.items() if labels.find(label) is not None}
        return self.task.class_weights_from(known)

    @property
    def train_weights(self) -> np.ndarray | None:
        """Weights of the training rows, scaled to a mean of 1: they count in relation to each other only."""
        weights = self.weights_of(self.train_rows)
        return None if weights is None else weights / weights.mean()

    def weights_of(self, rows: np.ndarray) -> np.ndarray | None:
        """Return the weights of some rows; None where all examples weigh the same."""
        return None if self.weights is None else self.weights[rows]

    def score(self, rows: np.ndarray, predictions: np.ndarray) -> float:
        """Return the metric of predictions (n, outputs) for some rows, by their weights."""
        return self.task.score(self.targets[rows], predictions, weights=self.weights_of(rows))

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
        values, weights = self.targets[self.train_rows], self.train_weights
        mean = np.average(values, axis=0, weights=weights)
        return mean, np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weights))

    def standardised_targets(self) -> np.ndarray:
        """Return the targets with mean 0 and standard deviation 1 for a regression, else unchanged."""
        if self.task.kind != "regression":
            return self.targets
        shift, scale = self.standardisation()
        return np.asarray((self.targets - shift) / np.where(np.equal(scale, 0.0), 1.0, scale), dtype=np.float32)
