"""The finals: the best few candidates of a search are compared again, on folds and seeds that did not choose them.

The best of many scores is partly luck (the winner's curse). Candidates that train stages were scored on the first fold
only; here they run on the others, too. Then all of them run on other assignments of the examples to folds, each with
another seed of training. A finalist that is behind, fold by fold, is stopped by Optuna's ``WilcoxonPruner``. They are
compared by their objective, as in the search. Finals take no longer than the search did.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import optuna

from autotransfer.candidate import Candidate
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.evaluation.objective import compute_objective
from autotransfer.search.effort import Effort
from autotransfer.search.jobs import describe
from autotransfer.search.study import make_finals_study
from autotransfer.search.trials import TrialRecord, Trials
from autotransfer.selection.folds import FoldRunner, Resplit, Step, planned_epochs
from autotransfer.settings import Budget

__all__ = [
    "Finalist",
    "Finals",
    "FoldRunner",
    "finalists",
    "finals_seconds",
    "hold_finals",
    "refit_seconds",
    "search_seconds",
]

_FINALISTS = 3
# Assignments of the examples to folds beside the one of the search.
_SEEDS = 2
# Folds after which it is no longer asked whether a finalist is behind: the time of an exact test with ties doubles with
# each. It is never asked of closed forms, which take less time than the test.
_ASKED = 10
# Largest share of a time budget that is left to finals, and how many times what they are expected to take.
_SHARE, _MARGIN = 0.06, 1.5


@dataclass(frozen=True, kw_only=True)
class Finalist:
    """How a candidate did in the finals.

    Attributes:
        number: Its trial.
        candidate: The candidate.
        state: How it ended; one that was pruned was behind, fold by fold.
        score: Mean over the folds that all complete ones have in common; over its own if it was pruned.
        folds: Number of these folds.
        spread: Standard deviation between the means of each seed; None for a single seed.
        fits: Number of folds that it was trained on in the finals; the search knew the others.
        behind: By how much less it scores than the winner, on the folds of both; None of the winner, and where it has
            none.
        error: Standard error of that; None with a single fold.
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
    def level(self) -> bool:
        """Whether it is behind the winner by no more than the standard error."""
        return self.behind is not None and self.error is not None and self.behind <= self.error

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {**asdict(self), "candidate": self.candidate.to_json()}


@dataclass(frozen=True, kw_only=True)
class Finals:
    """What came of the finals.

    Attributes:
        rows: The finalists, in the order in which the search ranked them.
        records: Their trials, with predictions for the folds of the search that they ran on here.
        winner: The winner's trial among them.
    """

    rows: tuple[Finalist, ...]
    records: tuple[TrialRecord, ...]
    winner: TrialRecord

    def __str__(self) -> str:
        won = next(row for row in self.rows if row.state == "won")
        spread = "" if won.spread is None else f" (standard deviation between seeds {won.spread:.4f})"
        others = [row for row in self.rows if row is not won]
        level = [f"trial {row.number} {_shown(row)}" for row in others if row.level]
        behind = [f"trial {row.number} {_shown(row)}" for row in others if not row.level]
        places = [f"{how} {', '.join(who)}" for how, who in (("level with", level), ("before", behind)) if who]
        return f"trial {won.number} {_shown(won)} on {won.folds} folds{spread}, {', '.join(places)}; {self.fits} fits"

    @property
    def fits(self) -> int:
        """Number of times that a candidate was trained in the finals."""
        return sum(row.fits for row in self.rows)


def hold_finals(
    trials: Trials,
    evaluator: Evaluator,
    resplit: Resplit,
    *,
    seconds: float = math.inf,
    effort: Effort | None = None,
    expired: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda text: None,
) -> Finals | None:
    """Compare the best candidates of a search again.

    Args:
        trials: The search.
        evaluator: What it scored candidates with.
        resplit: Returns the folds of another seed, which is so far from the seed of the search.
        seconds: What the finals may take; the third, then the second finalist is left out where they are expected to
            take longer.
        effort: What the search has trained, which bounds them in the place of seconds: equal seeds give equal finals.
        expired: Whether the time is up.
        say: Is told what runs.

    Returns:
        What came of them; None where the best has no rival, or where no fold fits into the time.
    """
    fold_runner = FoldRunner(evaluator, resplit)
    cost, most = (fold_runner.seconds, seconds) if effort is None else (effort.of_fold, effort.total)
    chosen, steps, _ = _chosen(trials, fold_runner, cost, most)
    if not steps:
        return None
    fits = sum(not fold_runner.known(record, step) for record in chosen for step in steps)
    say(f"comparing the {len(chosen)} best candidates again, in {fits} fits at most")
    return _compare(chosen, fold_runner, steps, expired)


