"""How much the estimate of the winner is inflated by the number of candidates that it was chosen from.

The best of many estimates is the best partly by luck. Bootstrap bias corrected cross-validation (BBC-CV, Tsamardinos
et al. 2018, Machine Learning 107) repeats the choice: it draws examples with replacement, chooses the candidate that is
best on them, and scores that one on the examples that were not drawn. Nothing is trained again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from autotransfer.search.records import TrialRecord, Trials
from autotransfer.task import Task

__all__ = ["Inflation", "estimate_inflation"]

_DRAWS = 200
# Where every score is a call of a scorer, so many draws and leading candidates have to do.
_SLOW_DRAWS, _SLOW_CANDIDATES = 40, 12
# Numbers that are drawn at most: where examples are many, fewer draws tell as much.
_NUMBERS = 4_000_000
# Fewer examples than this are not worth drawing from.
_FEWEST = 10


@dataclass(frozen=True, kw_only=True)
class Inflation:
    """What choosing the best of many candidates adds to its score.

    Attributes:
        inflation: By how much the winner's validation score is expected to be too high; 0 at least.
        corrected: The winner's validation score less that: what to expect on new examples.
        candidates: Number of candidates among which the choice was repeated.
        tried: Number of candidates that the search chose from.
    """

    inflation: float
    corrected: float
    candidates: int
    tried: int

    def to_json(self) -> dict[str, Any]:
        """Return the estimate as JSON."""
        return asdict(self)


def estimate_inflation(
    best: TrialRecord, trials: Trials, task: Task, targets: np.ndarray, *, seed: int = 0
) -> Inflation | None:
    """Estimate by how much the winner's score flatters, from the out-of-fold outputs of the candidates.

    Candidates that trained stages may be scored on one fold only. They take part with the examples of that fold, and
    what the search took off their score for it (their objective is lower) is taken off every draw, too: the choice is
    repeated as the search made it.

    Args:
        best: The winner.
        trials: All trials; those that are complete and whose outputs were kept take part.
        task: The task.
        targets: Encoded targets of all examples.
        seed: Seed of the draws.

    Returns:
        The estimate; None where there is no choice to repeat, or too few examples.
    """
    tried = [record for record in trials.leaderboard() if record.state in ("complete", "paused")]
    records = [record for record in tried if record.scores is not None]
    fast = task.single_label and task.metric in ("accuracy", "balanced_accuracy")
    # In the order of the trials: were ties broken by who leads on all examples, those not drawn would take part.
    records = sorted(records if fast else records[:_SLOW_CANDIDATES], key=lambda record: record.number)
    if len(records) < 2 or best.score is None or best.scores is None:
        return None
    rows = np.flatnonzero(np.any([_scored(record) for record in records], axis=0))
    if len(rows) < _FEWEST:
        return None
    count = min(_DRAWS, max(_SLOW_DRAWS, _NUMBERS // len(rows))) if fast else _SLOW_DRAWS
    draws = np.random.default_rng(seed).multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=count)
    expected = _expected(records, task, targets, rows, draws)
    if not np.isfinite(expected):
        return None
    # A choice never makes an estimate too low.
    inflation = max(best.score - _handicap(best, len(rows)) - expected, 0.0)
    return Inflation(inflation=inflation, corrected=best.score - inflation, candidates=len(records), tried=len(tried))


def _expected(
    records: Sequence[TrialRecord], task: Task, targets: np.ndarray, rows: np.ndarray, draws: np.ndarray
) -> float:
    """Return the mean score, on the examples not drawn, of the candidates that are best on those drawn."""
    handicaps = np.array([_handicap(record, len(rows)) for record in records])
    inside = _scores(records, task, targets, rows, draws) - handicaps
    chosen = np.where(np.isnan(inside), -np.inf, inside).argmax(1)
    outside = [
        _scores([records[choice]], task, targets, rows, left[None])[0, 0] - handicaps[choice]
        for choice, left in zip(chosen, (draws == 0).astype(int), strict=True)
    ]
    finite = [value for value in outside if np.isfinite(value)]
    return float(np.mean(finite)) if finite else np.nan


def _handicap(record: TrialRecord, examples: int) -> float:
    """Return what the search took off the score of a candidate that was scored on fewer examples than others."""
    return 0.0 if _scored(record).sum() == examples else (record.score or 0.0) - (record.objective or 0.0)


def _scores(
    records: Sequence[TrialRecord], task: Task, targets: np.ndarray, rows: np.ndarray, draws: np.ndarray
) -> np.ndarray:
    """Return scores (draws, candidates) on rows that count as often as they were drawn (draws, rows); NaN for none."""
    if not (task.single_label and task.metric in ("accuracy", "balanced_accuracy")):
        return np.array(
            [[_score(record, task, targets, np.repeat(rows, draw)) for record in records] for draw in draws]
        )
    truth = targets[rows]
    scored = np.array([_scored(record)[rows] for record in records])
    right = np.array([_outputs(record)[rows].argmax(1) == truth for record in records]) & scored
    if task.metric == "accuracy":
        return _means(right, scored, draws)
    recalls = np.array([_means(right[:, of], scored[:, of], draws[:, of]) for of in _members(truth)])
    there = ~np.isnan(recalls)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(there, recalls, 0.0).sum(0) / there.sum(0))


def _means(right: np.ndarray, scored: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the share (draws, candidates) of right examples among the drawn ones that a candidate was scored on."""
    weights = draws.astype(np.float32)
    with np.errstate(invalid="ignore"):
        return np.asarray((weights @ right.T.astype(np.float32)) / (weights @ scored.T.astype(np.float32)))


def _members(truth: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(truth == label) for label in np.unique(truth)]


def _score(record: TrialRecord, task: Task, targets: np.ndarray, rows: np.ndarray) -> float:
    rows = rows[_scored(record)[rows]]
    return task.score(targets[rows], _outputs(record)[rows]) if len(rows) else np.nan


def _outputs(record: TrialRecord) -> np.ndarray:
    assert record.scores is not None  # only these take part
    return record.scores


def _scored(record: TrialRecord) -> np.ndarray:
    """Return which examples (N,) a candidate was scored on."""
    return np.asarray(~np.isnan(_outputs(record)).any(1))
