"""FoldRunner of the search and of other seeds, and what candidates predict on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from autotransfer.data.folds import Fold
from autotransfer.errors import DataError
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.evaluation.setup import Setup
from autotransfer.search.trials import TrialRecord
from autotransfer.training.settings import TrainingSettings

__all__ = ["Resplit", "FoldRunner", "Step", "planned_epochs"]

Step = tuple[int, int]
"""How far the seed is from that of the search, and the fold."""
Resplit = Callable[[int], Sequence[Fold]]


def planned_epochs(record: TrialRecord) -> int:
    """Return the epochs that a trial's candidate trains for; a paused one has not seen all of them."""
    assert record.candidate is not None  # complete trials have one
    return TrainingSettings.from_candidate(record.candidate.training).epochs


class FoldRunner:
    """FoldRunner of the search and of other seeds, and what candidates predict on them.

    Args:
        evaluator: What the search scores candidates with.
        resplit: Returns the folds of another seed, which is so far from the seed of the search.
    """

    def __init__(self, evaluator: Evaluator, resplit: Resplit) -> None:
        self.evaluator, self._split_once = evaluator, resplit
        self._folds: dict[int, Sequence[Fold]] = {0: evaluator.folds}

    def fold(self, step: Step) -> Fold:
        """Return what is trained on and scored on."""
        seed, number = step
        if seed not in self._folds:
            self._folds[seed] = self._split_once(seed)
        return self._folds[seed][number]

    def has(self, step: Step) -> bool:
        """Whether the examples can be dealt so: with another seed, groups may fall on one side."""
        try:
            return bool(self.fold(step))
        except (DataError, IndexError):
            return False

    def known(self, record: TrialRecord, step: Step) -> bool:
        """Whether the search has predictions for a fold."""
        assert record.predictions is not None  # finalists have some
        return step[0] == 0 and not np.isnan(record.predictions[self.fold(step).validation_rows]).any()

    def seconds(self, record: TrialRecord) -> float:
        """Return about how long a candidate takes for one fold."""
        assert record.candidate is not None  # complete trials have one
        share = record.best_epoch / planned_epochs(record) if record.epochs else 1.0
        scored = sum(self.known(record, (0, fold)) for fold in range(len(self.evaluator.folds)))
        return self.evaluator.predicted_seconds(record.candidate) * share / max(scored, 1)

    def predict(self, record: TrialRecord, step: Step, expired: Callable[[], bool]) -> np.ndarray | None:
        """Train a candidate for its epochs, and return its predictions (n, outputs); None when the time runs out."""
        evaluator, fold, seed = self.evaluator, self.fold(step), self.evaluator.seed + step[0]
        assert record.candidate is not None  # complete trials have one
        backbone = evaluator.load(record.candidate.backbone)
        setup = Setup.of(record.candidate, backbone, evaluator.registry, evaluator.task)
        if setup.closed_form:
            network = setup.solve(evaluator.extractor, fold, evaluator.device, seed)
            return setup.predict_from_features(network, evaluator.extractor, evaluator.task, fold.validation_rows)
        found: list[np.ndarray] = []

        def keep(epoch: int, score: float, predictions: np.ndarray) -> bool:
            found.append(predictions)
            return False

        training = setup.training(evaluator.extractor, fold, evaluator.device, seed)
        training.run(record.best_epoch, keep, expired)
        return found[-1] if len(found) == record.best_epoch else None
