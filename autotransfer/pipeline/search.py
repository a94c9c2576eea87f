"""The search of a fit: from examples to trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Protocol

import optuna
from optuna.trial import FixedTrial

from autotransfer.contract.observers import Observers
from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import EpochRecord, HeadSpec
from autotransfer.data.examples import Examples, modality_of
from autotransfer.data.skipped import warnings_of
from autotransfer.errors import DataError
from autotransfer.evaluation.checkpoints import Checkpoints
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.evaluation.setup import startable
from autotransfer.evaluation.subsample import draw
from autotransfer.pipeline.prepare import (
    Prepared,
    available_backbones,
    load_first,
    offered_heads,
    prepare_data,
    refuse_unreadable,
    task_of,
)
from autotransfer.pipeline.resume import Choices, known_backbones, open_study, pick
from autotransfer.run.folder import RunFolder
from autotransfer.run.interrupts import interruptible
from autotransfer.run.progress import Progress
from autotransfer.runtime.device import resolve_device
from autotransfer.runtime.storage import close_storage, translate_storage_errors
from autotransfer.search.budget import TimeBudget
from autotransfer.search.jobs import Executor
from autotransfer.search.journal import read_journal
from autotransfer.search.loop import search
from autotransfer.search.prior import Prior
from autotransfer.search.space import SearchSpace, freezes_all
from autotransfer.search.strategy import Strategy
from autotransfer.search.strategy_context import StrategyContext
from autotransfer.search.trials import TrialRecord, Trials
from autotransfer.search.tta import TtaViews
from autotransfer.search.variants import Variants, offer_variants
from autotransfer.settings import Settings
from autotransfer.tasks.preconditions import check_scored, positive_class_warning
from autotransfer.tasks.task import Task
from autotransfer.workers.pool import WorkerPool

__all__ = ["Searched", "search_setups"]

# Last stages that fine-tuning mostly trains: their boundaries are cached while screening passes them.
_TUNED_STAGES = 3
# With so many examples, the last stage alone is too little to learn from them.
_MANY = 500
# Steps of a training whose head starts from a solution that tell something; no more than so many epochs are asked for.
_STEPS, _BATCH, _EPOCHS = 30, 32, 3


class LaterSteps(Protocol):
    """Reserves in the budget what the steps after the search will take."""

    def begin(self, data: Prepared, evaluator: Evaluator, backbone: str) -> None:
        """Reserve what does not depend on the trials; the backbone is the one that is expected to take least."""
        ...

    def update(self, trials: Trials) -> None:
        """Reserve what depends on the trials."""
        ...


@dataclass(frozen=True, kw_only=True)
class Searched:
    """What a search leaves to what follows it.

    Attributes:
        trials: The trials.
        data: The examples.
        evaluator: What scored them, with the backbones that it has loaded.
        stages: Returns the stages of a backbone.
        seconds: Wall time of each part.
    """

    trials: Trials
    data: Prepared
    evaluator: Evaluator
    stages: Callable[[str], tuple[str, ...]]
    seconds: Mapping[str, float]


def search_setups(
    settings: Settings,
    examples: Examples,
    test: Examples | None,
    run: RunFolder,
    call: Mapping[str, Any],
    budget: TimeBudget,
    worker_pool: WorkerPool,
    show: Progress,
    registry: Registry,
    observers: Observers,
    later_steps: LaterSteps,
) -> Searched:
    """Decode the examples, make or open the study, and search."""
    for given in (examples, test):
        if given is not None and given.described:
            show.say(given.described)
    _check_scored(examples, test, task_of(examples, settings), show)
    run.refuse_unwritable()
    show.step("looking for the backbones")
    device = resolve_device(settings.compute.device)
    modality = modality_of(examples)
    began, choosing = Choices.of(run, settings), settings
    if began is not None:
        choosing = replace(settings, backbones=known_backbones(registry, run, began.backbones))
    backbones = available_backbones(
        registry, choosing, device, len(examples), show.say, show.warnings, modality=modality
    )
    policies = registry.select_policies(settings.search.freeze)
    if began is not None:
        policies = pick(policies, began.freeze) or policies
    show.phase(f"reading {len(examples)} {modality.noun}s")
    decoding = budget.spent
    ahead = 0 if all(map(freezes_all, policies)) else _TUNED_STAGES
    variants = offer_variants(backbones, registry.named_in_full(settings.backbones), modality, examples.items)
    first = load_first(variants.first, device)

    def heads(task: Task, examples: int) -> list[HeadSpec]:
        offered = offered_heads(registry, settings, task, examples)
        return offered if began is None else pick(offered, began.heads) or offered

    data = prepare_data(
        examples,
        backbones,
        settings,
        ahead=ahead,
        first=first,
        heads=heads,
        report=show.step,
        warnings=show.warnings,
    )
    show.warnings.add(*data.store.warnings)
    used = [examples.targets[i] for i in data.store.kept] if examples.targets is not None else []
    show.warnings.add(*warnings_of(data.skipped, used, advice=examples.advice, ignored_files=examples.ignored_files))
    worker_pool.share_cores()
    if data.grouping is not None:
        show.say(str(data.grouping))
    task = data.folds[0].task
    if test is not None and test.targets is not None:
        task.encode(test.targets)  # again: a class may be gone with its examples
    _say_what_is_scored(data, settings, show)
    if test is not None and settings.data_options.strict:
        refuse_unreadable(test, data.store.reading)
    if test is not None:
        budget.reserve("test", (budget.spent - decoding) * len(test) / len(examples))
    loaded = [] if first is None else [first]
    evaluator = Evaluator(
        registry,
        data.extractor,
        data.folds,
        device,
        seed=settings.seed,
        loaded=loaded,
        checkpoints=Checkpoints(run.checkpoints),
        sample=draw(data.folds, settings.seed) if len(backbones) > 1 else None,
    )
    stages = lru_cache(maxsize=None)(evaluator.stages)  # backbones of which many were tried are not loaded again
    space = SearchSpace(
        backbones=variants.backbones,
        heads=tuple(heads(task, len(data.store))),
        policies=tuple(policies),
        starts=startable(registry.select_heads((), task.kind), task.outputs),
        stages=stages,
        epochs=settings.search.epochs,
        examples=len(data.folds[0].train_rows),
        variants=variants.others,
        views=TtaViews(settings.search.views),
    )
    later_steps.begin(data, evaluator, space.backbones[0].name)
    curves = _curves_allowed(budget, space, evaluator)
    choices = Choices(
        backbones=tuple(spec.name for spec in backbones),
        heads=tuple(spec.name for spec in space.heads),
        freeze=tuple(spec.name for spec in space.policies),
    )
    study = open_study(
        settings, data, space, budget, run, choices=choices, call=call, curves=curves, warnings=show.warnings
    )
    seconds = {"decode": budget.spent}

    many = "s" if len(backbones) > 1 else ""
    show.phase(f"searching {len(backbones)} backbone{many}: {task.kind}, {task.metric_label}, {data}")
    executor = worker_pool.executor(evaluator, run.checkpoints)

    advice = f"What was finished is kept there: go on with autotransfer resume {run.path}."
    with interruptible(budget, show.say), translate_storage_errors(advice):
        trials = _search(study, space, variants, evaluator, budget, executor, run, show, later_steps, observers)
    _warn_of_untried(study, variants, show)
    seconds["search"] = budget.spent - seconds["decode"]
    close_storage(study._storage)
    return Searched(trials=trials, data=data, evaluator=evaluator, stages=stages, seconds=seconds)


def _search(
    study: optuna.Study,
    space: SearchSpace,
    variants: Variants,
    evaluator: Evaluator,
    budget: TimeBudget,
    executor: Executor,
    run: RunFolder,
    show: Progress,
    later_steps: LaterSteps,
    observers: Observers,
) -> Trials:
    """Search, keeping ``trials.csv`` up to date, and the seconds that are left to what follows."""
    trials = show.trials

    def observe(record: TrialRecord) -> None:
        later_steps.update(trials)
        run.write_trials(trials.records)
        show.trial(record)
        observers.notify("trial_finished", result=record)

    def observe_epoch(epoch: EpochRecord) -> None:
        observers.notify("epoch_finished", epoch=epoch)

    def resumed() -> None:
        later_steps.update(trials)
        run.write_trials(trials.records)
        show.resumed()

    fold, timed = evaluator.folds[0], budget.limit.seconds is not None
    min_epochs = min(math.ceil(_STEPS * _BATCH / len(fold.train_rows)), _EPOCHS)
    return search(
        study,
        space.suggest,
        evaluator,
        budget,
        Strategy(
            StrategyContext(
                screening=space.screening(),
                variants=variants.others,
                views=space.views,
                distant=variants.unusual,
                tuning=space.tuning,
                frozen_policy=space.freezing,
                tuning_policies=space.tuning_policies,
                curves=Prior.load().curves.scaled(space.epochs),
                seconds=partial(_predicted, space, evaluator) if timed else None,
                perfect_score=fold.task.perfect_score,
                first_trained=1 if len(fold.train_rows) < _MANY else 2,
                half_depth=lambda backbone: 0 if len(fold.train_rows) < _MANY else len(evaluator.stages(backbone)) // 2,
                min_epochs=min_epochs,
                backbones=[spec.name for spec in variants.backbones],
            )
        ),
        refit_factor=len(fold.targets) / len(fold.train_rows),
        min_epochs=min_epochs,
        trials=trials,
        observe=observe,
        resumed=resumed,
        observe_epoch=observe_epoch,
        executor=executor,
    )


def _warn_of_untried(study: optuna.Study, variants: Variants, show: Progress) -> None:
    """Name the backbones that were tried in no form."""
    tried = {entry.params.get("backbone") for entry in read_journal(study) if entry.record is not None}
    names = [spec.name for spec in variants.first if not {spec.name, variants.others.get(spec.name)} & tried]
    if names:
        show.warnings.warn(
            "backbones_not_tried",
            f"{len(names)} of {len(variants.first)} backbones were not tried, since the budget ended before: "
            f"{', '.join(names)}. Give more time or trials, or name fewer with --backbones.",
            backbones=names,
        )


def _predicted(space: SearchSpace, evaluator: Evaluator, params: dict[str, Any], epochs: int) -> float:
    """Return about how long a trial with these parameters takes to so many epochs, in seconds."""
    return evaluator.predicted_seconds(space.suggest(FixedTrial(params)), epochs)


def _curves_allowed(budget: TimeBudget, space: SearchSpace, evaluator: Evaluator) -> float:
    """Return about how many trials that train stages the budget allows."""
    if budget.limit.trials is not None:
        return budget.limit.trials
    params = space.tuning(space.backbones[0].name, 1)
    return 0.0 if params is None else budget.left / max(_predicted(space, evaluator, params, space.epochs), 1e-3)


def _check_scored(examples: Examples, test: Examples | None, task: Task, show: Progress) -> None:
    """Refuse, before anything is decoded, examples that cannot be scored; say what others lack."""
    for warning in examples.warnings:
        if warning.code == "target_format_assumed":
            show.say(warning.message)
    if test is not None:
        if test.targets is None:
            raise DataError("The test examples have no labels: give a folder per class, or test_targets.")
        show.warnings.add(*check_scored(task, task.encode(test.targets), "test"))
    if examples.held_out is not None and examples.targets is not None:
        held = [target for target, there in zip(examples.targets, examples.held_out, strict=True) if there]
        show.warnings.add(*check_scored(task, task.encode(held), "validation"))


def _say_what_is_scored(data: Prepared, settings: Settings, show: Progress) -> None:
    """Say which class is positive where the user has not said; refuse folds on which nothing can be scored."""
    fold = data.folds[0]
    check_scored(fold.task, fold.targets[fold.validation_rows], "validation")
    if (warning := positive_class_warning(fold.task, fold.targets, settings.data_options.positive_class)) is not None:
        show.warnings.add(warning)
        show.say(warning.message)
