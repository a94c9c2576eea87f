"""The finals: the best few candidates of a search are compared again, on folds and seeds that did not choose them.

The best of many scores is partly luck (the winner's curse). Candidates that train stages were scored on the first fold
only; in the finals they run on the other folds, too. Then all finalists run on further splits of the examples, each
with another seed of training. A finalist that is behind, fold by fold, is stopped by Optuna's ``WilcoxonPruner``.
Finalists are compared by the objective, as in the search.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import optuna
from optuna.trial import TrialState

from autotransfer.candidate import Candidate
from autotransfer.evaluation.objective import compute_objective
from autotransfer.search.jobs import describe
from autotransfer.search.study import make_finals_study
from autotransfer.search.trials import TrialRecord
from autotransfer.selection.finals_plan import FinalsPlan
from autotransfer.selection.fold_runner import FoldId, FoldRunner
from autotransfer.selection.records import candidate_of, predictions_of
from autotransfer.tasks.bootstrap import paired_standard_error
from autotransfer.tasks.score import format_score

__all__ = ["Finalist", "Finals", "hold_finals"]

# Folds after which it is no longer asked whether a finalist is behind: the time of an exact test with ties doubles with
# each fold. Closed forms, which take less time than the test, are never asked about.
MAX_FOLDS_FOR_WILCOXON = 10
# Fewest folds whose differences say how far a difference is chance: a variance of fewer values is little known itself.
MIN_FOLDS_FOR_VARIANCE = 5


@dataclass(frozen=True, kw_only=True)
class Finalist:
    """How a candidate did in the finals.

    Attributes:
        number: Number of its trial.
        candidate: The candidate.
        state: How it ended. A pruned finalist was behind, fold by fold.
        score: Mean over the folds that all complete finalists have in common; of a pruned one over its own folds.
        folds: Number of these folds.
        spread: Standard deviation between the means of the splits; None for a single split.
        fits: Number of folds that it was trained on in the finals; the search had scored the others.
        behind: Score of the winner less its own, on the folds of both; None of the winner, and without such folds.
        error: Standard error of ``behind``; None where that is None, or not known.
        reason: Why it failed.
    """

    number: int
    candidate: Candidate
    state: Literal["won", "complete", "pruned", "failed"]
    score: float | None
    folds: int
    spread: float | None
    fits: int = 0
    behind: float | None = None
    error: float | None = None
    reason: str = ""

    @property
    def is_level(self) -> bool:
        """Whether it is behind the winner by no more than the standard error."""
        return self.behind is not None and self.error is not None and self.behind <= self.error

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON."""
        return {**asdict(self), "candidate": self.candidate.to_json()}


@dataclass(frozen=True, kw_only=True)
class Finals:
    """The outcome of the finals.

    Attributes:
        rows: The finalists, in the order in which the search ranked them.
        records: Their trials, with predictions for the folds of the search that they ran on in the finals.
        winner: The winner's trial among them.
    """

    rows: tuple[Finalist, ...]
    records: tuple[TrialRecord, ...]
    winner: TrialRecord

    @property
    def fits(self) -> int:
        """Number of trainings in the finals."""
        return sum(row.fits for row in self.rows)

    def __str__(self) -> str:
        won = next(row for row in self.rows if row.state == "won")
        others = ", ".join(_describe(row) for row in self.rows if row is not won)
        return f"{_scored(won)} on {won.folds} folds; {others}"


class _FoldScore(NamedTuple):
    score: float
    objective: float


