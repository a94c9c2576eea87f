"""The command line: parse, call, print. Whatever takes time to import is imported by the command that needs it."""

from __future__ import annotations

import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotransfer._version import __version__
from autotransfer.console import Commands, only_on_stderr, print_json, say, show, show_size, show_table
from autotransfer.text import escape
from autotransfer.threads import settle_threads

if TYPE_CHECKING:
    from autotransfer.result import FitResult

__all__ = ["app", "main"]

app = typer.Typer(
    name="autotransfer",
    cls=Commands,
    help="Finds the best way to transfer a pretrained model to your task: which backbone, which head, how deep.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # importing rich would double the time of --help
)


def _option(*names: str, help: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help, metavar=metavar)


AsJson = Annotated[bool, _option("--json", help="Print JSON, and nothing else, on standard output.")]
CacheDir = Annotated[
    Path | None, _option("--cache-dir", metavar="DIR", help="Folder of the activation cache. [env: AUTOTRANSFER_CACHE]")
]
Device = Annotated[str, _option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
Zoos = Annotated[
    list[Path] | None,
    _option("--zoo", metavar="DIR", help="Folder of checkpoints; repeatable. [env: AUTOTRANSFER_ZOO]"),
]
Patterns = list[str] | None


def main() -> None:
    """Run the command line."""
    settle_threads()
    if hasattr(sys.stdout, "reconfigure"):  # a name that the terminal cannot show must not end the program
        sys.stdout.reconfigure(errors="backslashreplace")
    app()


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"autotransfer {__version__}")
        raise typer.Exit


def _writable(file: Path | None) -> Path | None:
    """Refuse, before any work, a file that cannot be written in the end."""
    if file is not None and not file.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {file.absolute().parent}")
    return file


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass  # a docstring here would take the place of the help above


