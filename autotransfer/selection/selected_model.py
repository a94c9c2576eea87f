"""What becomes the model: one candidate, or an ensemble of several."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from autotransfer.candidate import Candidate
from autotransfer.search.trials import TrialRecord
from autotransfer.selection.records import candidate_of, predictions_of

__all__ = ["PlannedMember", "SelectedModel"]


@dataclass(frozen=True, kw_only=True)
class PlannedMember:
    """One network of the model before it is trained on all examples.

    Attributes:
        trial: Number of the trial.
        candidate: The trial's candidate.
        epochs: Number of epochs that it trains for; 0 for closed forms.
        weight: Share of the prediction; the weights of all members sum to 1.
    """

    trial: int
    candidate: Candidate
    epochs: int
    weight: float = 1.0

    @classmethod
    def of(cls, record: TrialRecord, weight: float = 1.0) -> PlannedMember:
        """Take the candidate of a trial, which trains until its best epoch."""
        return cls(trial=record.number, candidate=candidate_of(record), epochs=record.best_epoch, weight=weight)

    def to_json(self) -> dict[str, Any]:
        """Return the member as JSON."""
        return {**asdict(self), "candidate": self.candidate.to_json()}


@dataclass(frozen=True, kw_only=True)
class SelectedModel:
    """What becomes the model.

    Attributes:
        members: Its networks.
        predictions: Predictions (N, outputs) for examples that were held out; NaN for the others.
    """

    members: tuple[PlannedMember, ...]
    predictions: np.ndarray = field(compare=False, repr=False)

    @classmethod
    def single(cls, record: TrialRecord) -> SelectedModel:
        """Take the candidate of one trial."""
        return cls(members=(PlannedMember.of(record),), predictions=predictions_of(record))

    @property
    def kind(self) -> Literal["single", "ensemble"]:
        """Whether it is one candidate or an ensemble."""
        return "ensemble" if len(self.members) > 1 else "single"

    @property
    def trials(self) -> tuple[int, ...]:
        """Numbers of the trials that it is made of, the best one first."""
        return tuple(member.trial for member in self.members)

    def to_json(self) -> dict[str, Any]:
        """Return what the model is made of as JSON."""
        return {
            "kind": self.kind,
            "trials": list(self.trials),
            "members": [member.to_json() for member in self.members],
        }

    def __str__(self) -> str:
        if self.kind == "single":
            return f"trial {self.trials[0]}"
        return f"the {self.kind} of trials {', '.join(map(str, self.trials))}"
