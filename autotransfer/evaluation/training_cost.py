"""How much a search has trained, counted in epochs instead of seconds.

Where the budget is a number of trials, this bounds what the steps after the search may train: seconds differ from run
to run, and equal seeds have to give equal results.
"""

from __future__ import annotations

from collections.abc import Iterable

from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.search.trials import TrialRecord

__all__ = ["TrainingCost"]

# In epochs of a whole network: a pass of all examples through a backbone, which is forward only and fused; and an epoch
# of a head alone. A closed form takes no less than one step of a batch.
PASS_COST = 0.2
HEAD_EPOCH_COST = 0.02
BATCH_SIZE = 32


class TrainingCost:
    """What the trials of a search took, in epochs of a whole network, weighted by the cost of the backbone.

    Args:
        trials: The trials.
        evaluator: What scored them. Its registry knows the multiplications of a forward pass of each backbone; where
            it does not know all of them, backbones have equal weights.
    """

    def __init__(self, trials: Iterable[TrialRecord], evaluator: Evaluator) -> None:
        tried = [record for record in trials if record.candidate is not None and record.depth is not None]
        names = dict.fromkeys(record.candidate.backbone for record in tried if record.candidate)
        costs = {name: evaluator.registry.backbone(name).gmacs for name in names}
        weightless = {name for name in names if evaluator.registry.backbone(name).heads is not None}
        known = all(cost for name, cost in costs.items() if name not in weightless)
        self._costs = {name: cost if known and cost else 1.0 for name, cost in costs.items()}
        self._costs |= dict.fromkeys(weightless, 0.0)
        self._stages = {name: len(evaluator.stages(name)) for name in names}
        self._closed_form_cost = max(HEAD_EPOCH_COST, min(BATCH_SIZE / len(evaluator.folds[0].train_rows), 1.0))
        folds = len(evaluator.folds)
        passes = {(_backbone(record), view) for record in tried for view in range(_views(record))}
        passed = sum(PASS_COST * self._costs[name] for name, _ in passes)
        self.total = passed + sum(
            self.of_epochs(record, record.epochs) * (folds if self._is_frozen(record) else 1) for record in tried
        )

    def of_fold(self, record: TrialRecord) -> float:
        """Return the cost of training a trial's candidate for its epochs on another fold."""
        return self.of_epochs(record, record.best_epoch)

    def of_epochs(self, record: TrialRecord, epochs: int) -> float:
        """Return the cost of so many epochs of a trial's candidate on one fold; 0 epochs are a closed form."""
        trained = 1.0 - (record.depth or 0) / self._stages[_backbone(record)]
        each = self._costs[_backbone(record)]
        return each * (epochs * (trained + HEAD_EPOCH_COST) if epochs else self._closed_form_cost)

    def whole_epochs(self, share: float, backbone: str) -> float:
        """Return how many epochs of a whole backbone a share of the cost of the search comes to."""
        return share * self.total / self._costs[backbone]

    def _is_frozen(self, record: TrialRecord) -> bool:
        return record.depth == self._stages[_backbone(record)]


def _backbone(record: TrialRecord) -> str:
    assert record.candidate is not None  # only such records take part
    return record.candidate.backbone


def _views(record: TrialRecord) -> int:
    assert record.candidate is not None  # only such records take part
    return record.candidate.views
