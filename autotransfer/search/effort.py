"""How much a search has trained, told without a clock: what follows it is bounded by that where trials are counted.

Seconds differ from run to run, and equal seeds are to give equal results.
"""

from __future__ import annotations

from collections.abc import Iterable

from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.search.trials import TrialRecord

__all__ = ["Effort"]

# In epochs of a whole network: a pass of all examples through a backbone, which is forward only and made fast; and an
# epoch of a head alone. A closed form takes no less than one step of a batch.
_PASS, _HEAD = 0.2, 0.02
_BATCH = 32


class Effort:
    """What the trials of a search took, in epochs of a whole network; those of a costly backbone count for more.

    Args:
        trials: The trials.
        evaluator: What scored them. What a forward pass of a backbone costs is told by its registry; where it does not
            know all, they count alike.
    """

    def __init__(self, trials: Iterable[TrialRecord], evaluator: Evaluator) -> None:
        tried = [record for record in trials if record.candidate is not None and record.depth is not None]
        names = dict.fromkeys(record.candidate.backbone for record in tried if record.candidate)
        costs = {name: evaluator.registry.backbone(name).gmacs for name in names}
        known = all(costs.values())
        self._costs = {name: cost if known and cost else 1.0 for name, cost in costs.items()}
        self._stages = {name: len(evaluator.stages(name)) for name in names}
        self._solution = max(_HEAD, min(_BATCH / len(evaluator.folds[0].train_rows), 1.0))
        folds = len(evaluator.folds)
        passes = {(_backbone(record), view) for record in tried for view in range(_views(record))}
        passed = sum(_PASS * self._costs[name] for name, _ in passes)
        self.total = passed + sum(
            self.of_epochs(record, record.epochs) * (folds if self._frozen(record) else 1) for record in tried
        )

    def of_fold(self, record: TrialRecord) -> float:
        """Return what training a trial's candidate for its epochs takes on another fold."""
        return self.of_epochs(record, record.best_epoch)

    def of_epochs(self, record: TrialRecord, epochs: int) -> float:
        """Return what so many epochs of a trial's candidate take on one fold; none are those of a closed form."""
        trained = 1.0 - (record.depth or 0) / self._stages[_backbone(record)]
        return self._costs[_backbone(record)] * (epochs * (trained + _HEAD) if epochs else self._solution)

    def whole_epochs(self, share: float, backbone: str) -> float:
        """Return how many epochs of a whole backbone a share of all that was trained comes to."""
        return share * self.total / self._costs[backbone]

    def _frozen(self, record: TrialRecord) -> bool:
        return record.depth == self._stages[_backbone(record)]


def _backbone(record: TrialRecord) -> str:
    assert record.candidate is not None  # only these take part
    return record.candidate.backbone


def _views(record: TrialRecord) -> int:
    assert record.candidate is not None  # only these take part
    return record.candidate.views
