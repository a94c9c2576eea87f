"""What the steps after a search take in seconds, as the search stands.

The search reserves these seconds in its budget after each trial; the steps ask the same functions what still fits.
"""

from __future__ import annotations

from collections.abc import Iterable

from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.search.budget import Step, TimeBudget
from autotransfer.search.trials import TrialRecord, Trials
from autotransfer.selection.ensemble import ensemble_candidates
from autotransfer.selection.finals_plan import choose_finalists, plan_finals
from autotransfer.selection.fold_runner import FoldRunner, planned_epochs
from autotransfer.selection.records import candidate_of
from autotransfer.settings import Budget

__all__ = [
    "affordable_members",
    "explanation_seconds",
    "finals_seconds",
    "refit_seconds",
    "search_seconds",
    "seconds_for_finals",
    "selection_seconds",
    "test_pass_seconds",
    "transfer_gain_seconds",
]

# Largest shares of the time budget that the search leaves to the finals, to the other members of an ensemble, and to
# the comparison with random weights. Tuned on the five image sets of the benchmarks.
FINALS_BUDGET_SHARE = 0.06
ENSEMBLE_BUDGET_SHARE = 0.06
TRANSFER_GAIN_BUDGET_SHARE = 0.05
# Share of the time budget, and most seconds, that a search leaves to the explanation of single examples.
EXPLANATIONS_BUDGET_SHARE, MAX_RESERVED_EXPLANATION_SECONDS = 0.03, 10.0
# What is reserved for the finals in times of their predicted seconds: trainings take longer than predicted.
FINALS_SAFETY_FACTOR = 1.5
# Fewest seconds for a comparison with random weights.
MIN_TRANSFER_GAIN_SECONDS = 1.0


def selection_seconds(
    trials: Trials, fold_runner: FoldRunner, budget: Budget, test_examples: int, *, ensemble: bool
) -> dict[Step, float]:
    """Return the seconds that a search leaves to the steps of the selection.

    Args:
        trials: The search so far.
        fold_runner: What the finals run on.
        budget: The budget.
        test_examples: Number of test examples.
        ensemble: Whether the model may be an ensemble.
    """
    seconds: dict[Step, float] = {
        "finals": finals_seconds(trials, fold_runner, budget),
        "ensemble": 0.0,
        "test_views": 0.0,
    }
    best, evaluator = trials.best, fold_runner.evaluator
    if budget.seconds is None or best is None or best.candidate is None:
        return seconds
    # The pass of one view of the test examples is reserved by itself, once the examples are decoded.
    seconds["test_views"] = (best.candidate.views - 1) * test_pass_seconds(best, evaluator, test_examples)
    if ensemble and best.predictions is not None:
        limit = ENSEMBLE_BUDGET_SHARE * budget.seconds
        seconds["ensemble"] = affordable_members(best, trials, evaluator, limit, test_examples)[1]
    return seconds


def finals_seconds(trials: Trials, fold_runner: FoldRunner, budget: Budget) -> float:
    """Return the seconds that a search leaves to its finals; 0 where no fold fits into their share of the budget."""
    if budget.seconds is None:
        return 0.0
    limit = FINALS_BUDGET_SHARE * budget.seconds
    plan = plan_finals(trials, fold_runner, fold_runner.seconds, limit)
    return 0.0 if plan is None else min(FINALS_SAFETY_FACTOR * plan.cost, limit)


def seconds_for_finals(trials: Trials, evaluator: Evaluator, budget: TimeBudget, *, workers: int = 1) -> float:
    """Return the seconds that finals may take once the search has ended: what it left over as well.

    They take nothing that later steps have reserved, nor what the longest refit of a finalist takes beyond that, and no
    longer than the search took.

    Args:
        trials: The search.
        evaluator: What scored them.
        budget: The budget, with a bound in seconds.
        workers: Number of trials that ran at a time.
    """
    refits = [refit_seconds(record, evaluator) for record in choose_finalists(trials)]
    longest = max(filter(budget.affords_refit, refits), default=0.0)
    unreserved = max(longest - budget.reservations.get("refit", 0.0), 0.0)
    return min(budget.left_for("finals") - unreserved, search_seconds(trials) / workers)


def search_seconds(trials: Trials) -> float:
    """Return the seconds that all trials have taken; finals take no longer."""
    return sum(record.seconds for record in trials)


def refit_seconds(record: TrialRecord, evaluator: Evaluator) -> float:
    """Return the predicted seconds of training a trial's candidate on all examples."""
    seconds = evaluator.predicted_seconds(candidate_of(record))
    if record.epochs:
        seconds = max(seconds / planned_epochs(record), record.seconds / record.epochs) * record.best_epoch
    return seconds * len(evaluator.targets) / len(evaluator.folds[0].train_rows)


def test_pass_seconds(record: TrialRecord, evaluator: Evaluator, test_examples: int) -> float:
    """Return the predicted seconds of one view of the test examples through a trial's backbone."""
    if not test_examples:
        return 0.0
    return evaluator.pass_seconds(candidate_of(record).backbone) * test_examples / len(evaluator.targets)


def affordable_members(
    best: TrialRecord, records: Iterable[TrialRecord], evaluator: Evaluator, limit: float, test_examples: int
) -> tuple[list[TrialRecord], float]:
    """Return what an ensemble around the best trial may hold within a limit.

    Args:
        best: The best trial.
        records: The trials.
        evaluator: What scored them.
        limit: Seconds that the refits of the others, and their passes of the test examples, may take.
        test_examples: Number of test examples.

    Returns:
        The other candidates, the best first, and the seconds that they take.
    """
    found, taken = list[TrialRecord](), 0.0
    views_of_network = {_network(best): candidate_of(best).views}
    for record in ensemble_candidates(best, records)[1:]:
        known = views_of_network.get(_network(record), 0)
        further = max(candidate_of(record).views - known, 0)
        seconds = refit_seconds(record, evaluator) + further * test_pass_seconds(record, evaluator, test_examples)
        if taken + seconds <= limit:
            taken += seconds
            found.append(record)
            views_of_network[_network(record)] = known + further
    return found, taken


def transfer_gain_seconds(budget: Budget, evaluator: Evaluator, backbone: str) -> float:
    """Return the seconds of a budget to reserve for the comparison with random weights; 0 where that buys nothing.

    Args:
        budget: The budget.
        evaluator: What will score the winner.
        backbone: The backbone that is expected to take least.
    """
    share = TRANSFER_GAIN_BUDGET_SHARE * (budget.seconds or 0.0)
    is_enough = share >= MIN_TRANSFER_GAIN_SECONDS and share >= evaluator.epoch_seconds(backbone)
    return share if is_enough else 0.0


def explanation_seconds(budget: Budget) -> float:
    """Return the seconds of a budget to reserve for the explanation of single examples."""
    return min(EXPLANATIONS_BUDGET_SHARE * (budget.seconds or 0.0), MAX_RESERVED_EXPLANATION_SECONDS)


def _network(record: TrialRecord) -> tuple[str, int]:
    """Return what tells the backbones of a model apart: candidates that train no epoch share the pretrained one."""
    return candidate_of(record).backbone, record.number if record.epochs else -1
