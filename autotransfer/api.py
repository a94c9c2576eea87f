"""The one call: ``fit``; and ``load`` beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

from autotransfer._version import __version__
from autotransfer.config import Budget, SearchConfig, parse_duration
from autotransfer.contract.registry import Registry
from autotransfer.data.examples import Examples
from autotransfer.data.sources import load_examples
from autotransfer.errors import ConfigError, DataError
from autotransfer.finish import choose_winner, refit, score_test, validation_score
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
from autotransfer.run import RunFolder
from autotransfer.search.budget import Purse
from autotransfer.search.evaluate import Evaluator
from autotransfer.search.growth import Growth
from autotransfer.search.loop import search
from autotransfer.search.records import TrialRecord, Trials
from autotransfer.search.setup import startable
from autotransfer.search.space import SearchSpace, freezes_all
from autotransfer.search.study import make_study
from autotransfer.task import Kind, Task
from autotransfer.transfer.device import resolve_device
from autotransfer.transfer.memory import pages_kept

__all__ = ["fit", "load"]

Patterns = str | Sequence[str]

_DEFAULT_SECONDS = 300.0
# Last stages that fine-tuning mostly trains: their boundaries are cached while screening passes them.
_TUNED_STAGES = 3


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
    strict: bool = False,
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
        strict: An unreadable image, of the test examples too, is an error before the search; otherwise it is left out
            and listed.
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
        strict=strict,
        cache=cache,
        cache_dir=Path(cache_dir) if cache_dir is not None else None,
    )
    run = RunFolder.choose(out, overwrite=overwrite)
    with pages_kept(), Progress(config.budget, shown=progress) as show:
        read = partial(load_examples, path_column=path_column, target_column=target_column)
        examples = read(data, targets, groups=groups)
        test_examples = None if test is None else read(test, test_targets)
        return _fit(config, examples, test_examples, run, show)


def _fit(config: SearchConfig, examples: Examples, test: Examples | None, run: RunFolder, show: Progress) -> FitResult:
    """Search, refit the winner, score it on the test examples, and write everything down."""
    purse = Purse(config.budget)
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
    loaded = [] if first is None else [first]
    evaluator = Evaluator(registry, data.extractor, data.lessons, device, seed=config.seed, loaded=loaded)
    space = SearchSpace(
        backbones=tuple(backbones),
        heads=tuple(registry.select_heads(config.heads, task.kind)),
        policies=tuple(policies),
        starts=startable(registry.select_heads((), task.kind), task.outputs),
        stages=evaluator.stages,
        epochs=config.epochs,
    )
    run.create({"autotransfer": __version__, "config": asdict(config), "task": task.to_json()})
    seconds = {"decode": purse.spent}

    show.phase(f"searching {len(backbones)} backbones: {task.kind}, {task.metric}, {data}")
    trials = _search(config, space, evaluator, purse, run, show)
    best = choose_winner(trials)
    seconds["search"] = purse.spent - seconds["decode"]

    show.phase(f"refitting the best on all {len(data.images)} examples: {best.candidate}")
    started = purse.spent
    model = refit(best, data, evaluator, purse)
    model.save(run.model)
    seconds["refit"] = purse.spent - started

    started = purse.spent
    test_score = None if test is None else score_test(model, test, show)
    seconds |= {"test": purse.spent - started, "total": purse.spent}
    result = FitResult(
        best=model.candidate,
        validation=validation_score(best, data),
        test=test_score,
        seconds={name: round(value, 3) for name, value in seconds.items()},
        trials=trials,
        skipped=data.skipped,
        grouping=data.grouping,
        decoded=data.images.decoded,
        model=model,
        run=run.path,
        examples=examples,
        test_examples=test,
    )
    run.write_result(result.to_json())
    registry.notify("search_finished", result)
    return result


def _search(
    config: SearchConfig, space: SearchSpace, evaluator: Evaluator, purse: Purse, run: RunFolder, show: Progress
) -> Trials:
    """Search, keeping ``trials.csv`` up to date."""
    first, finished = space.screening(), list[TrialRecord]()

    def observe(record: TrialRecord) -> None:
        finished.append(record)
        run.write_trials(finished)
        show.trial(record)
        evaluator.registry.notify("trial_finished", record)

    lesson = evaluator.lessons[0]
    return search(
        make_study(seed=config.seed, first=first),
        space.suggest,
        evaluator,
        purse,
        refit_factor=len(lesson.targets) / len(lesson.train),
        screened=len(first),
        grow=Growth(space.tuning, after=len(first), probe=space.freezing, timed=purse.budget.seconds is not None),
        observe=observe,
    )


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
