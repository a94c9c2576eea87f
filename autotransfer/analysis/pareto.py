"""The front: the best candidates for what they take to predict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotransfer.candidate import Candidate
from autotransfer.search.trials import TrialRecord

__all__ = ["ParetoPoint", "find_front", "pick_order", "within"]

# Candidates whose latencies or sizes differ by less than this share take the same, as far as measurements tell.
SAME_COST_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class ParetoPoint:
    """A candidate than which no other one is better and takes less.

    Attributes:
        trial: Number of its trial.
        candidate: The candidate.
        score: Its score on the validation examples.
        objective: What the search maximises: an estimate of the score on all folds, less a small share of the log loss.
        latency_seconds: Seconds that it takes for a prediction as a model.
        size_bytes: Bytes of the files of such a model.
        epochs: Epochs that it is trained for; 0 for closed forms.
    """

    trial: int
    candidate: Candidate
    score: float
    objective: float
    latency_seconds: float
    size_bytes: int
    epochs: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the point as JSON."""
        return {
            "trial": self.trial,
            "candidate": self.candidate.to_json(),
            "score": self.score,
            "objective": self.objective,
            "latency_ms": round(self.latency_seconds * 1e3, 4),
            "size_bytes": self.size_bytes,
            "epochs": self.epochs,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ParetoPoint:
        """Read what ``to_json`` wrote.

        Raises:
            ConfigError: It holds no candidate.
            KeyError: A value is missing.
        """
        return cls(
            trial=data["trial"],
            candidate=Candidate.from_json(data["candidate"]),
            score=data["score"],
            objective=data["objective"],
            latency_seconds=data["latency_ms"] / 1e3,
            size_bytes=data["size_bytes"],
            epochs=data["epochs"],
        )


def find_front(records: Iterable[TrialRecord]) -> tuple[ParetoPoint, ...]:
    """Return the candidates that no other one dominates, the best first.

    A candidate dominates another one if its objective is at least as high, and it takes no more: neither longer, nor
    more bytes. Costs that differ by less than measurements tell count as equal, so that of candidates that take the
    same the best is left.
    """
    front = list[ParetoPoint]()
    for point in pick_order(records):  # whatever comes before is at least as good
        if not any(_takes_no_more(other, point) for other in front):
            front.append(point)
    return tuple(front)


def pick_order(records: Iterable[TrialRecord]) -> list[ParetoPoint]:
    """Return all candidates whose cost is known, the best first; of equals the faster one."""
    points = [point for record in records if (point := _point_of(record)) is not None]
    return sorted(points, key=lambda point: (-point.objective, point.latency_seconds, point.size_bytes, point.trial))


def within(points: Sequence[ParetoPoint], latency_seconds: float, size_bytes: float) -> list[ParetoPoint]:
    """Return the points that take no more than this, in their order."""
    return [one for one in points if one.latency_seconds <= latency_seconds and one.size_bytes <= size_bytes]


def _takes_no_more(one: ParetoPoint, other: ParetoPoint) -> bool:
    factor = 1 + SAME_COST_SHARE
    is_faster = one.latency_seconds <= factor * other.latency_seconds
    return is_faster and one.size_bytes <= factor * other.size_bytes


def _point_of(record: TrialRecord) -> ParetoPoint | None:
    candidate, score, objective = record.candidate, record.score, record.objective
    latency, size = record.latency_seconds, record.size_bytes
    if not record.can_win or candidate is None or score is None or objective is None or latency is None or size is None:
        return None
    return ParetoPoint(
        trial=record.number,
        candidate=candidate,
        score=score,
        objective=objective,
        latency_seconds=latency,
        size_bytes=size,
        epochs=record.best_epoch,
    )
