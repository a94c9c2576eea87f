"""The search of a fit: from examples to trials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import optuna

from autotransfer.contract.specs import EpochRecord
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.model.inference_costs import InferenceCosts
from autotransfer.pipeline.context import FitContext
from autotransfer.pipeline.expectations import min_epochs, predicted_seconds, strategy_context
from autotransfer.pipeline.prepare import Prepared
from autotransfer.pipeline.prepare_search import PreparedSearch
from autotransfer.pipeline.resume import open_study
from autotransfer.run.interrupts import interruptible
from autotransfer.runtime.storage import close_storage, translate_storage_errors
from autotransfer.search.budget import TimeBudget
from autotransfer.search.jobs import Executor, Inline
from autotransfer.search.loop import search
from autotransfer.search.space import SearchSpace
from autotransfer.search.strategy import make_strategy
from autotransfer.search.trials import TrialRecord, Trials
from autotransfer.workers.pool import WorkerPool

__all__ = ["SearchResult", "add_costs", "search_candidates"]


class LaterSteps(Protocol):
    """Reserves in the budget what the steps after the search will take."""

    def begin(self, data: Prepared, evaluator: Evaluator, backbone: str | None) -> None:
        """Reserve what does not depend on the trials; the backbone is the first that works.

        It is None where none works, and where the budget is no time.
        """
        ...

    def update(self, trials: Trials) -> None:
        """Reserve what depends on the trials."""
        ...


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search leaves to the steps after it.

    Attributes:
        trials: The trials.
        data: The examples.
        evaluator: What scored them, with the backbones that it has loaded.
        study: The study of the trials.
        stages: Returns the stages of a backbone.
        costs: What candidates take to predict.
        seconds: Wall time of each part.
    """

    trials: Trials
    data: Prepared
    evaluator: Evaluator
    study: optuna.Study
    stages: Callable[[str], tuple[str, ...]]
    costs: InferenceCosts
    seconds: Mapping[str, float]


def search_candidates(
    context: FitContext, prepared: PreparedSearch, worker_pool: WorkerPool, later_steps: LaterSteps
) -> SearchResult:
    """Make or open the study, and search."""
    data, evaluator, space = prepared.data, prepared.evaluator, prepared.space
    first = None if context.budget.limit.seconds is None else _first_that_works(space, evaluator)
    later_steps.begin(data, evaluator, first)
    curves = _affordable_curves(context.budget, space, evaluator, first)
    study = open_study(context, data, space, prepared.choices, curves)
    seconds = {"decode": context.budget.spent}

    count, task = len(prepared.choices.backbones), evaluator.task
    what = f"{count} backbone{'s' if count > 1 else ''}"
    context.progress.phase(f"searching {what}: {task.kind}, {task.metric_label}, {data}")
    executor = worker_pool.executor(evaluator, context.run.checkpoints)
    advice = f"What was finished is kept there: go on with autotransfer resume {context.run.path}."
    try:
        with interruptible(context.budget, context.progress.print), translate_storage_errors(advice):
            trials = _search(context, prepared, study, executor, later_steps)
            if trials.best is None:
                trials.why_none_fits = prepared.costs.why_refused or trials.why_none_fits
        _warn_of_untried(context, prepared, trials)
    finally:
        close_storage(study._storage)
    seconds["search"] = context.budget.spent - seconds["decode"]
    return SearchResult(
        trials=trials,
        data=data,
        evaluator=evaluator,
        study=study,
        stages=evaluator.stages,
        costs=prepared.costs,
        seconds=seconds,
    )


def _search(
    context: FitContext, prepared: PreparedSearch, study: optuna.Study, executor: Executor, later_steps: LaterSteps
) -> Trials:
    """Search; after each trial, write ``trials.csv`` and reserve what the later steps will take."""
    trials, progress = context.progress.trials, context.progress

    def update() -> None:
        later_steps.update(trials)
        context.run.write_trials(trials.records)

    def observe(record: TrialRecord) -> None:
        update()
        progress.trial(record)
        context.observers.notify("trial_finished", result=record)

    def observe_epoch(epoch: EpochRecord) -> None:
        context.observers.notify("epoch_finished", epoch=epoch)

    def resumed() -> None:
        update()
        progress.resumed()

    fold, is_timed = prepared.evaluator.folds[0], context.budget.limit.seconds is not None
    known = strategy_context(prepared, is_timed=is_timed, is_inline=isinstance(executor, Inline))
    return search(
        study,
        prepared.space.suggest,
        prepared.evaluator,
        context.budget,
        make_strategy(known),
        refit_factor=len(fold.targets) / len(fold.train_rows),
        min_epochs=min_epochs(len(fold.train_rows)),
        trials=trials,
        observe=observe,
        resumed=resumed,
        observe_epoch=observe_epoch,
        executor=executor,
        costs=prepared.costs,
    )


def add_costs(context: FitContext, costs: InferenceCosts, trials: Trials) -> None:
    """Measure what was not measured while trials ran side by side; their workers have ended."""
    missing = [r for r in trials if r.latency_seconds is None and r.candidate is not None and r.objective is not None]
    for record in missing:
        if record.candidate is not None and (cost := costs.of(record.candidate)) is not None:
            trials.add(replace(record, latency_seconds=cost.latency_seconds, size_bytes=cost.size_bytes))
    if missing:
        context.run.write_trials(trials.records)


def _warn_of_untried(context: FitContext, prepared: PreparedSearch, trials: Trials) -> None:
    """Name the backbones that were tried in no form."""
    tried = {record.candidate.backbone for record in trials if record.candidate is not None}
    first, after = prepared.variants.first, prepared.variants.after
    tried |= {after[name] for name in tried if name in after}  # a resumed search may know a later form alone
    names = [spec.name for spec in first if spec.name not in tried]
    if names:
        context.warnings.warn(
            "backbones_not_tried",
            f"{len(names)} of {len(first)} backbones were not tried, since the budget ended before: "
            f"{', '.join(names)}. Give more time or trials, or name fewer with --backbones.",
            backbones=names,
        )


def _first_that_works(space: SearchSpace, evaluator: Evaluator) -> str | None:
    """Return the backbone that is expected to take least, of those that can be loaded and run; None where none can."""
    for spec in space.backbones:
        try:
            evaluator.pass_seconds(spec.name)
        except Exception:  # a plugin's error: its trials fail as well, and say why
            continue
        return spec.name
    return None


def _affordable_curves(budget: TimeBudget, space: SearchSpace, evaluator: Evaluator, backbone: str | None) -> float:
    """Return about how many trials that train the last stage of a backbone the budget allows."""
    if budget.limit.trials is not None:
        return budget.limit.trials
    params = None if backbone is None else space.tuning(backbone, 1)
    if params is None:
        return 0.0
    return budget.left / max(predicted_seconds(space, evaluator, params, space.epochs), 1e-3)
