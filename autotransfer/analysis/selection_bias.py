"""How much the estimate of the model is inflated by the number of candidates that it was chosen from.

The best of many estimates is the best partly by luck. Bootstrap bias corrected cross-validation (BBC-CV, Tsamardinos
et al. 2018, Machine Learning 107) repeats the choice: it draws examples with replacement, chooses the candidate that is
best on them, and scores that one on the examples that were not drawn. Nothing is trained again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from autotransfer.data.folds import Fold
from autotransfer.search.trials import TrialRecord
from autotransfer.selection.ensemble import diverse, greedy_weights
from autotransfer.selection.out_of_fold import OutOfFold
from autotransfer.selection.selected import Selected
from autotransfer.tasks.task import Task

__all__ = ["SelectionBias", "estimate_selection_bias"]

_DRAWS = 200
# Where every score is a call of a scorer, so many draws and leading candidates have to do.
_SLOW_DRAWS, _SLOW_CANDIDATES = 40, 12
# Numbers that are drawn at most: where examples are many, fewer draws tell as much.
_NUMBERS = 4_000_000
# Numbers of predictions by which the draws for an ensemble are bounded, which is chosen anew in each, and the fewest.
_ENSEMBLE_NUMBERS, _LEAST_DRAWS = 2_000_000, 10
# Fewer units than this are not worth drawing from.
_FEWEST = 10


@dataclass(frozen=True, kw_only=True)
class SelectionBias:
    """What choosing the best of many candidates adds to the score of the model.

    Attributes:
        inflation: By how much the model's validation score is expected to be too high; 0 at least.
        corrected: The model's validation score less that: what to expect on new examples.
        candidates: Number of candidates among which the choice was repeated.
        tried: Number of candidates that the search chose from.
        of: The model, in words: a trial alone, or the ensemble or soup of several.
    """

    inflation: float
    corrected: float
    candidates: int
    tried: int
    of: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the estimate as JSON."""
        return asdict(self)


