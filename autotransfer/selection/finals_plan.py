"""Who takes part in the finals, on which folds, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autotransfer.search.trials import TrialRecord, Trials
from autotransfer.selection.fold_runner import FoldId, FoldRunner
from autotransfer.selection.records import candidate_of

__all__ = ["FinalsPlan", "choose_finalists", "plan_finals"]

# Candidates that are compared again at most. Tuned on the five image sets of the benchmarks.
MAX_FINALISTS = 3
# Splits of the examples beside that of the search; each has a seed of its own.
FURTHER_SPLITS = 2

Cost = Callable[[TrialRecord], float]


@dataclass(frozen=True, kw_only=True)
class FinalsPlan:
    """Who takes part in the finals, and on which folds.

    Attributes:
        finalists: The trials that are compared again, the best first.
        folds: Folds that each finalist is scored on, those of the search first.
        fits: Number of trainings: a finalist that the search has scored on a fold is not trained there again.
        cost: Expected cost of the trainings, in the unit of the bound.
    """

    finalists: tuple[TrialRecord, ...]
    folds: tuple[FoldId, ...]
    fits: int
    cost: float


def choose_finalists(trials: Trials) -> list[TrialRecord]:
    """Return the best trial of each backbone, head and freeze policy, the three best of these, best first.

    Where there are fewer such setups, the next best trials of any setup follow.
    """
    ranked = [r for r in trials.leaderboard() if r.state != "pruned" and r.candidate and r.predictions is not None]
    best_of_setup: dict[tuple[str, str, str], TrialRecord] = {}
    for record in ranked:
        candidate = candidate_of(record)
        best_of_setup.setdefault((candidate.backbone, candidate.head, candidate.freeze), record)
    others = [record for record in ranked if record not in best_of_setup.values()]
    chosen = [*best_of_setup.values(), *others][:MAX_FINALISTS]
    return sorted(chosen, key=ranked.index)


def plan_finals(trials: Trials, fold_runner: FoldRunner, cost: Cost, max_cost: float) -> FinalsPlan | None:
    """Plan the finals within a bound. The third, then the second finalist is left out where the bound is too small.

    Args:
        trials: The search.
        fold_runner: Knows the folds, and what the search has scored on them.
        cost: Returns the cost of training a trial's candidate on one fold.
        max_cost: The bound on the cost of all trainings.

    Returns:
        The plan; None where the best has no rival, or where no fold that the search has not scored fits in.
    """
    finalists = choose_finalists(trials)
    for count in range(len(finalists), 1, -1):
        if (plan := _plan_for(finalists[:count], fold_runner, cost, max_cost)) is not None:
            return plan
    return None


def _plan_for(
    finalists: Sequence[TrialRecord], fold_runner: FoldRunner, cost: Cost, max_cost: float
) -> FinalsPlan | None:
    """Take folds as long as all finalists can run on them within the bound.

    Of further splits, candidates that train stages run on the first fold only.
    """
    count = len(fold_runner.evaluator.folds)
    own = [FoldId(0, fold) for fold in range(count)]
    partial = any(not fold_runner.is_known(record, where) for record in finalists for where in own)
    further = [FoldId(split, fold) for split in range(1, FURTHER_SPLITS + 1) for fold in range(1 if partial else count)]
    costs, folds, spent, fits = [cost(record) for record in finalists], list[FoldId](), 0.0, 0
    for where in (*own, *filter(fold_runner.has, further)):
        unknown = [not fold_runner.is_known(record, where) for record in finalists]
        more = sum(one for one, new in zip(costs, unknown, strict=True) if new)
        if spent + more > max_cost:
            break
        folds.append(where)
        spent, fits = spent + more, fits + sum(unknown)
    return FinalsPlan(finalists=tuple(finalists), folds=tuple(folds), fits=fits, cost=spent) if fits else None
