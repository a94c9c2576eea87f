"""Training and scoring a candidate on single folds: those of the search, and those of further splits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from autotransfer.data.folds import Fold
from autotransfer.errors import DataError
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.search.trials import TrialRecord
from autotransfer.selection.records import candidate_of, predictions_of
from autotransfer.training.settings import TrainingSettings

__all__ = ["FoldId", "FoldRunner", "Resplit", "planned_epochs"]

Resplit = Callable[[int], Sequence[Fold]]
"""Returns the folds of a split by its number. Split 0 is that of the search; each split has a seed of its own."""


class FoldId(NamedTuple):
    """One fold of one split.

    Attributes:
        split: Number of the split; the search has split 0.
        fold: Number of the fold within the split.
    """

    split: int
    fold: int


def planned_epochs(record: TrialRecord) -> int:
    """Return the epochs that a trial's candidate trains for; a paused trial has not reached them."""
    return TrainingSettings.from_candidate(candidate_of(record).training).epochs


class FoldRunner:
    """Trains and scores candidates on single folds.

    Args:
        evaluator: What the search scores candidates with.
        resplit: Returns the folds of a further split.
    """

    def __init__(self, evaluator: Evaluator, resplit: Resplit) -> None:
        self.evaluator, self._resplit = evaluator, resplit
        self._splits: dict[int, Sequence[Fold]] = {0: evaluator.folds}

    def fold(self, where: FoldId) -> Fold:
        """Return which rows of a fold train and which score.

        Raises:
            DataError: The examples cannot be split.
        """
        if where.split not in self._splits:
            self._splits[where.split] = self._resplit(where.split)
        return self._splits[where.split][where.fold]

    def has(self, where: FoldId) -> bool:
        """Return whether there is such a fold: with another seed, groups may leave a side without a class."""
        try:
            return bool(self.fold(where))
        except (DataError, IndexError):
            return False

    def is_known(self, record: TrialRecord, where: FoldId) -> bool:
        """Return whether the search has a trial's predictions for a fold."""
        return where.split == 0 and not np.isnan(predictions_of(record)[self.fold(where).validation_rows]).any()

    def seconds(self, record: TrialRecord) -> float:
        """Return the predicted seconds of a trial's candidate on one fold."""
        share = record.best_epoch / planned_epochs(record) if record.epochs else 1.0
        scored = sum(self.is_known(record, FoldId(0, fold)) for fold in range(len(self.evaluator.folds)))
        return self.evaluator.predicted_seconds(candidate_of(record)) * share / max(scored, 1)

    def predict(self, record: TrialRecord, where: FoldId, expired: Callable[[], bool]) -> np.ndarray | None:
        """Train a trial's candidate until its best epoch, and return its predictions for the fold.

        Args:
            record: The trial.
            where: The fold.
            expired: Whether the time has run out.

        Returns:
            Predictions (n, outputs) for the validation rows; None where the time ran out.
        """
        evaluator, fold, seed = self.evaluator, self.fold(where), self.evaluator.seed + where.split
        candidate = candidate_of(record)
        setup = evaluator.setup(candidate)
        if setup.closed_form:
            network = setup.solve(evaluator.extractor, fold, evaluator.device, seed)
            return setup.predict_from_features(network, evaluator.extractor, evaluator.task, fold.validation_rows)
        epochs: list[np.ndarray] = []

        def keep(epoch: int, score: float, predictions: np.ndarray) -> bool:
            epochs.append(predictions)
            return False

        training = setup.training(evaluator.extractor, fold, evaluator.device, seed)
        training.run(record.best_epoch, keep, expired)
        return epochs[-1] if len(epochs) == record.best_epoch else None
