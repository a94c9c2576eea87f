"""Examples with predictions of networks that did not see them: what every choice after a search is made on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from autotransfer.data.folds import Fold
from autotransfer.evaluation.objective import compute_objective
from autotransfer.tasks.task import Task

__all__ = ["OutOfFold"]

# Parts that examples are dealt into where the search has scored them in one piece.
_PARTS = 5


@dataclass(frozen=True, kw_only=True)
class OutOfFold:
    """Examples that were scored, in parts to cross-fit over: what is chosen on the others is judged on each part.

    Attributes:
        task: What is predicted.
        rows: Their positions (n,) among all examples.
        targets: Their encoded targets (n, ...).
        group_ids: Number (n,) of the set that each cannot leave; None means that each is by itself.
        parts: Positions in ``rows``, disjoint, all of them together; a set is in one of them.
    """

    task: Task
    rows: np.ndarray
    targets: np.ndarray
    group_ids: np.ndarray | None = None
    parts: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, folds: Sequence[Fold], predictions: np.ndarray, seed: int = 0) -> OutOfFold:
        """Take the examples that have predictions (N, outputs), those of one fold in one part.

        FoldRunner keep units together; within one, units are dealt at random.
        """
        rows = np.flatnonzero(~np.isnan(predictions).any(1))
        group_ids = folds[0].group_ids_of(rows)
        parts = [np.flatnonzero(np.isin(rows, fold.validation_rows)) for fold in folds]
        parts = [part for part in parts if len(part)]
        if len(parts) < 2:
            of = np.arange(len(rows)) if group_ids is None else np.unique(group_ids, return_inverse=True)[1]
            dealt = np.array_split(np.random.default_rng(seed).permutation(of.max(initial=-1) + 1), _PARTS)
            parts = [np.flatnonzero(np.isin(of, chosen)) for chosen in dealt if len(chosen)]
        task, targets, parts = folds[0].task, folds[0].targets[rows], [np.sort(part) for part in parts]
        return cls(task=task, rows=rows, targets=targets, group_ids=group_ids, parts=tuple(parts))

    def only(self, chosen: np.ndarray) -> OutOfFold:
        """Return some of the examples, as one part."""
        rows, group_ids = self.rows[chosen], None if self.group_ids is None else self.group_ids[chosen]
        return replace(
            self, rows=rows, targets=self.targets[chosen], group_ids=group_ids, parts=(np.arange(len(rows)),)
        )

    def but(self, part: np.ndarray) -> np.ndarray:
        """Return the positions that are not in a part."""
        return np.setdiff1d(np.arange(len(self.rows)), part)

    def score(self, predictions: np.ndarray) -> float:
        """Return the metric of predictions (n, outputs)."""
        return self.task.score(self.targets, predictions)

    def loss(self, predictions: np.ndarray) -> float:
        """Return the log loss of predictions (n, outputs); of a regression, the unexplained variance."""
        return self.loss_of(self.evidence(predictions))

    def evidence(self, predictions: np.ndarray) -> np.ndarray:
        """Return what the loss takes of predictions (..., n, outputs): it averages as they do, and is often smaller.

        Returns:
            Probabilities (..., n, 1) of the right class, (..., n, labels) of what is right of each label, or the errors
            (..., n, width) of a regression.
        """
        if self.task.single_label:
            return predictions[..., np.arange(len(self.rows)), self.targets][..., None]
        return (
            predictions - self.targets
            if self.task.kind == "regression"
            else np.where(self.targets, predictions, 1 - predictions)
        )

    def loss_of(self, evidence: np.ndarray) -> float:
        """Return the loss of what ``evidence`` returned for one prediction of each example."""
        if self.task.kind == "regression":
            variance = self.targets.var(0)
            return float(((evidence**2).mean(0) / np.where(variance > 0, variance, 1.0)).mean())
        return float(-np.log(np.clip(evidence, 1e-7, 1.0)).mean())

    def objective(self, predictions: np.ndarray) -> float:
        """Return the metric less a trace of the log loss, which decides between equal ones."""
        return compute_objective(self.task, self.targets, predictions)
