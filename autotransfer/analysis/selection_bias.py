"""Selection bias: by how much the model's score is too high because it is the best of many.

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
from autotransfer.selection.ensemble import ensemble_candidates, greedy_weights
from autotransfer.selection.out_of_fold import OutOfFold
from autotransfer.selection.records import is_scored, predictions_of, rank_records
from autotransfer.selection.selected_model import SelectedModel
from autotransfer.tasks.task import Task

__all__ = ["SelectionBias", "estimate_selection_bias"]

# Resamples of the bootstrap. Where examples are many, fewer resamples tell as much: the number of drawn positions is
# bounded, too.
MAX_RESAMPLES = 200
MAX_DRAWN_POSITIONS = 4_000_000
# Resamples, and leading candidates, for metrics that a scorer computes, which takes a millisecond each time.
SLOW_RESAMPLES, SLOW_CANDIDATES = 40, 12
# Bounds for ensembles, whose weights are chosen anew in each resample.
MAX_ENSEMBLE_NUMBERS, MIN_ENSEMBLE_RESAMPLES = 2_000_000, 10
# Fewest groups of examples that a bootstrap can say anything of.
MIN_GROUPS = 10
# Metrics that are computed for all resamples at once.
FAST_METRICS = ("accuracy", "balanced_accuracy")


@dataclass(frozen=True, kw_only=True)
class SelectionBias:
    """What choosing the best of many candidates adds to the score of the model.

    Attributes:
        bias: By how much the model's validation score is expected to be too high; 0 at least.
        unbiased_estimate: The model's validation score less the bias: what to expect on new examples.
        candidates: Number of candidates among which the choice was repeated.
        tried: Number of candidates that the search chose from.
    """

    bias: float
    unbiased_estimate: float
    candidates: int
    tried: int

    def to_json(self) -> dict[str, Any]:
        """Return the estimate as JSON."""
        return asdict(self)


def estimate_selection_bias(
    selected: SelectedModel,
    trials: Iterable[TrialRecord],
    fold: Fold,
    *,
    seed: int = 0,
) -> SelectionBias | None:
    """Estimate the selection bias of the model's score from the out-of-fold predictions of the candidates.

    Candidates that train stages may be scored on one fold only. They take part with the examples of that fold. Their
    objective is an estimate for all folds. What it is less than their score is taken off in each resample, too: the
    choice is repeated as the search made it. Of an ensemble, members and weights are chosen again in each resample.
    Groups are drawn as wholes.

    Args:
        selected: The model.
        trials: All trials; those that can win, and whose predictions were kept, take part.
        fold: The task, the targets of all examples, and their groups.
        seed: Seed of the resamples.

    Returns:
        The estimate; None where there is no choice to repeat, or too few groups.
    """
    task, trials = fold.task, list(trials)
    best = next(record for record in trials if record.number == selected.trials[0])
    records = _participants(trials, task)
    if len(records) < 2 or best.score is None or best.predictions is None:
        return None
    rows = np.flatnonzero(np.any([is_scored(record) for record in records], axis=0))
    group_ids = np.arange(len(rows))
    if fold.group_ids is not None:
        group_ids = np.unique(fold.group_ids[rows], return_inverse=True)[1]
    if (count := group_ids.max(initial=-1) + 1) < MIN_GROUPS:
        return None
    is_ensemble = selected.kind == "ensemble"
    number = _number_of_resamples(task, len(rows), predictions_of(best).shape[1], is_ensemble=is_ensemble)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=number)[:, group_ids]
    expected = _expected_score(records, fold, rows, draws, _choose_ensemble if is_ensemble else _choose_single)
    found = np.flatnonzero(~np.isnan(selected.predictions).any(1))
    score = fold.score(found, selected.predictions[found])
    if not np.isfinite(expected) or not np.isfinite(score):
        return None
    # A choice never makes an estimate too low.
    bias = max(score - _deduction(best, len(rows)) - expected, 0.0)
    return SelectionBias(
        bias=bias,
        unbiased_estimate=score - bias,
        candidates=len(records),
        tried=sum(record.can_win for record in trials),
    )


def _is_fast(task: Task) -> bool:
    return task.single_label and task.metric in FAST_METRICS


def _participants(trials: Sequence[TrialRecord], task: Task) -> list[TrialRecord]:
    """Return the trials among which the choice is repeated, in order of their numbers.

    Were ties broken by who leads on all examples, the examples that were not drawn would take part in the choice.
    """
    records = [record for record in rank_records(trials) if record.predictions is not None]
    chosen = records if _is_fast(task) else records[:SLOW_CANDIDATES]
    return sorted(chosen, key=lambda record: record.number)


def _number_of_resamples(task: Task, examples: int, outputs: int, *, is_ensemble: bool) -> int:
    if is_ensemble:
        return int(np.clip(MAX_ENSEMBLE_NUMBERS // (examples * outputs), MIN_ENSEMBLE_RESAMPLES, SLOW_RESAMPLES))
    if _is_fast(task):
        return min(MAX_RESAMPLES, max(SLOW_RESAMPLES, MAX_DRAWN_POSITIONS // examples))
    return SLOW_RESAMPLES


Repeat = Callable[[Sequence[TrialRecord], np.ndarray, Fold, np.ndarray, np.ndarray], TrialRecord]
"""Repeats a choice from trials, their scores on the drawn examples, the fold, the rows, and how often each is drawn."""


def _expected_score(
    records: Sequence[TrialRecord], fold: Fold, rows: np.ndarray, draws: np.ndarray, repeat: Repeat
) -> float:
    """Return the mean score, on the examples that were not drawn, of what is chosen on the drawn ones."""
    deductions = np.array([_deduction(record, len(rows)) for record in records])
    inside = _scores(records, fold, rows, draws) - deductions
    outside = []
    for found, draw in zip(np.where(np.isnan(inside), -np.inf, inside), draws, strict=True):
        chosen = repeat(records, found, fold, rows, draw)
        left = (draw == 0).astype(int)[None]
        outside.append(_scores([chosen], fold, rows, left)[0, 0] - deductions[found.argmax()])
    finite = [value for value in outside if np.isfinite(value)]
    return float(np.mean(finite)) if finite else np.nan


def _choose_single(
    records: Sequence[TrialRecord], found: np.ndarray, fold: Fold, rows: np.ndarray, draw: np.ndarray
) -> TrialRecord:
    """Return the trial that is best on the drawn examples."""
    return records[int(found.argmax())]


def _choose_ensemble(
    records: Sequence[TrialRecord], found: np.ndarray, fold: Fold, rows: np.ndarray, draw: np.ndarray
) -> TrialRecord:
    """Return the ensemble around the trial that is best on the drawn examples, with weights that are chosen there."""
    best = records[int(found.argmax())]
    ranked = [replace(record, objective=float(score)) for record, score in zip(records, found, strict=True)]
    pool = ensemble_candidates(best, ranked)
    drawn = np.repeat(rows, draw)
    drawn = drawn[is_scored(best)[drawn]]
    if not len(drawn):
        return best
    weights_of_drawn = fold.weights_of(drawn)
    held_out = OutOfFold(task=fold.task, rows=drawn, targets=fold.targets[drawn], weights=weights_of_drawn, parts=())
    weights = greedy_weights(held_out, np.stack([predictions_of(record)[drawn] for record in pool]))
    mixed = sum(weight * predictions_of(record) for weight, record in zip(weights, pool, strict=True) if weight)
    return replace(best, predictions=np.where(is_scored(best)[:, None], mixed, np.nan))


def _deduction(record: TrialRecord, examples: int) -> float:
    """Return how much less than its score the objective of a candidate is that was scored on fewer examples."""
    return 0.0 if is_scored(record).sum() == examples else (record.score or 0.0) - (record.objective or 0.0)


def _scores(records: Sequence[TrialRecord], fold: Fold, rows: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return scores (draws, candidates) on rows that count as often as they were drawn (draws, rows); NaN for none."""
    if not _is_fast(fold.task):
        return np.array([[_score(record, fold, np.repeat(rows, draw)) for record in records] for draw in draws])
    truth, weights = fold.targets[rows], fold.weights_of(rows)
    draws = draws if weights is None else draws * weights
    scored = np.array([is_scored(record)[rows] for record in records])
    right = np.array([predictions_of(record)[rows].argmax(1) == truth for record in records]) & scored
    if fold.task.metric == "accuracy":
        return _means(right, scored, draws)
    recalls = np.array([_means(right[:, of], scored[:, of], draws[:, of]) for of in _rows_of_classes(truth)])
    there = ~np.isnan(recalls)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(there, recalls, 0.0).sum(0) / there.sum(0))


def _means(right: np.ndarray, scored: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the share (draws, candidates) of right examples among the drawn ones that a candidate was scored on."""
    weights = draws.astype(np.float32)
    with np.errstate(invalid="ignore"):
        return np.asarray((weights @ right.T.astype(np.float32)) / (weights @ scored.T.astype(np.float32)))


def _rows_of_classes(truth: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(truth == label) for label in np.unique(truth)]


def _score(record: TrialRecord, fold: Fold, rows: np.ndarray) -> float:
    rows = rows[is_scored(record)[rows]]
    return fold.score(rows, predictions_of(record)[rows]) if len(rows) else np.nan
