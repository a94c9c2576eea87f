"""The one call: ``fit``; and ``load`` beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotransfer.contract.observers import Observers
from autotransfer.contract.registry import Registry
from autotransfer.errors import DataNotFoundError, RunFormatError
from autotransfer.model.transfer_model import TransferModel
from autotransfer.pipeline.analyse import analyse
from autotransfer.pipeline.checks import check_settings
from autotransfer.pipeline.context import FitContext
from autotransfer.pipeline.load_data import file_finder, load_data
from autotransfer.pipeline.prepare_search import prepare_search
from autotransfer.pipeline.reservations import LaterSteps
from autotransfer.pipeline.search import add_costs, search_candidates
from autotransfer.pipeline.select import select_model
from autotransfer.pipeline.write_report import renew_summary
from autotransfer.run.folder import RunFolder
from autotransfer.run.progress import Progress
from autotransfer.run.result import FitResult
from autotransfer.runtime.library_defaults import default_settings
from autotransfer.runtime.memory import keep_freed_memory
from autotransfer.search.budget import TimeBudget
from autotransfer.settings import (
    Compute,
    DataArguments,
    DataOptions,
    Folders,
    Patterns,
    RunOptions,
    SearchOptions,
    Selection,
    Settings,
)
from autotransfer.settings.serialization import call_from_json, call_to_json, described, is_complete
from autotransfer.workers.pool import open_pool

__all__ = ["fit", "load", "resume"]


@default_settings()
def fit(
    data: Any,
    targets: Any = None,
    *,
    test: Any = None,
    time_budget: str | float | None = None,
    trials: int | None = None,
    backbones: Patterns = (),
    heads: Patterns = (),
    zoo: Folders | None = None,
    metric: str | Callable[..., Any] | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    data_options: DataOptions = DataOptions(),
    search: SearchOptions = SearchOptions(),
    selection: Selection = Selection(),
    compute: Compute = Compute(),
    run: RunOptions = RunOptions(),
) -> FitResult:
    """Find the best transfer setup for a task and train it.

    Example:
        >>> from autotransfer import Compute, fit
        >>> result = fit("photos/train", time_budget="10m", compute=Compute(workers=2))  # doctest: +SKIP

    Args:
        data: A folder with a sub-folder per class; arrays, paths or examples with ``targets``; a DataFrame or CSV
            file; or a ``torch.utils.data.Dataset`` of (example, label). Where a table has a column, or a folder has
            folders, of the parts train, validation and test, these are used as such.
        targets: One target for each example, where ``data`` does not hold them.
        test: Examples to score the final model on, once; any form that ``data`` may have.
        time_budget: Wall time for search and refit, as ``"5m"`` or seconds; 5 minutes when ``trials`` is not given.
        trials: Number of trials; with it alone, equal seeds give equal results on one machine.
        backbones: Names or glob patterns of backbones; none means the zoo's, or a short portfolio.
        heads: Names or glob patterns of heads.
        zoo: Folders of checkpoints; None takes the environment variable ``AUTOTRANSFER_ZOO``.
        metric: A scikit-learn scorer, by name or as an object; ``Settings`` says which objects. None chooses by task.
        seed: Seed of sampler, split and training.
        out: The run folder; ``runs/DATE-TIME`` when not given.
        data_options: How the data are read, and divided into examples to train on and examples to score on.
        search: What is searched beside backbones and heads, and how candidates train.
        selection: What may become the model beside the best candidate.
        compute: Where candidates are evaluated, and what they may take of the machine.
        run: What the run folder keeps, and who looks on.

    Returns:
        The winner, its scores, all trials and the trained model; the run folder holds the same.

    Raises:
        ConfigError: A setting is wrong.
        DataError: The data cannot be used.
        BackboneError: No backbone can be loaded.
        SearchError: No trial succeeded.
    """
    settings = Settings(
        time_budget=time_budget,
        trials=trials,
        backbones=backbones,
        heads=heads,
        zoo=zoo,
        metric=metric,
        seed=seed,
        out=out,
        data_options=data_options,
        search=search,
        selection=selection,
        compute=compute,
        run=run,
    )
    return _run(DataArguments(data=data, targets=targets, test=test), settings)


def _run(arguments: DataArguments, settings: Settings) -> FitResult:
    """Fit with settings that were checked one by one."""
    run = RunFolder.choose(settings.out, overwrite=settings.run.overwrite, resume=settings.run.resume)
    with keep_freed_memory(), Progress(settings.budget, shown=settings.run.progress) as progress:
        budget = TimeBudget(settings.budget)
        progress.update("loading the plugins")
        registry = Registry.load(settings.zoos)
        check_settings(settings, registry)
        observers = Observers(registry.loaded, settings.run.callbacks, progress.warnings.warn)
        with observers.observe({**described(settings), "run": str(run.path)}):
            progress.update("looking for the examples")
            examples, test = load_data(arguments, settings.data_options)
            progress.warnings.add(*examples.warnings, *(() if test is None else test.warnings))
            context = FitContext(
                settings=settings,
                examples=examples,
                test=test,
                registry=registry,
                budget=budget,
                run=run,
                call=call_to_json(arguments, settings, locate=file_finder(examples, settings.data_options)),
                progress=progress,
                observers=observers,
            )
            result = _fit(context)
        observers.notify("search_finished", result=result)
        if len(progress.warnings) > len(result.warnings):  # an observer failed at the very end
            result = replace(result, warnings=tuple(progress.warnings))
            run.write_result(result.to_json())
            with run.writing():
                renew_summary(result)
        return result


def _fit(context: FitContext) -> FitResult:
    """Prepare, search, select, analyse; write the model and the result into the run folder."""
    later_steps = LaterSteps(context.budget, context.settings, context.test_examples)
    with open_pool(context.settings) as worker_pool:
        prepared = prepare_search(context, worker_pool)
        found = search_candidates(context, prepared, worker_pool, later_steps)
    add_costs(context, found.costs, found.trials)
    selection = select_model(context, found)
    result = analyse(context, found, selection)
    found.evaluator.checkpoints.clear()
    return result


@default_settings()
def resume(
    run: str | Path,
    *,
    time_budget: str | float | None = None,
    trials: int | None = None,
    callbacks: Sequence[object] = (),
    progress: bool = True,
) -> FitResult:
    """Go on with a run that was broken off, as it was started; see ``fit``.

    Args:
        run: The run folder.
        time_budget: A new budget of time; None goes on with what is left.
        trials: A new number of trials, those that there are included.
        callbacks: Objects that observe the search, as for ``fit``: a run folder keeps none.
        progress: Show progress on standard error.

    Raises:
        DataNotFoundError: There is no run.
        RunFormatError: The run cannot go on.
        DataError: The data have changed.
    """
    path = Path(run)
    if not (path / "run.json").exists():
        what = "it does not exist" if not path.exists() else "it holds no run.json" if path.is_dir() else "it is a file"
        raise DataNotFoundError(
            f"There is no run in {path}: {what}. Name the folder that fit wrote, its out, or start a run with fit."
        )
    folder = RunFolder.choose(path, resume=True)
    recorded = folder.read()
    call = recorded.get("call")
    if not isinstance(call, dict) or not is_complete(call):
        raise RunFormatError(
            f"The run in {folder.path} was started with data, or a metric, that no file holds: call fit with the same "
            "arguments, out= this folder and resume=True."
        )
    try:
        arguments, settings = call_from_json(call)
        folders = recorded["folders"]
        settings = replace(
            settings,
            zoo=folders["zoo"],
            compute=replace(settings.compute, cache_dir=folders["cache_dir"]),
            run=replace(settings.run, resume=True, callbacks=callbacks, progress=progress),
            out=folder.path,
        )
    except (KeyError, TypeError) as error:
        raise RunFormatError(f"The settings in {folder.path / 'run.json'} cannot be read: {error}.") from error
    if time_budget is not None or trials is not None:
        settings = replace(settings, time_budget=time_budget, trials=trials)
        folder.update(budget=None)
    return _run(arguments, settings)


def load(folder: str | Path, *, device: str = "auto") -> TransferModel:
    """Load a saved model, or the model of a run folder.

    Raises:
        DataNotFoundError: There is none.
        ModelFormatError: It is damaged.
    """
    return TransferModel.load(folder, device=device)
