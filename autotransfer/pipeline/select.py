"""From the trials of a search to one trained model: finals, ensemble, refit, calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from autotransfer.errors import SearchError
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.evaluation.training_cost import TrainingCost
from autotransfer.model.ensemble_member import EnsembleMember
from autotransfer.model.inference_costs import InferenceCosts
from autotransfer.pipeline.context import FitContext
from autotransfer.pipeline.finish import finish_model
from autotransfer.pipeline.model_cost import cheaper_records, measure_saved, warn_of_exceeded
from autotransfer.pipeline.search import SearchResult
from autotransfer.search.budget import TimeBudget
from autotransfer.search.jobs import describe
from autotransfer.search.trials import TrialRecord, Trials
from autotransfer.selection.costs import affordable_members, refit_seconds, seconds_for_finals
from autotransfer.selection.ensemble import Ensemble, choose_ensemble
from autotransfer.selection.finals import Finals, hold_finals
from autotransfer.selection.finals_plan import plan_finals
from autotransfer.selection.fold_runner import FoldRunner
from autotransfer.selection.out_of_fold import OutOfFold
from autotransfer.selection.records import candidate_of, is_scored, predictions_of
from autotransfer.selection.refit import refit
from autotransfer.selection.result import SelectionResult
from autotransfer.selection.selected_model import SelectedModel

__all__ = ["choose_winner", "select_model"]

# Candidates that are trained at most after a model that takes more than the limits.
MAX_FALLBACKS = 3


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """What was chosen, and what was tried for it."""

    selected: SelectedModel
    ensemble: Ensemble | None = None


def select_model(context: FitContext, found: SearchResult) -> SelectionResult:
    """Compare the best again, choose one candidate or an ensemble, train it on all examples, and calibrate it.

    The trained model is written into the run folder.

    Raises:
        SearchError: No trial is complete.
    """
    budget = context.budget
    best, started = choose_winner(found.trials), budget.spent
    finals = _hold_finals(context, found)
    rescored = {} if finals is None else {record.number: record for record in finals.records}
    records = [rescored.get(record.number, record) for record in found.trials]
    best = best if finals is None else finals.winner
    choice = _choose(context, found, best, records)
    chosen = budget.spent
    result = _train_within_limits(context, found, choice, best, records)
    return replace(result, finals=finals, seconds={"finals": chosen - started, "refit": budget.spent - chosen})


def _train_within_limits(
    context: FitContext, found: SearchResult, choice: _Choice, best: TrialRecord, records: Sequence[TrialRecord]
) -> SelectionResult:
    """Train what was chosen; where the saved model exceeds the limits, the best candidate that is likely to keep them.

    What a candidate takes was measured before it was trained, and measurements differ. Where all models that were
    trained exceed the limits, that which comes closest to them stays.
    """
    result = closest = _train(context, found, choice, best, records)
    limits, trained = context.settings.selection.limits, {result.selected.trials}
    while result.cost is not None and result.cost.exceeds(limits):
        closest = min(closest, result, key=_share_of_limits)
        others = cheaper_records(result.selected, result.cost, records, found.costs)
        others = [record for record in others if (record.number,) not in trained]
        if not others or len(trained) > MAX_FALLBACKS:
            return _keep_closest(context, closest, result, len(trained), are_more=bool(others))
        context.progress.print(f"{result.selected} takes {result.cost}: more than the limits ({limits})")
        trained.add((others[0].number,))
        single = _Choice(selected=SelectedModel.single(others[0]), ensemble=choice.ensemble)
        result = _train(context, found, single, others[0], records)
    return result


def _keep_closest(
    context: FitContext, closest: SelectionResult, last: SelectionResult, trained: int, *, are_more: bool
) -> SelectionResult:
    """Put the model that exceeds the limits least into the run folder again, and warn of what it takes."""
    if closest is not last:
        with context.run.writing():
            closest.model.write(context.run.model)
    assert closest.cost is not None  # it exceeds the limits
    warn_of_exceeded(context, closest.cost, trained, are_more=are_more)
    return closest


def _share_of_limits(result: SelectionResult) -> float:
    return math.inf if result.cost is None else result.cost.share_of(result.limits)


def _train(
    context: FitContext, found: SearchResult, choice: _Choice, best: TrialRecord, records: Sequence[TrialRecord]
) -> SelectionResult:
    """Train what was chosen on all examples, calibrate it, write it into the run folder, and measure what it takes."""
    settings, evaluator = context.settings, found.evaluator
    choice, members = _refit(context, evaluator, choice, best, records)
    finished = finish_model(members, choice.selected.predictions, found.data, evaluator, settings)
    with context.run.writing():
        finished.model.write(context.run.model)
    return SelectionResult(
        best=best,
        selected=choice.selected,
        model=finished.model,
        validation=finished.validation,
        out_of_fold=finished.out_of_fold,
        out_of_fold_predictions=finished.predictions,
        decided_predictions=finished.decided,
        ensemble=choice.ensemble,
        calibration=finished.calibration,
        thresholds=finished.thresholds,
        records=tuple(records),
        cost=measure_saved(context, found.costs, finished.model),
        limits=settings.selection.limits,
    )


def choose_winner(trials: Trials) -> TrialRecord:
    """Return the best complete trial.

    Raises:
        SearchError: No trial is complete.
    """
    if (best := trials.best) is not None:
        return best
    reasons = list(dict.fromkeys(record.reason for record in trials if record.reason))[:3]
    why = (
        "; ".join([*reasons, trials.why_none_fits] if trials.why_none_fits else reasons)
        or "the budget was too small for any"
    )
    raise SearchError(f"None of {len(trials)} trials succeeded: {why}.")


def _hold_finals(context: FitContext, found: SearchResult) -> Finals | None:
    """Hold the finals in the time that the search and the later steps leave; none where the user ended the search."""
    trials, evaluator, budget = found.trials, found.evaluator, context.budget
    if budget.stopped:
        return None
    fold_runner = FoldRunner(evaluator, found.data.resplit)
    if budget.limit.seconds is None:  # what the search has trained is the bound: equal seeds give equal finals
        training_cost = TrainingCost(trials, evaluator)
        plan = plan_finals(trials, fold_runner, training_cost.of_fold, training_cost.total)
        ends = None
    else:
        seconds = seconds_for_finals(trials, evaluator, budget, workers=context.settings.compute.workers or 1)
        plan = plan_finals(trials, fold_runner, fold_runner.seconds, seconds)
        ends = budget.spent + seconds
    if plan is None:
        return None
    count = len(plan.finalists)
    trainings = f"{plan.fits} training{'' if plan.fits == 1 else 's'}"
    context.progress.phase(f"re-evaluating the {count} best candidates on other folds: up to {trainings}")
    return hold_finals(plan, fold_runner, expired=lambda: ends is not None and budget.spent > ends)


def _choose(context: FitContext, found: SearchResult, best: TrialRecord, records: Sequence[TrialRecord]) -> _Choice:
    """Choose an ensemble where it is better than the best candidate, else the candidate."""
    allowed, budget, ensemble = context.settings.selection, context.budget, None
    evaluator = found.evaluator
    if allowed.ensemble:
        ensemble = _choose_ensemble(best, records, evaluator, budget, context.test_examples, found.costs)
    if ensemble is not None and ensemble.is_better:
        predictions = np.full_like(predictions_of(best), np.nan)
        predictions[is_scored(best)] = ensemble.predictions
        return _Choice(selected=SelectedModel(members=ensemble.members, predictions=predictions), ensemble=ensemble)
    return _Choice(selected=SelectedModel.single(best), ensemble=ensemble)


def _choose_ensemble(
    best: TrialRecord,
    records: Sequence[TrialRecord],
    evaluator: Evaluator,
    budget: TimeBudget,
    test_examples: int,
    costs: InferenceCosts | None = None,
) -> Ensemble | None:
    """Choose an ensemble of candidates that all fit into the time that is left, and keep the limits together."""
    refit_of_best, left = refit_seconds(best, evaluator), budget.left_for("refit")
    left -= refit_of_best if refit_of_best <= left else 0.0  # else the network that the search has kept is taken
    able = [record for record in records if record.can_win and _admits(costs, [best, record])]
    others, _ = affordable_members(best, able, evaluator, left, test_examples)
    candidates, held_out = [best, *others], OutOfFold.of(evaluator.folds, predictions_of(best))
    return choose_ensemble(candidates, held_out, lambda chosen: _admits(costs, [candidates[i] for i in chosen]))


def _admits(costs: InferenceCosts | None, records: Sequence[TrialRecord]) -> bool:
    """Whether an ensemble of trials keeps the limits."""
    return costs is None or costs.admits_members([candidate_of(record) for record in records])


def _refit(
    context: FitContext, evaluator: Evaluator, choice: _Choice, best: TrialRecord, records: Sequence[TrialRecord]
) -> tuple[_Choice, list[EnsembleMember]]:
    """Train what was chosen on all examples; where an ensemble fails, the best candidate alone."""
    selected, predictions = choice.selected, {record.number: record.predictions for record in records}
    first, budget, warnings = selected.members[0].candidate, context.budget, context.warnings
    context.progress.phase(f"training {selected} on all {len(evaluator.targets)} examples: {first}")
    try:
        return choice, refit(selected.members, predictions, evaluator, budget, warnings)
    except Exception as error:
        if selected.kind == "single":
            raise
        single = SelectedModel.single(best)
        warnings.warn(
            "refit_rejected",
            f"{selected} could not be trained on all examples, so that {single} is the model: {describe(error)}",
            trials=list(selected.trials),
            reason=describe(error),
        )
        return _Choice(selected=single), refit(single.members, predictions, evaluator, budget, warnings)
