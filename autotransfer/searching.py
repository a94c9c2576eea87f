"""The search of a fit: from examples to trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import optuna
from optuna.trial import FixedTrial

from autotransfer.config import SearchConfig
from autotransfer.contract.registry import Registry
from autotransfer.data.decode import typical_side
from autotransfer.data.examples import Examples
from autotransfer.data.left_out import warnings_of
from autotransfer.errors import DataError
from autotransfer.finish import ending_seconds
from autotransfer.insight.gain import reserved_seconds
from autotransfer.interrupts import interruptible
from autotransfer.preparation import (
    Prepared,
    available_backbones,
    load_first,
    offered_heads,
    prepare_data,
    refuse_unreadable,
)
from autotransfer.progress import Progress
from autotransfer.resuming import open_study
from autotransfer.run import RunFolder
from autotransfer.search.budget import Purse
from autotransfer.search.checkpoints import Checkpoints
from autotransfer.search.evaluate import Evaluator
from autotransfer.search.finals import Folds
from autotransfer.search.growth import Growth
from autotransfer.search.journal import read_journal
from autotransfer.search.loop import search
from autotransfer.search.prior import Prior
from autotransfer.search.records import TrialRecord, Trials
from autotransfer.search.sampling import draw
from autotransfer.search.setup import startable
from autotransfer.search.sizes import Sizes, offer_sizes
from autotransfer.search.space import SearchSpace, freezes_all
from autotransfer.search.views import Views
from autotransfer.search.work import Executor
from autotransfer.storage import close_storage, failing_clearly
from autotransfer.task import Task, infer_task
from autotransfer.transfer.device import resolve_device
from autotransfer.workers.crew import Brief, Crew

__all__ = ["Searched", "search_setups"]

# Last stages that fine-tuning mostly trains: their boundaries are cached while screening passes them.
_TUNED_STAGES = 3
# With so many examples, the last stage alone is too little to learn from them.
_MANY = 500
# Steps of a training whose head starts from a solution that tell something; no more than so many epochs are asked for.
_STEPS, _BATCH, _EPOCHS = 30, 32, 3


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
    config: SearchConfig,
    examples: Examples,
    test: Examples | None,
    run: RunFolder,
    call: dict[str, Any] | None,
    purse: Purse,
    crew: Crew,
    show: Progress,
) -> Searched:
    """Decode the examples, make or open the study, and search."""
    for given in (examples, test):
        if given is not None and given.described:
            show.say(given.described)
    _refuse_foreign_targets(test, infer_task(examples.targets or (), config.task, config.metric))
    run.refuse_unwritable()
    device, registry = resolve_device(config.device), Registry.load(config.zoos)
    backbones = available_backbones(registry, config, device, len(examples), show.say)
    policies = registry.select_policies(config.freeze)
    show.phase(f"decoding {len(examples)} images")
    decoding = purse.spent
    ahead = 0 if all(map(freezes_all, policies)) else _TUNED_STAGES
    sizes = offer_sizes(backbones, registry.named_in_full(config.backbones), typical_side(examples.items))
    first = load_first(sizes.first, device)
    heads = partial(offered_heads, registry, config)
    data = prepare_data(examples, backbones, config, ahead=ahead, first=first, heads=heads, step=show.step)
    used = [examples.targets[i] for i in data.images.kept] if examples.targets is not None else []
    show.warnings.add(*warnings_of(data.skipped, used, advice=examples.advice, clutter=examples.clutter))
    crew.share_cores()
    if data.grouping is not None:
        show.say(str(data.grouping))
    task = data.lessons[0].task
    _refuse_foreign_targets(test, task)  # again: a class may be gone with its images
    if test is not None and config.strict:
        refuse_unreadable(test)
    purse.overhead = 0.0 if test is None else (purse.spent - decoding) * len(test) / len(examples)
    loaded = [] if first is None else [first]
    evaluator = Evaluator(
        registry,
        data.extractor,
        data.lessons,
        device,
        seed=config.seed,
        loaded=loaded,
        checkpoints=Checkpoints(run.checkpoints),
        sample=draw(data.lessons, config.seed) if len(backbones) > 1 else None,
    )
    stages = lru_cache(maxsize=None)(evaluator.stages)  # backbones of which many were tried are not loaded again
    space = SearchSpace(
        backbones=sizes.backbones,
        heads=tuple(heads(task, len(data.images))),
        policies=tuple(policies),
        starts=startable(registry.select_heads((), task.kind), task.outputs),
        stages=stages,
        epochs=config.epochs,
        examples=len(data.lessons[0].train),
        others=sizes.others,
        views=Views(config.views),
    )
    if config.compare_scratch:
        purse.overhead += reserved_seconds(purse, evaluator, space.backbones[0].name)
    curves = _curves_allowed(purse, space, evaluator)
    study = open_study(config, data, space, purse, run, call=call, curves=curves, say=show.say)
    seconds = {"decode": purse.spent}

    show.phase(f"searching {len(backbones)} backbones: {task.kind}, {task.metric}, {data}")
    names = [spec.name for spec in sizes.backbones]
    brief = Brief(evaluator=evaluator, data=data, backbones=names, run=run, call=call, say=show.say)
    executor = crew.executor(brief)
    folds, tested = Folds(evaluator, data.deal), 0 if test is None else len(test)

    def leave(trials: Trials) -> float:
        return ending_seconds(trials, folds, purse.budget, tested, ensemble=config.ensemble)

    advice = f"What was finished is kept there: go on with autotransfer resume {run.path}."
    with interruptible(purse, show.say), failing_clearly(advice):
        trials = _search(study, space, sizes, evaluator, purse, executor, run, show, leave)
    seconds["search"] = purse.spent - seconds["decode"]
    close_storage(study._storage)
    return Searched(trials=trials, data=data, evaluator=evaluator, stages=stages, seconds=seconds)


def _search(
    study: optuna.Study,
    space: SearchSpace,
    sizes: Sizes,
    evaluator: Evaluator,
    purse: Purse,
    executor: Executor,
    run: RunFolder,
    show: Progress,
    leave: Callable[[Trials], float],
) -> Trials:
    """Search, keeping ``trials.csv`` up to date, and the seconds that are left to what follows."""
    told = Trials()

    def observe(record: TrialRecord) -> None:
        told.add(record)
        purse.aside = leave(told)
        run.write_trials(told.records)
        show.trial(record)
        evaluator.registry.notify("trial_finished", record)

    for entry in read_journal(study):
        if entry.record is not None:
            told.add(entry.record)
    lesson, timed = evaluator.lessons[0], purse.budget.seconds is not None
    fewest = min(math.ceil(_STEPS * _BATCH / len(lesson.train)), _EPOCHS)
    return search(
        study,
        space.suggest,
        evaluator,
        purse,
        Growth(
            screening=space.screening(),
            others=sizes.others,
            views=space.views,
            unlike=sizes.smaller,
            tuning=space.tuning,
            probe=space.freezing,
            policies=space.tuning_policies,
            curves=Prior.load().curves.scaled(space.epochs),
            seconds=partial(_predicted, space, evaluator) if timed else None,
            ceiling=lesson.task.ceiling,
            begin=1 if len(lesson.train) < _MANY else 2,
            middle=lambda backbone: 0 if len(lesson.train) < _MANY else len(evaluator.stages(backbone)) // 2,
            fewest=fewest,
        ),
        refit_factor=len(lesson.targets) / len(lesson.train),
        fewest=fewest,
        observe=observe,
        executor=executor,
    )


def _predicted(space: SearchSpace, evaluator: Evaluator, params: dict[str, Any], epochs: int) -> float:
    """Return about how long a trial with these parameters takes to so many epochs, in seconds."""
    return evaluator.predicted_seconds(space.suggest(FixedTrial(params)), epochs)


def _curves_allowed(purse: Purse, space: SearchSpace, evaluator: Evaluator) -> float:
    """Return about how many trials that train stages the budget allows."""
    if purse.budget.trials is not None:
        return purse.budget.trials
    params = space.tuning(space.backbones[0].name, 1)
    return 0.0 if params is None else purse.left / max(_predicted(space, evaluator, params, space.epochs), 1e-3)


def _refuse_foreign_targets(test: Examples | None, task: Task) -> None:
    """Refuse test labels that the task does not know before the search, not after it."""
    if test is not None:
        if test.targets is None:
            raise DataError("The test images have no labels: give a folder per class, or test_targets.")
        task.encode(test.targets)