@app.command()
def fit(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A folder with a sub-folder for each class, or a CSV or TSV file.")
    ],
    test: Annotated[
        str | None, _option("--test", metavar="DATA", help="Examples to score the final model on, once.")
    ] = None,
    out: Annotated[
        Path | None, _option("--out", metavar="RUN", help="The run folder. [default: runs/DATE-TIME]")
    ] = None,
    time_budget: Annotated[
        str | None, _option("--time-budget", help="Such as 90s, 5m, 1h30m. [default: 5m without --trials]")
    ] = None,
    trials: Annotated[int | None, _option("--trials", help="Number of trials.")] = None,
    backbones: Annotated[
        Patterns, _option("--backbones", metavar="PATTERN", help="Backbones to search; repeatable.")
    ] = None,
    zoo: Zoos = None,
    heads: Annotated[Patterns, _option("--heads", metavar="PATTERN", help="Heads to search; repeatable.")] = None,
    freeze: Annotated[
        Patterns, _option("--freeze", metavar="PATTERN", help="Freeze policies to search; repeatable.")
    ] = None,
    metric: Annotated[
        str | None, _option("--metric", metavar="NAME", help="A scikit-learn scorer. [default: by task]")
    ] = None,
    task: Annotated[
        str | None,
        _option("--task", metavar="KIND", help="binary, multiclass, multilabel or regression. [default: by targets]"),
    ] = None,
    seed: Annotated[int, _option("--seed", help="Seed of sampler, split and training.")] = 0,
    device: Device = "auto",
    path_column: Annotated[
        str | None, _option("--path-column", metavar="C", help="Column of image paths in a table.")
    ] = None,
    target_column: Annotated[
        Patterns, _option("--target-column", metavar="C", help="Column of targets in a table; repeatable.")
    ] = None,
    groups: Annotated[
        str | None,
        _option("--groups", metavar="G", help="Column, or regular expression on paths, of what no split tears apart."),
    ] = None,
    class_weight: Annotated[
        str | None, _option("--class-weight", metavar="balanced", help="Weight the loss by inverse class frequency.")
    ] = None,
    validation: Annotated[
        float, _option("--validation", help="Share to score candidates on, from 3,000 examples on.")
    ] = 0.25,
    epochs: Annotated[int, _option("--epochs", help="Epochs of a candidate that trains stages.")] = 12,
    no_ensemble: Annotated[bool, _option("--no-ensemble", help="Refit one candidate, never several.")] = False,
    no_soup: Annotated[bool, _option("--no-soup", help="Never average the weights of several candidates.")] = False,
    no_calibrate: Annotated[bool, _option("--no-calibrate", help="Leave probabilities as they are.")] = False,
    strict: Annotated[bool, _option("--strict", help="Refuse data, or test data, with an unreadable image.")] = False,
    overwrite: Annotated[bool, _option("--overwrite", help="Replace a run that is there.")] = False,
    resume: Annotated[bool, _option("--resume", help="Go on with a run that is there.")] = False,
    storage: Annotated[
        str | None,
        _option("--storage", metavar="URL", help="Optuna storage of the study. [default: a file in the run folder]"),
    ] = None,
    cache_dir: CacheDir = None,
    no_compare_scratch: Annotated[
        bool, _option("--no-compare-scratch", help="Do not train the winner's architecture from random weights.")
    ] = False,
    no_cache: Annotated[bool, _option("--no-cache", help="Keep no activations on disk between runs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find the best transfer setup for labelled images and train it."""
    with only_on_stderr():
        from autotransfer import api

        result = api.fit(
            data,
            test=test,
            path_column=path_column,
            target_column=target_column[0] if target_column and len(target_column) == 1 else target_column,
            groups=groups,
            backbones=backbones or (),
            zoo=zoo,
            heads=heads or (),
            freeze=freeze or (),
            time_budget=time_budget,
            trials=trials,
            task=task,  # type: ignore[arg-type]  # checked there, like the class weight
            metric=metric,
            class_weight=class_weight,  # type: ignore[arg-type]
            validation=validation,
            epochs=epochs,
            seed=seed,
            device=device,
            out=out,
            overwrite=overwrite,
            resume=resume,
            storage=storage,
            ensemble=not no_ensemble,
            soup=not no_soup,
            calibrate=not no_calibrate,
            strict=strict,
            compare_scratch=not no_compare_scratch,
            cache=not no_cache,
            cache_dir=cache_dir,
        )
    _show_result(result, as_json)


@app.command("resume")
def resume_run(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    time_budget: Annotated[
        str | None, _option("--time-budget", help="A new budget, such as 5m. [default: what is left]")
    ] = None,
    trials: Annotated[
        int | None, _option("--trials", help="A new number of trials, those that there are included.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a run that was broken off: no finished trial is lost or repeated."""
    with only_on_stderr():
        from autotransfer import api

        result = api.resume(run, time_budget=time_budget, trials=trials)
    _show_result(result, as_json)


def _show_result(result: FitResult, as_json: bool) -> None:
    if as_json:
        print_json(result.to_json())
    else:
        next_step = f"autotransfer predict {shlex.quote(str(result.run))} IMAGE_OR_FOLDER"
        show(*str(result).split("\n"), f"next        {next_step}")


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN_OR_MODEL", help="A run folder, or a folder of a saved model.")],
    images: Annotated[list[str], typer.Argument(metavar="IMAGE_OR_FOLDER", help="Images, and folders of images.")],
    as_json: AsJson = False,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", dir_okay=False, callback=_writable, help="Write a CSV file instead."),
    ] = None,
    device: Device = "auto",
) -> None:
    """Predict with a trained model: PATH, PREDICTION, PROBABILITY on each line, with tabs between them.

    Images that cannot be read are named on standard error; it is an error when none can.
    """
    with only_on_stderr():
        from autotransfer.files import write_atomically
        from autotransfer.model import TransferModel
        from autotransfer.predictions import predict_by_name, to_csv

        model = TransferModel.load(run, device=device)
        rows = predict_by_name(model, images)
    for row in rows:
        if row.error:
            say(f"{row.name} cannot be read: {row.error}")
    if csv is not None:
        write_atomically(csv, to_csv(rows, model.task))
        say(f"{len(rows)} rows written to {csv}")
    if as_json:
        print_json([row.to_json() for row in rows])
    elif csv is None:
        for row in rows:
            if not row.error:
                typer.echo("\t".join(map(escape, row.cells())).rstrip())


@app.command()
def pretrain(
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE_DATA",
            help="A folder with a sub-folder for each class, or a table; with --no-labels, images and folders.",
        ),
    ],
    architecture: Annotated[str, _option("--architecture", metavar="NAME", help="One of timm's architectures.")],
    out: Annotated[Path, _option("--out", metavar="ZOO/NAME", help="The folder to write: NAME becomes a backbone.")],
    epochs: Annotated[int | None, _option("--epochs", help="Passes over the images. [default: 30]")] = None,
    time_budget: Annotated[
        str | None, _option("--time-budget", help="Training time instead, such as 90s, 5m, 1h30m.")
    ] = None,
    input_size: Annotated[
        int | None, _option("--input-size", metavar="N", help="Side of the images in pixels. [default: its own]")
    ] = None,
    teacher: Annotated[
        str | None, _option("--teacher", metavar="BACKBONE", help="A backbone whose knowledge is carried over.")
    ] = None,
    match: Annotated[
        str, _option("--match", metavar="WHAT", help="What the teacher gives: features, or answers of a probe on them.")
    ] = "features",
    no_labels: Annotated[
        bool, _option("--no-labels", help="There are no labels: learn from the teacher alone.")
    ] = False,
    zoo: Zoos = None,
    augmentation: Annotated[str, _option("--augmentation", help="none, light, medium or strong.")] = "medium",
    batch_size: Annotated[int, _option("--batch-size", help="Images in one step.")] = 128,
    lr: Annotated[float, _option("--lr", help="Highest learning rate.")] = 2e-3,
    source: Annotated[
        str, _option("--source", help="What the images are, in words. [default: the folder's name]")
    ] = "",
    license: Annotated[str, _option("--license", help="Licence of the weights.")] = "",
    groups: Annotated[
        str | None, _option("--groups", metavar="G", help="Column, or regular expression on paths; see fit.")
    ] = None,
    seed: Annotated[int, _option("--seed", help="Seed of the first weights, the split and the training.")] = 0,
    device: Device = "auto",
    overwrite: Annotated[bool, _option("--overwrite", help="Replace the folder, and begin anew.")] = False,
    cache_dir: CacheDir = None,
    as_json: AsJson = False,
) -> None:
    """Train a backbone on a source task, or on what a teacher sees; interrupted, the same command goes on with it."""
    with only_on_stderr():
        from autotransfer.source.pretrain import pretrain as train

        if len(data) > 1 and not no_labels:
            raise typer.BadParameter("labelled data are one folder or table")
        result = train(
            data if no_labels else data[0],
            architecture=architecture,
            out=out,
            epochs=epochs,
            time_budget=time_budget,
            input_size=input_size,
            teacher=teacher,
            match=match,  # type: ignore[arg-type]  # checked there
            labels=not no_labels,
            zoo=zoo,
            augmentation=augmentation,
            batch_size=batch_size,
            lr=lr,
            source=source,
            license=license,
            groups=groups,
            seed=seed,
            device=device,
            overwrite=overwrite,
            cache_dir=cache_dir,
        )
    if as_json:
        print_json(result.to_json())
    else:
        next_step = f"autotransfer fit DATA --zoo {shlex.quote(str(out.absolute().parent))}"
        show(*str(result).split("\n"), f"next        {next_step}")


@app.command()
def demo(
    out: Annotated[
        Path | None, _option("--out", metavar="RUN", help="The run folder. [default: runs/DATE-TIME]")
    ] = None,
    time_budget: Annotated[str, _option("--time-budget", help="For search and refit together.")] = "20s",
    device: Device = "auto",
    overwrite: Annotated[bool, _option("--overwrite", help="Replace a run that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the whole thing at once: a search on handwritten digits. It needs no network, no weights and no data."""
    with only_on_stderr():
        from autotransfer.demo import run_demo

        result = run_demo(out=out, time_budget=time_budget, device=device, overwrite=overwrite)
    if as_json:
        print_json(result.to_json())
    else:
        show(*str(result).split("\n"))


@app.command()
def plugins(as_json: AsJson = False) -> None:
    """List every plugin that is installed, broken ones included."""
    with only_on_stderr():
        from autotransfer.contract.registry import Registry

        rows = Registry.load().rows()
    if as_json:
        print_json(rows)
        return
    columns = ("kind", "name", "distribution", "version", "state", "reason")
    show_table(rows, {column: column for column in columns})


@app.command()
def backbones(
    pattern: Annotated[
        str | None,
        typer.Argument(metavar="PATTERN", help="A name or glob pattern, in quotes. [default: what fit searches]"),
    ] = None,
    zoo: Zoos = None,
    as_json: AsJson = False,
) -> None:
    """List backbones: those that fit searches by default, or all that a pattern matches."""
    with only_on_stderr():
        from autotransfer.contract.registry import Registry
        from autotransfer.preparation import zoos_from

        registry = Registry.load(zoos_from(zoo))
        rows = [spec.to_row() for spec in registry.find_backbones(pattern)]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        row["input"] = "x".join(map(str, row["input_size"] or ()))
    columns = ("name", "parameters", "input", "source", "weights")
    show_table(rows, {column: column for column in columns})
    if pattern is None:
        say(f"{len(rows)} of {len(registry.backbones)} backbones; the pattern '*' lists all.")


@app.command()
def cache(
    clear: Annotated[bool, _option("--clear", help="Remove everything that it holds.")] = False,
    cache_dir: CacheDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what the activation cache holds, most recently used first."""
    from autotransfer.transfer.cache import clear as clear_cache
    from autotransfer.transfer.cache import default_cache_dir, list_entries

    folder = cache_dir or default_cache_dir()
    if clear:
        freed = clear_cache(folder)
        print_json({"folder": str(folder), "freed": freed}) if as_json else show(f"{show_size(freed)} freed")
        return
    entries = list_entries(folder)
    total = sum(entry.size for entry in entries)
    if as_json:
        rows = [{"key": e.key, "bytes": e.size, "used": e.used, "about": e.about} for e in entries]
        print_json({"folder": str(folder), "bytes": total, "entries": rows})
        return
    table = [
        {"used": f"{datetime.fromtimestamp(e.used):%Y-%m-%d %H:%M}", "size": show_size(e.size), "about": e.about}
        for e in entries
    ]
    if table:
        show_table(table, {"used": "last used", "size": "size", "about": "what it is"})
    say(f"{len(entries)} entries, {show_size(total)}, in {folder}")
