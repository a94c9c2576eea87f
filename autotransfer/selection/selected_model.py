"""What becomes the model: one candidate, an ensemble of several, or a soup of their weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from autotransfer.candidate import Candidate
from autotransfer.search.trials import TrialRecord
from autotransfer.selection.records import candidate_of, predictions_of

__all__ = ["PlannedMember", "RefitCandidate", "SelectedModel"]


@dataclass(frozen=True, kw_only=True)
class RefitCandidate:
    """A trial's candidate that is to be trained on all examples.

    Attributes:
        trial: Number of the trial.
        candidate: The candidate.
        epochs: Number of epochs that it trains for; 0 for closed forms.
    """

    trial: int
    candidate: Candidate
    epochs: int

    @classmethod
    def of(cls, record: TrialRecord) -> RefitCandidate:
        """Take the candidate of a trial, which trains until its best epoch."""
        return cls(trial=record.number, candidate=candidate_of(record), epochs=record.best_epoch)

    def to_json(self) -> dict[str, Any]:
        """Return the candidate as JSON."""
        return {"trial": self.trial, "candidate": self.candidate.to_json(), "epochs": self.epochs}


@dataclass(frozen=True, kw_only=True)
class PlannedMember:
    """One network of the model before it is trained on all examples.

    Attributes:
        candidates: What trains it. The weights of several candidates are averaged: a soup.
        weight: Share of the prediction; the weights of all members sum to 1.
    """

    candidates: tuple[RefitCandidate, ...]
    weight: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """Return the member as JSON."""
        return {"weight": self.weight, "candidates": [one.to_json() for one in self.candidates]}


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
        member = PlannedMember(candidates=(RefitCandidate.of(record),))
        return cls(members=(member,), predictions=predictions_of(record))

    @property
    def kind(self) -> Literal["single", "ensemble", "soup"]:
        """Whether it is one candidate, an ensemble or a soup."""
        if len(self.members) > 1:
            return "ensemble"
        return "soup" if len(self.trials) > 1 else "single"

    @property
    def trials(self) -> tuple[int, ...]:
        """Numbers of the trials that it is made of, the best one first."""
        return tuple(one.trial for member in self.members for one in member.candidates)

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
