"""The one call: ``fit``; and ``load`` beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.trial import FixedTrial

from autotransfer.config import Budget, SearchConfig, parse_duration
from autotransfer.contract.registry import Registry
from autotransfer.data.examples import Examples
from autotransfer.data.sources import load_examples
from autotransfer.errors import ConfigError, DataError, RunFormatError
from autotransfer.finish import finals_seconds, finish, score_test
from autotransfer.insight.gain import reserved_seconds
from autotransfer.insight.summary import explain
from autotransfer.interrupts import interruptible
from autotransfer.model import TransferModel
from autotransfer.preparation import (
    Folders,
    available_backbones,
    load_first,
    prepare_data,
    refuse_unreadable,
    zoos_from,
)
from autotransfer.progress import Progress
from autotransfer.result import FitResult
from autotransfer.resuming import call_of, open_study
from autotransfer.run import RunFolder
from autotransfer.search.budget import Purse
from autotransfer.search.checkpoints import Checkpoints
from autotransfer.search.evaluate import Evaluator
from autotransfer.search.growth import Growth
from autotransfer.search.journal import read_journal
from autotransfer.search.loop import search
from autotransfer.search.prior import Prior
from autotransfer.search.records import TrialRecord, Trials
from autotransfer.search.setup import startable
from autotransfer.search.space import SearchSpace, freezes_all
from autotransfer.task import Kind, Task
from autotransfer.transfer.device import resolve_device
from autotransfer.transfer.memory import pages_kept

__all__ = ["fit", "load", "resume"]

Patterns = str | Sequence[str]

_DEFAULT_SECONDS = 300.0
# Last stages that fine-tuning mostly trains: their boundaries are cached while screening passes them.
_TUNED_STAGES = 3
# With so many examples, the last stage alone is too little to learn from them.
_MANY = 500


def fit(
    data: Any,
    targets: Any = None,
    *,
    test: Any = None,
    test_targets: Any = None,
    path_column: str | None = None,
    target_column: str | Sequence[str] | None = None,
    groups: Any = None,
    backbones: Patterns = (),
    zoo: Folders | None = None,
    heads: Patterns = (),
    freeze: Patterns = (),
    time_budget: str | float | None = None,
    trials: int | None = None,
    task: Kind | None = None,
    metric: str | None = None,
    class_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
    validation: float = 0.25,
    epochs: int = 12,
    seed: int = 0,
    device: str = "auto",
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    storage: str | None = None,
    ensemble: bool = True,
    soup: bool = True,
    calibrate: bool = True,
    strict: bool = False,
    compare_scratch: bool = True,
    cache: bool = True,
    cache_dir: str | Path | None = None,
    progress: bool = True,
) -> FitResult:
    """Find the best transfer setup for a task and train it.

    Args:
        data: A folder with a sub-folder per class; arrays, paths or PIL images with ``targets``; a DataFrame or CSV
            file; or a ``torch.utils.data.Dataset`` of (image, label).
        targets: One target for each example, where ``data`` does not hold them.
        test: Examples to score the final model on, once; any form that ``data`` may have.
        test_targets: Their targets.
        path_column: Column of image paths in a table; guessed when not given.
        target_column: Column of targets, or several.
        groups: What no split may tear apart, such as photographs of one object: one for each image; the column of a
            table; or a regular expression that finds the group in a path. None keeps near-duplicates together.
        backbones: Names or glob patterns of backbones; none means the zoo's, or a short portfolio.
        zoo: Folders of checkpoints; None takes the environment variable ``AUTOTRANSFER_ZOO``.
        heads: Names or glob patterns of heads.
        freeze: Names or glob patterns of freeze policies.
        time_budget: Wall time for search and refit, as ``"5m"`` or seconds; 5 minutes when ``trials`` is not given.
        trials: Number of trials; with it alone, equal seeds give equal results on one machine.
        task: Kind of task; inferred from the targets.
        metric: A scikit-learn scorer's name; chosen by task: accuracy, or balanced accuracy when classes are
            imbalanced; macro F1 for multilabel; R2 for regression.
        class_weight: ``"balanced"`` weights the loss by inverse class frequency; a dictionary gives the weight of each
            class, 1 for those that it leaves out.
        validation: Share of the examples that candidates are scored on, from 3,000 examples on; fewer are divided
            into folds, and it has no effect.
        epochs: Epochs of a candidate that trains stages.
        seed: Seed of sampler, split and training.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        out: The run folder; ``runs/DATE-TIME`` when not given.
        overwrite: Replace a run that ``out`` holds.
        resume: Go on with a run that ``out`` holds, on the same data: no finished trial is lost or repeated. The same
            budget means what is left of it, another one is a new one. Where there is no run, one begins.
        storage: URL of an Optuna storage, such as ``postgresql://…``, for the study; None keeps it in the run folder.
        ensemble: Ensemble the best candidates where validation says that it pays; the model then runs all of them.
        soup: Average the weights of fine-tuned candidates of one backbone where validation says that it pays.
        calibrate: Scale probabilities by a temperature where validation says that it makes them more honest; not with
            class weights, which are meant to shift them.
        strict: An unreadable image, of the test examples too, is an error before the search; otherwise it is left out
            and listed.
        compare_scratch: Train the winner's architecture from random weights, too, to show what transfer gains; takes
            about a twentieth of a time budget, or as many epochs as one candidate.
        cache: Keep activations on disk between runs.
        cache_dir: Folder of that cache.
        progress: Show progress on standard error.

    Returns:
        The winner, its scores, all trials and the trained model; the run folder holds the same.

    Raises:
        ConfigError: A setting is wrong.
        DataError: The data cannot be used.
        BackboneError: No backbone can be loaded.
        SearchError: No trial succeeded.
    """
    call = call_of(locals())
    config = SearchConfig(
        budget=_budget(time_budget, trials),
        backbones=_patterns(backbones),
        zoos=zoos_from(zoo),
        heads=_patterns(heads),
        freeze=_patterns(freeze),
        task=task,
        metric=metric,
        class_weight=class_weight,
        validation=validation,
        epochs=epochs,
        seed=seed,
        device=device,
        ensemble=ensemble,
        soup=soup,
        calibrate=calibrate,
        strict=strict,
        compare_scratch=compare_scratch,
        cache=cache,
        cache_dir=Path(cache_dir) if cache_dir is not None else None,
        storage=storage,
    )
    run = RunFolder.choose(out, overwrite=overwrite, resume=resume)
    with pages_kept(), Progress(config.budget, shown=progress) as show:
        show.step("looking for the images")
        read = partial(load_examples, path_column=path_column, target_column=target_column)
        examples = read(data, targets, groups=groups)
        test_examples = None if test is None else read(test, test_targets)
        return _fit(config, examples, test_examples, run, call, show)


def _fit(
    config: SearchConfig,
    examples: Examples,
    test: Examples | None,
    run: RunFolder,
    call: dict[str, Any] | None,
    show: Progress,
) -> FitResult:
    """Search, refit the winner, score it on the test examples, and write everything down."""
    purse = Purse(config.budget, aside=finals_seconds(config.budget))
    device, registry = resolve_device(config.device), Registry.load(config.zoos)
    backbones = available_backbones(registry, config, device, len(examples), show.say)
    policies = registry.select_policies(config.freeze)
    show.phase(f"decoding {len(examples)} images")
    decoding = purse.spent
    ahead = 0 if all(map(freezes_all, policies)) else _TUNED_STAGES
    first = load_first(backbones, device)
    data = prepare_data(examples, backbones, config, ahead=ahead, first=first, step=show.step)
    if data.grouping is not None:
        show.say(str(data.grouping))
    task = data.lessons[0].task
    _refuse_foreign_targets(test, task)
    if test is not None and config.strict:
        refuse_unreadable(test)
    purse.overhead = 0.0 if test is None else (purse.spent - decoding) * len(test) / len(examples)
    purse.overhead += reserved_seconds(purse) if config.compare_scratch else 0.0
    loaded = [] if first is None else [first]
    kept = Checkpoints(run.checkpoints)
    evaluator = Evaluator(
        registry, data.extractor, data.lessons, device, seed=config.seed, loaded=loaded, checkpoints=kept
    )
    stages = lru_cache(maxsize=None)(evaluator.stages)  # backbones of which many were tried are not loaded again
    space = SearchSpace(
        backbones=tuple(backbones),
        heads=tuple(registry.select_heads(config.heads, task.kind)),
        policies=tuple(policies),
        starts=startable(registry.select_heads((), task.kind), task.outputs),
        stages=stages,
        epochs=config.epochs,
    )
    curves = _curves_allowed(purse, space, evaluator)
    study = open_study(config, data, space, purse, run, call=call, curves=curves, say=show.say)
    seconds = {"decode": purse.spent}

    show.phase(f"searching {len(backbones)} backbones: {task.kind}, {task.metric}, {data}")
    with interruptible(purse, show.say):
        trials = _search(study, space, evaluator, purse, run, show)
    seconds["search"] = purse.spent - seconds["decode"]

    ending = finish(trials, data, evaluator, purse, config, show)
    ending.model.save(run.model)
    seconds["finals"] = ending.seconds
    seconds["refit"] = purse.spent - sum(seconds.values())

    started = purse.spent
    test_score = None if test is None else score_test(ending.model, test, show)
    seconds["test"] = purse.spent - started

    show.phase("asking how far the score is to be believed, and what transfer gains")
    started = purse.spent
    insight = explain(ending.best, trials, evaluator, purse, config, stages)
    seconds |= {"insight": purse.spent - started, "total": purse.spent}
    result = FitResult(
        best=ending.model.candidate,
        validation=ending.validation,
        test=test_score,
        insight=insight,
        seconds={name: round(value, 3) for name, value in seconds.items()},
        trials=trials,
        finals=ending.finals,
        ensemble=ending.ensemble,
        soup=ending.soup,
        calibration=ending.calibration,
        skipped=data.skipped,
        grouping=data.grouping,
        decoded=data.images.decoded,
        model=ending.model,
        run=run.path,
        examples=examples,
        test_examples=test,
    )
    run.write_result(result.to_json())
    kept.clear()
    registry.notify("search_finished", result)
    return result


def _search(
    study: optuna.Study, space: SearchSpace, evaluator: Evaluator, purse: Purse, run: RunFolder, show: Progress
) -> Trials:
    """Search, keeping ``trials.csv`` up to date."""
    told = Trials()

    def observe(record: TrialRecord) -> None:
        told.add(record)
        run.write_trials(told.records)
        show.trial(record)
        evaluator.registry.notify("trial_finished", record)

    for entry in read_journal(study):
        if entry.record is not None:
            told.add(entry.record)
    lesson, timed = evaluator.lessons[0], purse.budget.seconds is not None
    return search(
        study,
        space.suggest,
        evaluator,
        purse,
        Growth(
            screening=space.screening(),
            tuning=space.tuning,
            probe=space.freezing,
            policies=space.tuning_policies,
            curves=Prior.load().curves.scaled(space.epochs),
            seconds=partial(_predicted, space, evaluator) if timed else None,
            ceiling=lesson.task.ceiling,
            begin=1 if len(lesson.train) < _MANY else 2,
        ),
        refit_factor=len(lesson.targets) / len(lesson.train),
        observe=observe,
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


def resume(
    run: str | Path, *, time_budget: str | float | None = None, trials: int | None = None, progress: bool = True
) -> FitResult:
    """Go on with a run that was broken off, as it was started; see ``fit``.

    Args:
        run: The run folder.
        time_budget: A new budget of time; None goes on with what is left.
        trials: A new number of trials, those that there are included.
        progress: Show progress on standard error.

    Raises:
        RunFormatError: There is no run that can go on.
        DataError: The data have changed.
    """
    folder = RunFolder.choose(run, resume=True)
    settings = folder.settings()
    call = settings.get("call")
    if not isinstance(call, dict):
        raise RunFormatError(
            f"The run in {folder.path} was started with data that no file holds: call fit with the same data, "
            "out= this folder and resume=True."
        )
    if time_budget is not None or trials is not None:
        call |= {"time_budget": time_budget, "trials": trials}
        folder.forget_budget()
    return fit(**{**call, "progress": progress}, out=folder.path, resume=True)


def load(folder: str | Path, *, device: str = "auto") -> TransferModel:
    """Load a saved model, or the model of a run folder.

    Raises:
        DataNotFoundError: There is none.
        ModelFormatError: It is damaged.
    """
    return TransferModel.load(folder, device=device)


def _budget(time_budget: str | float | None, trials: int | None) -> Budget:
    if time_budget is None:
        return Budget(seconds=None if trials else _DEFAULT_SECONDS, trials=trials)
    return Budget(seconds=parse_duration(time_budget), trials=trials)


def _patterns(given: Patterns) -> tuple[str, ...]:
    patterns = [given] if isinstance(given, str) else given
    if not isinstance(patterns, Sequence) or not all(isinstance(pattern, str) for pattern in patterns):
        raise ConfigError(f"Names and patterns are text, or a list of texts; got {given!r}.")
    return tuple(patterns)


def _refuse_foreign_targets(test: Examples | None, task: Task) -> None:
    """Refuse test labels that the task does not know before the search, not after it."""
    if test is not None:
        if test.targets is None:
            raise DataError("The test images have no labels: give a folder per class, or test_targets.")
        task.encode(test.targets)
