"""The trials of a search: one list, which everything else reads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

import numpy as np

from autotransfer.candidate import Candidate
from autotransfer.search.proposal import SourceName

__all__ = ["FAILED_LATER", "State", "TrialRecord", "Trials"]

# The best trials keep their predictions, whatever memory these take; the others do while all take no more than this.
LEADERS_WITH_PREDICTIONS = 10
MAX_PREDICTIONS_BYTES = 64 * 2**20

State = Literal["complete", "paused", "pruned", "failed"]

FAILED_LATER = "could not go on: "
"""How the reason of a trial begins that failed when it went on, and ended with the score that it had before."""


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One evaluation of one candidate.

    Attributes:
        number: Position in the study.
        state: How it ended; a paused one can go on.
        candidate: What was tried; None when no candidate could be made.
        source: Which part of the search proposed it.
        score: Score on the validation examples; None when there is none.
        objective: What the search maximises: an estimate of the score on all folds, less a small share of the log loss.
        best_epoch: Epoch of that score; 0 for closed forms.
        epochs: Epochs that were trained.
        seconds: Wall time.
        depth: Number of frozen leading stages.
        reason: Why it was pruned or failed.
        curve: Score after each epoch.
        objectives: Objective after each epoch, as if the training had ended there.
        sample_score: Score on a sample of the examples; None when there is none.
        latency_seconds: Seconds that the candidate takes for a prediction as a model; None where this is not known.
        size_bytes: Bytes of the files of such a model; None where this is not known.
        predictions: Probabilities or values of the validation examples (N, outputs); the best trials keep them.
    """

    number: int
    state: State
    candidate: Candidate | None
    source: SourceName = "sampled"
    score: float | None = None
    objective: float | None = None
    best_epoch: int = 0
    epochs: int = 0
    seconds: float = 0.0
    depth: int | None = None
    reason: str = ""
    curve: tuple[float, ...] = ()
    objectives: tuple[float, ...] = ()
    sample_score: float | None = None
    latency_seconds: float | None = field(default=None, compare=False)
    size_bytes: int | None = field(default=None, compare=False)
    predictions: np.ndarray | None = field(default=None, compare=False, repr=False)

    @property
    def can_win(self) -> bool:
        """Whether it has an objective, and ended or was paused: only such trials are compared."""
        return self.state in ("complete", "paused") and self.objective is not None

    @property
    def failed_later(self) -> bool:
        """Whether it failed when it went on, and ended with the score that it had before."""
        return self.state == "complete" and self.reason.startswith(FAILED_LATER)

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON, without the predictions."""
        data = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "predictions"}
        candidate = None if self.candidate is None else self.candidate.to_json()
        return {**data, "candidate": candidate, "curve": list(self.curve), "objectives": list(self.objectives)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrialRecord:
        """Read what ``to_json`` wrote."""
        candidate = None if data["candidate"] is None else Candidate.from_json(data["candidate"])
        curves = {name: tuple(data[name]) for name in ("curve", "objectives")}
        return cls(**{**data, "candidate": candidate, **curves})

    def to_row(self) -> dict[str, Any]:
        """Return the record as one flat row."""
        row: dict[str, Any] = {
            "number": self.number,
            "state": self.state,
            "source": self.source,
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
        latency = self.latency_seconds
        return row | {
            "latency_ms": None if latency is None else round(latency * 1e3, 4),
            "size_bytes": self.size_bytes,
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
        why_none_fits: Why no candidate fits into the budget; empty where one does.
    """

    records: list[TrialRecord] = field(default_factory=list)
    why_none_fits: str = ""

    def __iter__(self) -> Iterator[TrialRecord]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def add(self, record: TrialRecord) -> None:
        """Add a record, or replace the one with its number.

        Only the best trials keep their predictions, so that memory does not grow with the number of trials.
        """
        self.records[record.number : record.number + 1] = [record]
        taken = 0
        for place, holder in enumerate(r for r in self.leaderboard() if r.predictions is not None):
            taken += 0 if holder.predictions is None else holder.predictions.nbytes
            if place >= LEADERS_WITH_PREDICTIONS and taken > MAX_PREDICTIONS_BYTES:
                self.records[holder.number] = replace(holder, predictions=None)

    @property
    def best(self) -> TrialRecord | None:
        """The trial with the highest objective, unless it was pruned; the earlier one of equals."""
        able = [record for record in self.records if record.can_win]
        return max(able, key=lambda record: (record.objective, -record.number)) if able else None

    def counts(self) -> dict[str, int]:
        """Return the number of trials by state."""
        return {state: sum(r.state == state for r in self.records) for state in get_args(State)}

    def leaderboard(self) -> list[TrialRecord]:
        """Return the trials that have a score, best first, the pruned ones after all others."""
        scored: Iterable[TrialRecord] = (r for r in self.records if r.objective is not None)
        return sorted(scored, key=lambda r: (r.state == "pruned", -(r.objective or 0.0), r.number))

    def backbones(self) -> list[str]:
        """Return the backbones, the best first, without those that were scored on a sample alone."""
        tried = [record for record in self if record.candidate is not None]
        scored = [record for record in tried if record.state != "pruned" or record.epochs]
        names = dict.fromkeys(record.candidate.backbone for record in scored or tried if record.candidate)
        return sorted(names, key=lambda name: -self.objective_of(name))

    def best_of(self, backbone: str) -> TrialRecord | None:
        """Return the trial of a backbone with the highest objective, whatever its state."""
        own = [record for record in self if record.candidate and record.candidate.backbone == backbone]
        return max(own, key=lambda record: -math.inf if record.objective is None else record.objective, default=None)

    def objective_of(self, backbone: str) -> float:
        """Return the highest objective of a backbone; minus infinity where it has none."""
        record = self.best_of(backbone)
        return -math.inf if record is None or record.objective is None else record.objective

    def longest(self, backbone: str) -> float:
        """Return the seconds of a backbone's longest trial, which had to wait for the pass of all examples."""
        return max((r.seconds for r in self if r.candidate and r.candidate.backbone == backbone), default=0.0)