_Scores = dict[FoldId, _FoldScore]


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What one finalist came to: its trial with the new predictions, and its score and predictions on each fold."""

    record: TrialRecord
    scores: _Scores
    predictions: dict[FoldId, np.ndarray]
    state: Literal["complete", "pruned", "failed"]
    reason: str = ""


def hold_finals(
    plan: FinalsPlan, fold_runner: FoldRunner, *, expired: Callable[[], bool] = lambda: False
) -> Finals | None:
    """Score the finalists fold by fold, the best first, and rank those that were not stopped.

    Args:
        plan: Who is compared, and on which folds.
        fold_runner: Trains and scores.
        expired: Whether the time has run out.

    Returns:
        The outcome; None where the time ran out, or all failed, before anything was learned.
    """
    study = make_finals_study()
    runs = [_run(record, fold_runner, plan.folds, study, expired) for record in plan.finalists]
    alive = [i for i, run in enumerate(runs) if run.state == "complete"]
    common = [where for where in plan.folds if alive and all(where in runs[i].scores for i in alive)]
    if not any(not fold_runner.is_known(plan.finalists[i], where) for i in alive for where in common):
        return None
    best = max(alive, key=lambda i: (_mean_objective(runs[i].scores, common), -i))
    rows = []
    for i, run in enumerate(runs):
        own = common if run.state == "complete" else list(run.scores)
        behind, error = (None, None) if i == best else _behind(runs[best], run, fold_runner)
        rows.append(
            Finalist(
                number=run.record.number,
                candidate=candidate_of(run.record),
                state="won" if i == best else run.state,
                score=_mean_score(run.scores, own) if own else None,
                folds=len(own),
                spread=_spread(run.scores, own),
                fits=sum(not fold_runner.is_known(plan.finalists[i], where) for where in run.scores),
                behind=behind,
                error=error,
                reason=run.reason,
            )
        )
    return Finals(rows=tuple(rows), records=tuple(run.record for run in runs), winner=runs[best].record)


def _run(
    record: TrialRecord,
    fold_runner: FoldRunner,
    folds: Sequence[FoldId],
    study: optuna.Study,
    expired: Callable[[], bool],
) -> _Run:
    """Score one finalist on all folds as long as it is not behind, and add its predictions to its record."""
    trial, scores, task = study.ask(), _Scores(), fold_runner.evaluator.task
    predictions, per_fold = predictions_of(record).copy(), dict[FoldId, np.ndarray]()
    for number, where in enumerate(folds):
        try:
            on_fold = _predict(record, fold_runner, where, expired)
        except Exception as error:  # one finalist's error must not lose the search
            study.tell(trial, state=TrialState.FAIL)
            return _Run(record=record, scores=scores, predictions=per_fold, state="failed", reason=describe(error))
        if on_fold is None:
            continue  # out of time; folds that the search has scored cost none
        fold = fold_runner.fold(where)
        if where.split == 0:
            predictions[fold.validation_rows] = on_fold
        if math.isnan(score := fold.score(fold.validation_rows, on_fold)):
            continue  # a class is missing there
        weights = fold.weights_of(fold.validation_rows)
        objective = compute_objective(task, fold.targets[fold.validation_rows], on_fold, weights)
        scores[where], per_fold[where] = _FoldScore(score, objective), on_fold
        trial.report(scores[where].objective, number)
        upcoming = folds[number + 1 : number + 2]
        costly = record.epochs > 0 and any(not fold_runner.is_known(record, following) for following in upcoming)
        if costly and len(scores) <= MAX_FOLDS_FOR_WILCOXON and _is_behind(trial):
            study.tell(trial, state=TrialState.PRUNED)
            return _Run(record=record, scores=scores, predictions=per_fold, state="pruned")
    if not scores:
        study.tell(trial, state=TrialState.FAIL)
        reason = f"the metric {task.metric!r} is not defined on any fold"
        return _Run(record=record, scores=scores, predictions=per_fold, state="failed", reason=reason)
    study.tell(trial, _mean_objective(scores, list(scores)))
    scored = np.flatnonzero(~np.isnan(predictions).any(1))
    score = fold_runner.evaluator.folds[0].score(scored, predictions[scored])
    record = replace(record, predictions=predictions, score=score)
    return _Run(record=record, scores=scores, predictions=per_fold, state="complete")


def _predict(
    record: TrialRecord, fold_runner: FoldRunner, where: FoldId, expired: Callable[[], bool]
) -> np.ndarray | None:
    """Return the predictions (n, outputs) for a fold, those of the search if it has them; None without time."""
    if fold_runner.is_known(record, where):
        return np.asarray(predictions_of(record)[fold_runner.fold(where).validation_rows])
    return None if expired() else fold_runner.predict(record, where, expired)


def _is_behind(trial: optuna.trial.Trial) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of folds that the best finalist lacks: the others are compared
        return trial.should_prune()


def _mean_score(scores: _Scores, folds: Sequence[FoldId]) -> float:
    return float(np.mean([scores[where].score for where in folds])) if folds else math.nan


def _mean_objective(scores: _Scores, folds: Sequence[FoldId]) -> float:
    return float(np.mean([scores[where].objective for where in folds])) if folds else math.nan


def _spread(scores: _Scores, folds: Sequence[FoldId]) -> float | None:
    """Return the standard deviation between the mean scores of the splits; None for a single split."""
    splits = sorted({where.split for where in folds})
    means = [_mean_score(scores, [where for where in folds if where.split == split]) for split in splits]
    return float(np.std(means, ddof=1)) if len(means) > 1 else None


def _behind(best: _Run, other: _Run, fold_runner: FoldRunner) -> tuple[float | None, float | None]:
    """Return by how much less the other scores on the folds of both, and the standard error of that difference.

    From five folds on, the error is that of the mean of their differences. It holds the luck of each training, too.
    Folds share training examples, so that their scores are not independent (Nadeau and Bengio 2003). The variance of
    fewer differences is little known itself, and a single fold has none. There, the error is that of a paired
    bootstrap: both score the same examples, so the difference varies less than either score. It leaves out the luck of
    trainings.
    """
    common = [where for where in best.scores if where in other.scores]
    if not common:
        return None, None
    gaps = np.array([best.scores[where].score - other.scores[where].score for where in common])
    if len(gaps) < MIN_FOLDS_FOR_VARIANCE:
        return float(gaps.mean()), _bootstrap_error(best, other, common, fold_runner)
    fold = fold_runner.evaluator.folds[0]
    variance_factor = 1 / len(gaps) + len(fold.validation_rows) / len(fold.train_rows)
    return float(gaps.mean()), float(np.sqrt(gaps.var(ddof=1) * variance_factor))


def _bootstrap_error(best: _Run, other: _Run, folds: Sequence[FoldId], fold_runner: FoldRunner) -> float | None:
    """Return the standard error of the difference of two finalists, over the examples of some folds."""
    fold, task = fold_runner.evaluator.folds[0], fold_runner.evaluator.task
    rows = np.concatenate([fold_runner.fold(where).validation_rows for where in folds])
    one, another = (np.concatenate([run.predictions[where] for where in folds]) for run in (best, other))
    # An example that is in the folds of two splits is drawn for both.
    group_ids = rows if fold.group_ids is None else fold.group_ids[rows]
    error = paired_standard_error(task, fold.targets[rows], one, another, group_ids, fold.weights_of(rows))
    return error if math.isfinite(error) else None


def _describe(row: Finalist) -> str:
    """Return a finalist that did not win in words."""
    note = row.state if row.state != "complete" else "within the standard error" if row.is_level else ""
    return _scored(row) + (f" ({note})" if note else "")


def _scored(row: Finalist) -> str:
    return f"trial {row.number}" + ("" if row.score is None else f" {format_score(row.score)}")