def estimate_selection_bias(
    selected: Selected,
    trials: Iterable[TrialRecord],
    fold: Fold,
    *,
    averages: Sequence[np.ndarray] = (),
    seed: int = 0,
) -> SelectionBias | None:
    """Estimate by how much the model's score flatters, from the out-of-fold outputs of the candidates.

    Candidates that trained stages may be scored on one fold only. They take part with the examples of that fold, and
    what the search took off their score for it (their objective is lower) is taken off every draw, too: the choice is
    repeated as the search made it. Of an ensemble, its members and their weights are chosen again in every draw; the
    averages that a soup was chosen from are further candidates. Units are drawn as wholes.

    Args:
        selected: The model.
        trials: All trials; those that ended or are paused, and whose outputs were kept, take part.
        fold: The task, the targets of all examples, and their units.
        averages: Predictions (N, outputs) of each average that a soup was chosen from.
        seed: Seed of the draws.

    Returns:
        The estimate; None where there is no choice to repeat, or too few units.
    """
    task, by_number = fold.task, {record.number: record for record in trials}
    tried = sorted((r for r in by_number.values() if r.stands), key=lambda r: (-(r.objective or 0.0), r.number))
    records, best = [record for record in tried if record.predictions is not None], by_number[selected.trials[0]]
    fast = task.single_label and task.metric in ("accuracy", "balanced_accuracy")
    # In the order of the trials: were ties broken by who leads on all examples, those not drawn would take part.
    records = sorted(records if fast else records[:_SLOW_CANDIDATES], key=lambda record: record.number)
    records += _as_records(averages, best, fold)
    if len(records) < 2 or best.score is None or best.predictions is None:
        return None
    rows = np.flatnonzero(np.any([_scored(record) for record in records], axis=0))
    group_ids = (
        np.arange(len(rows)) if fold.group_ids is None else np.unique(fold.group_ids[rows], return_inverse=True)[1]
    )
    if (count := group_ids.max(initial=-1) + 1) < _FEWEST:
        return None
    number = min(_DRAWS, max(_SLOW_DRAWS, _NUMBERS // len(rows))) if fast else _SLOW_DRAWS
    if selected.kind == "ensemble":
        number = int(np.clip(_ENSEMBLE_NUMBERS // (len(rows) * _outputs(best).shape[1]), _LEAST_DRAWS, _SLOW_DRAWS))
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=number)[:, group_ids]
    repeat = _together if selected.kind == "ensemble" else _alone
    expected = _expected(records, fold, rows, draws, repeat)
    found = np.flatnonzero(~np.isnan(selected.predictions).any(1))
    score = task.score(fold.targets[found], selected.predictions[found])
    if not np.isfinite(expected) or not np.isfinite(score):
        return None
    # A choice never makes an estimate too low.
    inflation = max(score - _handicap(best, len(rows)) - expected, 0.0)
    return SelectionBias(
        inflation=inflation,
        corrected=score - inflation,
        candidates=len(records) - len(averages),
        tried=len(tried),
        of=str(selected),
    )


def _as_records(averages: Sequence[np.ndarray], best: TrialRecord, fold: Fold) -> list[TrialRecord]:
    """Return averages of weights as if each were a trial, which has the best one's handicap."""
    found = []
    for predictions in averages:
        rows = np.flatnonzero(~np.isnan(predictions).any(1))
        score = fold.task.score(fold.targets[rows], predictions[rows])
        handicap = (best.score or 0.0) - (best.objective or 0.0)
        found.append(replace(best, score=score, objective=score - handicap, predictions=predictions))
    return found


Repeat = Callable[[Sequence[TrialRecord], np.ndarray, Fold, np.ndarray, np.ndarray], TrialRecord]
"""Chooses again: from records, their scores on what was drawn, the fold, the rows, and how often each was drawn."""


def _expected(records: Sequence[TrialRecord], fold: Fold, rows: np.ndarray, draws: np.ndarray, repeat: Repeat) -> float:
    """Return the mean score, on the examples not drawn, of what is chosen on those drawn."""
    handicaps = np.array([_handicap(record, len(rows)) for record in records])
    inside = _scores(records, fold.task, fold.targets, rows, draws) - handicaps
    outside = []
    for found, draw in zip(np.where(np.isnan(inside), -np.inf, inside), draws, strict=True):
        chosen = repeat(records, found, fold, rows, draw)
        left = (draw == 0).astype(int)[None]
        outside.append(_scores([chosen], fold.task, fold.targets, rows, left)[0, 0] - handicaps[found.argmax()])
    finite = [value for value in outside if np.isfinite(value)]
    return float(np.mean(finite)) if finite else np.nan


def _alone(
    records: Sequence[TrialRecord], found: np.ndarray, fold: Fold, rows: np.ndarray, draw: np.ndarray
) -> TrialRecord:
    """Return the record that is best on what was drawn."""
    return records[int(found.argmax())]


def _together(
    records: Sequence[TrialRecord], found: np.ndarray, fold: Fold, rows: np.ndarray, draw: np.ndarray
) -> TrialRecord:
    """Return the ensemble around the best one on what was drawn, with weights that are chosen there."""
    best = records[int(found.argmax())]
    ranked = [replace(record, objective=float(score)) for record, score in zip(records, found, strict=True)]
    pool = diverse(best, ranked)
    drawn = np.repeat(rows, draw)
    drawn = drawn[_scored(best)[drawn]]
    if not len(drawn):
        return best
    held_out = OutOfFold(task=fold.task, rows=drawn, targets=fold.targets[drawn], parts=())
    weights = greedy_weights(held_out, np.stack([_outputs(record)[drawn] for record in pool]))
    mixed = sum(weight * _outputs(record) for weight, record in zip(weights, pool, strict=True) if weight)
    return replace(best, predictions=np.where(_scored(best)[:, None], mixed, np.nan))


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
    assert record.predictions is not None  # only these take part
    return record.predictions


def _scored(record: TrialRecord) -> np.ndarray:
    """Return which examples (N,) a candidate was scored on."""
    return np.asarray(~np.isnan(_outputs(record)).any(1))
