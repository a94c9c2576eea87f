"""Predictions for examples by networks that did not train on them: every choice after a search is made on these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from autotransfer.data.folds import Fold
from autotransfer.evaluation.objective import compute_objective
from autotransfer.tasks.task import Task

__all__ = ["MIN_PROBABILITY", "OutOfFold"]

# Parts that examples are divided into where the search has a single fold.
PARTS_OF_A_SINGLE_FOLD = 5
# Probabilities below this count as this, so that one wrong prediction cannot outweigh all others.
MIN_PROBABILITY = 1e-7


@dataclass(frozen=True, kw_only=True)
class OutOfFold:
    """Examples with out-of-fold predictions, in parts to cross-fit over.

    What is chosen on all other parts is judged on each part.

    Attributes:
        task: What is predicted.
        rows: Positions (n,) of the examples among all examples.
        targets: Their encoded targets (n, ...).
        group_ids: Number (n,) of the group that each example belongs to; None means that each is by itself.
        weights: Weight (n,) of each example; None weights all examples equally.
        parts: Positions in ``rows``: disjoint, all of them together. A group is in one part.
    """

    task: Task
    rows: np.ndarray
    targets: np.ndarray
    group_ids: np.ndarray | None = None
    weights: np.ndarray | None = None
    parts: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, folds: Sequence[Fold], predictions: np.ndarray, seed: int = 0) -> OutOfFold:
        """Take the examples that have predictions (N, outputs), those of one fold in one part.

        Folds keep groups together. Where all examples are of one fold, its groups are divided at random.
        """
        rows = np.flatnonzero(~np.isnan(predictions).any(1))
        group_ids = folds[0].group_ids_of(rows)
        parts = [np.flatnonzero(np.isin(rows, fold.validation_rows)) for fold in folds]
        parts = [part for part in parts if len(part)]
        if len(parts) < 2:
            of = np.arange(len(rows)) if group_ids is None else np.unique(group_ids, return_inverse=True)[1]
            shuffled = np.random.default_rng(seed).permutation(of.max(initial=-1) + 1)
            divided = np.array_split(shuffled, PARTS_OF_A_SINGLE_FOLD)
            parts = [np.flatnonzero(np.isin(of, chosen)) for chosen in divided if len(chosen)]
        return cls(
            task=folds[0].task,
            rows=rows,
            targets=folds[0].targets[rows],
            group_ids=group_ids,
            weights=folds[0].weights_of(rows),
            parts=tuple(np.sort(part) for part in parts),
        )

    def take(self, chosen: np.ndarray) -> OutOfFold:
        """Return some of the examples, as one part."""
        return replace(
            self,
            rows=self.rows[chosen],
            targets=self.targets[chosen],
            group_ids=None if self.group_ids is None else self.group_ids[chosen],
            weights=None if self.weights is None else self.weights[chosen],
            parts=(np.arange(len(self.rows[chosen])),),
        )

    def outside(self, part: np.ndarray) -> np.ndarray:
        """Return the positions of the examples that are not in a part."""
        return np.setdiff1d(np.arange(len(self.rows)), part)

    def score(self, predictions: np.ndarray) -> float:
        """Return the metric of predictions (n, outputs)."""
        return self.task.score(self.targets, predictions, weights=self.weights)

    def objective(self, predictions: np.ndarray) -> float:
        """Return the objective of predictions (n, outputs): the metric, and between equal values the log loss."""
        return compute_objective(self.task, self.targets, predictions, self.weights)

    def loss(self, predictions: np.ndarray) -> float:
        """Return the log loss of predictions (n, outputs); of a regression, the unexplained share of the variance."""
        return self.loss_of_terms(self.loss_terms(predictions))

    def loss_terms(self, predictions: np.ndarray) -> np.ndarray:
        """Return what the loss is computed from: for an ensemble, terms average as predictions do.

        Args:
            predictions: Predictions (..., n, outputs).

        Returns:
            Probabilities (..., n, 1) of the true class; of several labels, probabilities (..., n, labels) of what is
            true of each label; or the errors (..., n, outputs) of a regression.
        """
        if self.task.single_label:
            return np.asarray(predictions[..., np.arange(len(self.rows)), self.targets][..., None])
        if self.task.kind == "regression":
            return np.asarray(predictions - self.targets)
        return np.where(self.targets, predictions, 1 - predictions)

    def loss_of_terms(self, terms: np.ndarray) -> float:
        """Return the loss of what ``loss_terms`` returned for predictions (n, outputs)."""
        if self.task.kind == "regression":
            errors, means = (np.average(values, axis=0, weights=self.weights) for values in (terms**2, self.targets))
            variance = np.average((self.targets - means) ** 2, axis=0, weights=self.weights)
            return float((errors / np.where(variance > 0, variance, 1.0)).mean())
        losses = -np.log(np.clip(terms, MIN_PROBABILITY, 1.0))
        return float(losses.mean() if self.weights is None else np.average(losses.mean(1), weights=self.weights))
