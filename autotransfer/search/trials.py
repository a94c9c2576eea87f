"""What is remembered of trials."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

import numpy as np

from autotransfer.candidate import Candidate

__all__ = ["State", "TrialRecord", "Trials"]

# Bytes that predictions of validation examples may take in all; the leaders' are kept whatever they take.
_LEADERS, _BYTES = 10, 64 * 2**20

State = Literal["complete", "paused", "pruned", "failed"]


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One evaluation of one candidate.

    Attributes:
        number: Position in the study.
        state: How it ended; a paused one can go on.
        candidate: What was tried; None when not even that could be made.
        score: Score on the validation examples; None when there is none.
        objective: What candidates are compared by: what the score is worth, made fair, less its doubt.
        best_epoch: Epoch of that score; 0 for closed forms.
        epochs: Epochs that were trained.
        seconds: Wall time.
        depth: Number of frozen leading stages.
        reason: Why it was pruned or failed.
        curve: Score after each epoch.
        sampled: Score on a sample of the images; None when there is none.
        predictions: Probabilities or values of the validation examples (N, outputs); those of the best trials are kept.
    """

    number: int
    state: State
    candidate: Candidate | None
    score: float | None = None
    objective: float | None = None
    best_epoch: int = 0
    epochs: int = 0
    seconds: float = 0.0
    depth: int | None = None
    reason: str = ""
    curve: tuple[float, ...] = ()
    sampled: float | None = None
    predictions: np.ndarray | None = field(default=None, compare=False, repr=False)

    @property
    def stands(self) -> bool:
        """Whether it can win, and counts wherever candidates are compared: it ended, or it was paused with a score."""
        return self.state in ("complete", "paused") and self.objective is not None

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON, without the outputs."""
        data = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "predictions"}
        candidate = None if self.candidate is None else self.candidate.to_json()
        return {**data, "candidate": candidate, "curve": list(self.curve)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrialRecord:
        """Read what ``to_json`` wrote."""
        candidate = None if data["candidate"] is None else Candidate.from_json(data["candidate"])
        return cls(**{**data, "candidate": candidate, "curve": tuple(data["curve"])})

    def to_row(self) -> dict[str, Any]:
        """Return the record as one flat row."""
        row: dict[str, Any] = {
            "number": self.number,
            "state": self.state,
            "score": self.score,
            "objective": self.objective,
        }
        candidate = self.candidate
        row |= {
            "backbone": candidate.backbone if candidate else "",
            "head": candidate.head if candidate else "",
            "freeze": candidate.freeze if candidate else "",
            "depth": self.depth,
        }
        if candidate:
            parts: Mapping[str, Mapping[str, Any]] = {
                "head": candidate.head_params,
                "freeze": candidate.freeze_params,
                "training": candidate.training,
            }
            row |= {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}
        return row | {
            "best_epoch": self.best_epoch,
            "epochs": self.epochs,
            "seconds": round(self.seconds, 3),
            "reason": self.reason,
        }


@dataclass
class Trials:
    """The trials of a search, in order.

    Attributes:
        records: Their records, by number.
        misfit: Why nothing could be tried, where the budget was too small; else nothing.
    """

    records: list[TrialRecord] = field(default_factory=list)
    misfit: str = ""

    def __iter__(self) -> Iterator[TrialRecord]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def add(self, record: TrialRecord) -> None:
        """Add a record, in the place of an earlier one of that number.

        Only the best keep their predictions, so that memory does not grow with trials.
        """
        self.records[record.number : record.number + 1] = [record]
        taken = 0
        for place, holder in enumerate(r for r in self.leaderboard() if r.predictions is not None):
            taken += 0 if holder.predictions is None else holder.predictions.nbytes
            if place >= _LEADERS and taken > _BYTES:
                self.records[holder.number] = replace(holder, predictions=None)

    @property
    def best(self) -> TrialRecord | None:
        """The trial with the highest objective, unless it was pruned; the earlier one of equals."""
        standing = [record for record in self.records if record.stands]
        return max(standing, key=lambda record: (record.objective, -record.number)) if standing else None

    def counts(self) -> dict[str, int]:
        """Return the number of trials by state."""
        return {state: sum(r.state == state for r in self.records) for state in get_args(State)}

    def leaderboard(self) -> list[TrialRecord]:
        """Return the trials that have a score, best first, the pruned ones after all others."""
        scored: Iterable[TrialRecord] = (r for r in self.records if r.objective is not None)
        return sorted(scored, key=lambda r: (r.state == "pruned", -(r.objective or 0.0), r.number))

    def backbones(self) -> list[str]:
        """Return the backbones, the best first, without those of which no more than a sample was worth its time."""
        tried = [record for record in self if record.candidate is not None]
        passed = [record for record in tried if record.state != "pruned" or record.epochs]
        names = dict.fromkeys(record.candidate.backbone for record in passed or tried if record.candidate)
        return sorted(names, key=lambda name: -self.objective_of(name))

    def best_of(self, backbone: str) -> TrialRecord | None:
        """Return the trial of a backbone with the highest objective, whatever became of it."""
        own = [record for record in self if record.candidate and record.candidate.backbone == backbone]
        return max(own, key=lambda record: -math.inf if record.objective is None else record.objective, default=None)

    def objective_of(self, backbone: str) -> float:
        """Return the highest objective of a backbone; minus infinity where it has none."""
        record = self.best_of(backbone)
        return -math.inf if record is None or record.objective is None else record.objective

    def longest(self, backbone: str) -> float:
        """Return the seconds of a backbone's trial that took longest: the one that had to wait for its pass."""
        return max((r.seconds for r in self if r.candidate and r.candidate.backbone == backbone), default=0.0)