def finals_seconds(trials: Trials, fold_runner: FoldRunner, budget: Budget) -> float:
    """Return the seconds of a budget that a search leaves to its finals; 0 where not even one fold fits into these."""
    if budget.seconds is None:
        return 0.0
    most = _SHARE * budget.seconds
    _, _, seconds = _chosen(trials, fold_runner, fold_runner.seconds, most)
    return min(_MARGIN * seconds, most)


def search_seconds(trials: Trials) -> float:
    """Return the seconds that trials have taken: finals are to take no longer."""
    return sum(record.seconds for record in trials)


def finalists(trials: Trials) -> list[TrialRecord]:
    """Return the best record of each backbone, head and freeze policy, the three best of these, best first.

    Where there are fewer such setups, the next best records of any follow.
    """
    ranked = [r for r in trials.leaderboard() if r.state != "pruned" and r.candidate and r.predictions is not None]
    firsts: dict[tuple[str, str, str], TrialRecord] = {}
    for record in ranked:
        assert record.candidate is not None
        firsts.setdefault((record.candidate.backbone, record.candidate.head, record.candidate.freeze), record)
    others = [record for record in ranked if record not in firsts.values()]
    chosen = [*firsts.values(), *others][:_FINALISTS]
    return sorted(chosen, key=ranked.index)


def refit_seconds(record: TrialRecord, evaluator: Evaluator) -> float:
    """Return about how long training a record's candidate on all examples will take."""
    assert record.candidate is not None  # complete trials have one
    seconds = evaluator.predicted_seconds(record.candidate)
    if record.epochs:
        seconds = max(seconds / planned_epochs(record), record.seconds / record.epochs) * record.best_epoch
    return seconds * len(evaluator.targets) / len(evaluator.folds[0].train_rows)


Cost = Callable[[TrialRecord], float]


def _chosen(
    trials: Trials, fold_runner: FoldRunner, cost: Cost, most: float
) -> tuple[list[TrialRecord], list[Step], float]:
    """Return the finalists that the bound allows, the folds that they run on, and what that is expected to cost."""
    chosen = finalists(trials)
    for count in range(len(chosen), 1, -1):
        steps, spent = _affordable(chosen[:count], fold_runner, cost, most)
        if steps:
            return chosen[:count], steps, spent
    return [], [], 0.0


def _affordable(
    chosen: Sequence[TrialRecord], fold_runner: FoldRunner, cost: Cost, most: float
) -> tuple[list[Step], float]:
    """Return the folds that all finalists can run on within the bound, those of the search first, and their cost.

    None if no fold is new.
    Of another seed, candidates that train stages run on the first fold only.
    """
    count = len(fold_runner.evaluator.folds)
    own: list[Step] = [(0, fold) for fold in range(count)]
    partial = any(not fold_runner.known(record, step) for record in chosen for step in own)
    others: list[Step] = [(s, fold) for s in range(1, _SEEDS + 1) for fold in range(1 if partial else count)]
    each, steps, spent = [cost(record) for record in chosen], list[Step](), 0.0
    for step in (*own, *filter(fold_runner.has, others)):
        more = sum(own for own, record in zip(each, chosen, strict=True) if not fold_runner.known(record, step))
        if spent + more > most:
            break
        steps.append(step)
        spent += more
    new = any(not fold_runner.known(record, step) for record in chosen for step in steps)
    return (steps, spent) if new else ([], 0.0)


