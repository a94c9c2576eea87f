"""The one call: ``fit``; and ``load`` beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from autotransfer.analysis.summary import explain
from autotransfer.analysis.train_test_overlap import warn_of_repeats
from autotransfer.contract.observers import Observers
from autotransfer.contract.registry import Registry
from autotransfer.data.examples import Examples
from autotransfer.errors import DataNotFoundError, RunFormatError
from autotransfer.model.transfer_model import TransferModel
from autotransfer.pipeline.calls import arguments_of, call_of, configure, data_of
from autotransfer.pipeline.checks import check_settings
from autotransfer.pipeline.search import search_setups
from autotransfer.pipeline.select import finish, score_test
from autotransfer.report.chart import draw
from autotransfer.run.folder import RunFolder
from autotransfer.run.progress import Progress
from autotransfer.run.result import FitResult
from autotransfer.runtime.files import write_atomically
from autotransfer.runtime.library_defaults import default_settings
from autotransfer.runtime.memory import keep_freed_memory
from autotransfer.search.budget import TimeBudget
from autotransfer.settings import Folders, SearchConfig
from autotransfer.tasks.task import Kind
from autotransfer.workers.pool import open_pool

__all__ = ["fit", "load", "resume"]

Patterns = str | Sequence[str]


@default_settings()
def fit(
    data: Any,
    targets: Any = None,
    *,
    test: Any = None,
    test_targets: Any = None,
    path_column: str | None = None,
    target_column: str | Sequence[str] | None = None,
    label_separator: str | None = None,
    groups: Any = None,
    root: str | Path | None = None,
    suffix: str | None = None,
    follow_links: bool = False,
    min_images: int | None = None,
    value_range: tuple[float, float] | None = None,
    backbones: Patterns = (),
    exclude: Patterns = (),
    zoo: Folders | None = None,
    heads: Patterns = (),
    freeze: Patterns = (),
    time_budget: str | float | None = None,
    trials: int | None = None,
    task: Kind | None = None,
    metric: str | Callable[..., Any] | None = None,
    positive_class: Any = None,
    class_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
    validation: Any = 0.25,
    validation_targets: Any = None,
    epochs: int = 12,
    views: int = 4,
    seed: int = 0,
    device: str = "auto",
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    storage: str | None = None,
    study: str | None = None,
    workers: int | None = None,
    executor: Literal["local", "ray"] = "local",
    ray_address: str | None = None,
    trial_timeout: str | float = 60.0,
    ensemble: bool = True,
    soup: bool = True,
    calibrate: bool = True,
    strict: bool = False,
    compare_scratch: bool = True,
    cache: bool = True,
    cache_dir: str | Path | None = None,
    callbacks: Sequence[object] = (),
    progress: bool = True,
) -> FitResult:
    """Find the best transfer setup for a task and train it.

    Args:
        data: A folder with a sub-folder per class; arrays, paths or PIL images with ``targets``; a DataFrame or CSV
            file; or a ``torch.utils.data.Dataset`` of (image, label). Where a table has a column, or a folder has
            folders, of the parts train, validation and test, these are used as such.
        targets: One target for each example, where ``data`` does not hold them.
        test: Examples to score the final model on, once; any form that ``data`` may have.
        test_targets: Their targets.
        path_column: Column of image paths in a table; guessed when not given.
        target_column: Column of targets, or several: of 0 and 1, which are then the classes of a multilabel task, or of
            numbers.
        label_separator: What stands between the labels of one text, such as ``"|"``: each is a label of its own, and
            the task is multilabel. None takes a text for one label.
        groups: What no split may tear apart, such as photographs of one object: one for each image; the column of a
            table; or a regular expression that finds the group in a path. None keeps near-duplicates together.
        root: Folder that the relative paths of a table or list are looked for in, before the folder of the table (for a
            list or DataFrame, the current one).
        suffix: What these paths lack at the end, such as ``".png"`` where a table lists the ids of images.
        follow_links: Follow links that lead out of a folder, and links to folders; loops end.
        min_images: Leave out classes with fewer images to train on; None refuses a class with a single image.
        value_range: The values of images that are black and white, such as ``(0, 4095)`` for 12-bit images in 16-bit
            files. None decides by the training images: 0..255 for those of 8 bits that exceed 16, 0..1 for fractions
            up to 1, and otherwise by the least and the greatest value of all of them.
        backbones: Names or glob patterns of backbones; none means the zoo's, or a short portfolio.
        exclude: Names or glob patterns of backbones to leave out, such as a broken checkpoint of a zoo.
        zoo: Folders of checkpoints; None takes the environment variable ``AUTOTRANSFER_ZOO``.
        heads: Names or glob patterns of heads.
        freeze: Names or glob patterns of freeze policies.
        time_budget: Wall time for search and refit, as ``"5m"`` or seconds; 5 minutes when ``trials`` is not given.
        trials: Number of trials; with it alone, equal seeds give equal results on one machine.
        task: Kind of task; inferred from the targets.
        metric: A scikit-learn scorer: its name, an object as ``make_scorer`` gives, a callable ``(estimator, X, y)``
            whose greater values are better, or a function such as ``sklearn.metrics.f1_score``. Objects that no name
            says cannot be written down: ``resume`` and machines that join need ``fit`` to be called again with them.
            None chooses by task: accuracy, or balanced accuracy when classes are imbalanced; macro F1 for multilabel;
            R2 for regression.
        positive_class: Which of two classes the metric takes for the positive one, as recall and precision ask. None
            takes the rarer one, of two that are as frequent the one that is sorted last, and says so.
        class_weight: ``"balanced"`` weights the loss by inverse class frequency; a dictionary gives the weight of each
            class, 1 for those that it leaves out.
        validation: What candidates are scored on: a share of the examples, from 3,000 on (fewer are divided into
            folds, and it has no effect); or examples of your own, in any form that ``data`` may have. The winner is
            trained on all of them in the end.
        validation_targets: Targets of these examples.
        epochs: Epochs of a candidate that trains stages.
        views: Most fixed views of an image (it, its mirror image, two crops) that the model averages where validation
            says that it pays: 1, 2 or 4. Each is a pass through the backbone, in prediction, too.
        seed: Seed of sampler, split and training.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        out: The run folder; ``runs/DATE-TIME`` when not given.
        overwrite: Replace a run that ``out`` holds.
        resume: Go on with a run that ``out`` holds, on the same data: no finished trial is lost or repeated. The same
            budget means what is left of it, another one is a new one. Where there is no run, one begins.
        storage: URL of an Optuna storage, such as ``sqlite:///studies.db``; None keeps the study in the run folder.
        study: Name of the study, which no other run may have; None makes one up.
        workers: Number of processes that evaluate candidates on this machine, or most tasks at a time on a cluster.
            None means this process alone, or as many tasks as the cluster has room for.
        executor: ``"local"`` evaluates on this machine, ``"ray"`` on a Ray cluster.
        ray_address: Address of the Ray cluster, ``"auto"`` for one that runs here; None takes the one that
            ``RAY_ADDRESS`` in the environment names, else starts one on this machine.
        trial_timeout: A trial that gives no sign of life for so long, as ``"60s"`` or seconds, and ten times what it
            was predicted to take, is ended and recorded as failed.
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
        callbacks: Objects that observe the search, with any of the methods ``search_started``, ``epoch_finished``,
            ``trial_finished``, ``search_finished`` and ``search_failed``; ``autotransfer.contract.hookspecs`` says what
            each is told. What goes wrong in them costs nothing but a warning. A run that goes on needs them anew.
        progress: Show progress on standard error.

    Returns:
        The winner, its scores, all trials and the trained model; the run folder holds the same.

    Raises:
        ConfigError: A setting is wrong.
        DataError: The data cannot be used.
        BackboneError: No backbone can be loaded.
        SearchError: No trial succeeded.
    """
    arguments = dict(locals())
    config, call = configure(arguments), call_of(arguments)
    run = RunFolder.choose(out, overwrite=overwrite, resume=resume)
    with keep_freed_memory(), Progress(config.budget, shown=progress) as show:
        budget = TimeBudget(config.budget)
        show.step("loading the plugins")
        registry = Registry.load(config.zoos)
        check_settings(config, registry)
        observers = Observers(registry.loaded, callbacks, show.warnings.warn)
        with observers.following(_settings(config, run)):
            show.step("looking for the images")
            examples, test_examples = data_of(arguments)
            result = _fit(config, examples, test_examples, run, call, budget, show, registry, observers)
        observers.tell("search_finished", result=result)
        if len(show.warnings) > len(result.fit_warnings):  # an observer failed at the very end
            result = replace(result, fit_warnings=tuple(show.warnings))
            run.write_result(result.to_json())
        return result


def _settings(config: SearchConfig, run: RunFolder) -> dict[str, Any]:
    """Return what observers are told of a search that starts, as JSON."""
    return dict(json.loads(json.dumps({**asdict(config), "run": run.path}, default=str)))


def _fit(
    config: SearchConfig,
    examples: Examples,
    test: Examples | None,
    run: RunFolder,
    call: dict[str, Any] | None,
    budget: TimeBudget,
    show: Progress,
    registry: Registry,
    observers: Observers,
) -> FitResult:
    """Search, refit the winner, score it on the test examples, and write everything down."""
    show.warnings.add(*examples.warnings, *(() if test is None else test.warnings))
    with open_pool(config) as worker_pool:
        found = search_setups(config, examples, test, run, call, budget, worker_pool, show, registry, observers)
    data, evaluator, seconds = found.data, found.evaluator, dict(found.seconds)

    ending = finish(found.trials, data, evaluator, budget, config, show, tested=0 if test is None else len(test))
    with run.writing():
        ending.model.write(run.model)
    seconds["finals"] = ending.seconds
    seconds["refit"] = budget.spent - sum(seconds.values())

    started = budget.spent
    if test is None:
        test_score = None
    else:
        repeats = partial(warn_of_repeats, data=data, evaluator=evaluator, budget=budget, warnings=show.warnings)
        test_score = score_test(ending.model, test, ending.validation, show, repeats)
    seconds["test"] = budget.spent - started

    show.phase("asking how far the score is to be believed, and what transfer gains")
    started = budget.spent
    insight = explain(ending, found.trials, evaluator, budget, config, found.stages, show.warnings)
    seconds |= {"insight": budget.spent - started, "total": budget.spent}
    result = FitResult(
        best=ending.model.members[0].candidate,
        validation=ending.validation,
        test=test_score,
        insight=insight,
        seconds={name: round(value, 3) for name, value in seconds.items()},
        trials=found.trials,
        finals=ending.finals,
        ensemble=ending.ensemble,
        soup=ending.soup,
        calibration=ending.calibration,
        skipped=data.skipped,
        grouping=data.grouping,
        decoded=data.images.decoded,
        fit_warnings=tuple(show.warnings),
        model=ending.model,
        run=run.path,
        examples=examples,
        test_examples=test,
    )
    lines = {} if test_score is None else {"the model, test": test_score.score}
    chart = draw(list(found.trials), "Every trial of the search", lines, metric=ending.validation.metric)
    with run.writing():
        write_atomically(run.path / "trials.svg", chart)
        run.write_result(result.to_json())
    evaluator.checkpoints.clear()
    return result


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
    settings = folder.settings()
    call = settings.get("call")
    if not isinstance(call, dict):
        raise RunFormatError(
            f"The run in {folder.path} was started with data, or a metric, that no file holds: call fit with the same "
            "arguments, out= this folder and resume=True."
        )
    call = arguments_of(call) | dict(settings.get("folders", {}))
    if time_budget is not None or trials is not None:
        call |= {"time_budget": time_budget, "trials": trials}
        folder.update(budget=None)
    return fit(**{**call, "progress": progress}, callbacks=callbacks, out=folder.path, resume=True)


def load(folder: str | Path, *, device: str = "auto") -> TransferModel:
    """Load a saved model, or the model of a run folder.

    Raises:
        DataNotFoundError: There is none.
        ModelFormatError: It is damaged.
    """
    return TransferModel.load(folder, device=device)
