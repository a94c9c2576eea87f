"""The best candidate at every freeze depth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from autotransfer.search.trials import TrialRecord

__all__ = ["DepthScore", "best_by_depth"]


@dataclass(frozen=True, kw_only=True)
class DepthScore:
    """The best candidate of one backbone at one freeze depth.

    Attributes:
        frozen: Number of leading stages that stayed frozen.
        stages: Number of stages that the backbone has.
        backbone: Name of the backbone.
        score: Score on the validation examples that the candidate was scored on.
        objective: Objective of the candidate, by which candidates are compared.
        trial: Number of the trial.
    """

    frozen: int
    stages: int
    backbone: str
    score: float
    objective: float
    trial: int

    @property
    def trained(self) -> int:
        """Number of stages that trained."""
        return self.stages - self.frozen

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON."""
        return asdict(self)


def best_by_depth(trials: Iterable[TrialRecord], stages: Mapping[str, int]) -> tuple[DepthScore, ...]:
    """Return the best candidate of each backbone at each freeze depth, of the trials that can win.

    Args:
        trials: The trials.
        stages: Number of stages by backbone.

    Returns:
        Rows in order of the number of stages that trained; among equals the best first.
    """
    best: dict[tuple[str, int], DepthScore] = {}
    for record in trials:
        row = _row(record, stages)
        if row is not None and ((old := best.get(key := (row.backbone, row.frozen))) is None or _better(row, old)):
            best[key] = row
    return tuple(sorted(best.values(), key=lambda row: (row.trained, -row.objective, row.trial)))


def _row(record: TrialRecord, stages: Mapping[str, int]) -> DepthScore | None:
    if not record.can_win or record.candidate is None or record.depth is None:
        return None
    if record.score is None or record.objective is None:
        return None
    name = record.candidate.backbone
    return DepthScore(
        frozen=record.depth,
        stages=stages[name],
        backbone=name,
        score=record.score,
        objective=record.objective,
        trial=record.number,
    )


def _better(row: DepthScore, old: DepthScore) -> bool:
    return row.objective > old.objective