def _compare(
    chosen: Sequence[TrialRecord], fold_runner: FoldRunner, steps: Sequence[Step], expired: Callable[[], bool]
) -> Finals | None:
    """Run the finalists, the best first, fold by fold, and rank those that were not stopped."""
    study = make_finals_study()
    ran = [_run(record, fold_runner, steps, study, expired) for record in chosen]
    alive = [i for i, (_, _, state, _) in enumerate(ran) if state == "complete"]
    common = [step for step in steps if alive and all(step in ran[i][1] for i in alive)]
    if not any(not fold_runner.known(chosen[i], step) for i in alive for step in common):
        return None  # the time ran out, or all failed, before anything was learned
    best = max(alive, key=lambda i: (_mean(ran[i][1], common, 1), -i))
    rows = []
    for i, (record, scores, state, reason) in enumerate(ran):
        assert record.candidate is not None  # complete trials have one
        own = common if state == "complete" else list(scores)
        behind, error = (None, None) if i == best else _behind(ran[best][1], scores, fold_runner)
        rows.append(
            Finalist(
                number=record.number,
                candidate=record.candidate,
                state="won" if i == best else state,
                score=_mean(scores, own) if own else None,
                folds=len(own),
                spread=_spread(scores, own),
                fits=sum(not fold_runner.known(chosen[i], step) for step in scores),
                behind=behind,
                error=error,
                reason=reason,
            )
        )
    return Finals(rows=tuple(rows), records=tuple(record for record, *_ in ran), winner=ran[best][0])


_Found = dict[Step, tuple[float, float]]  # score and objective on each fold
_Run = tuple[TrialRecord, _Found, Literal["complete", "pruned", "failed"], str]


def _run(
    record: TrialRecord,
    fold_runner: FoldRunner,
    steps: Sequence[Step],
    study: optuna.Study,
    expired: Callable[[], bool],
) -> _Run:
    """Score one finalist on all folds, as long as it is not behind; add its predictions to its record."""
    trial, found, task = study.ask(), _Found(), fold_runner.evaluator.task
    assert record.predictions is not None  # finalists have some
    predictions = record.predictions.copy()
    for number, step in enumerate(steps):
        fold = fold_runner.fold(step)
        on_fold = predictions[fold.validation_rows] if fold_runner.known(record, step) else None
        try:
            if on_fold is None and not expired():
                on_fold = fold_runner.predict(record, step, expired)
        except Exception as error:  # one finalist's error must not lose the search
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return record, found, "failed", describe(error)
        if on_fold is None:
            continue  # out of time; what is known costs none
        if step[0] == 0:
            predictions[fold.validation_rows] = on_fold
        targets = fold.targets[fold.validation_rows]
        score = task.score(targets, on_fold)
        if math.isnan(score):
            continue  # a class is missing there
        found[step] = score, compute_objective(task, targets, on_fold)
        trial.report(found[step][1], number)
        upcoming = steps[number + 1 : number + 2]
        costly = record.epochs > 0 and any(not fold_runner.known(record, step) for step in upcoming)
        if costly and len(found) <= _ASKED and _is_behind(trial):
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return record, found, "pruned", ""
    if not found:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return record, found, "failed", f"the metric {task.metric!r} is not defined on any fold"
    study.tell(trial, _mean(found, list(found), 1))
    scored = ~np.isnan(predictions).any(1)
    score = task.score(fold_runner.evaluator.targets[scored], predictions[scored])
    return replace(record, predictions=predictions, score=score), found, "complete", ""


def _is_behind(trial: optuna.trial.Trial) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of folds that the best one lacks: the others are compared
        return trial.should_prune()


def _mean(scores: _Found, steps: Sequence[Step], part: Literal[0, 1] = 0) -> float:
    return float(np.mean([scores[step][part] for step in steps])) if steps else math.nan


def _spread(scores: _Found, steps: Sequence[Step]) -> float | None:
    means = [_mean(scores, [step for step in steps if step[0] == seed]) for seed in sorted({seed for seed, _ in steps})]
    return float(np.std(means, ddof=1)) if len(means) > 1 else None


def _behind(best: _Found, other: _Found, fold_runner: FoldRunner) -> tuple[float | None, float | None]:
    """Return by how much less the other scores on the folds of both, and the standard error of that.

    FoldRunner share examples to train on, so that their scores are not independent (Nadeau and Bengio 2003).
    """
    common = [step for step in best if step in other]
    if not common:
        return None, None
    gaps = np.array([best[step][0] - other[step][0] for step in common])
    fold = fold_runner.evaluator.folds[0]
    dependent = 1 / len(gaps) + len(fold.validation_rows) / len(fold.train_rows)
    error = float(np.sqrt(gaps.var(ddof=1) * dependent)) if len(gaps) > 1 else None
    return float(gaps.mean()), error


def _shown(row: Finalist) -> str:
    if row.score is None:
        return row.state
    return f"{row.score:.4f}" + ("" if row.state in ("won", "complete") else f" ({row.state})")
