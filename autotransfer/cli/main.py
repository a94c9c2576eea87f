"""The command line: parse, call, print. Whatever takes time to import is imported by the command that needs it."""

from __future__ import annotations

import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotransfer._version import __version__
from autotransfer.cli.console import (
    AsJson,
    CacheDir,
    Commands,
    Device,
    Zoos,
    announce_start,
    only_on_stderr,
    option,
    print_json,
    say,
    show,
    show_size,
    show_table,
)
from autotransfer.cli.model import predict, score
from autotransfer.cli.pretrain import pretrain
from autotransfer.runtime.threads import configure_threads

if TYPE_CHECKING:
    from autotransfer.run.result import FitResult

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


Patterns = list[str] | None
Excluded = Annotated[
    Patterns, option("--exclude", metavar="PATTERN", help="Backbones to leave out, by name or pattern; repeatable.")
]


def main() -> None:
    """Run the command line."""
    configure_threads()
    if hasattr(sys.stdout, "reconfigure"):  # a name that the terminal cannot show must not end the program
        sys.stdout.reconfigure(errors="backslashreplace")
    app()


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"autotransfer {__version__}")
        raise typer.Exit


def _share_or_data(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _low_and_high(text: str) -> Any:
    """Return two numbers; what are none is refused where the settings are checked."""
    try:
        return tuple(map(float, text.split(",")))
    except ValueError:
        return text


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
        str | None, option("--test", metavar="DATA", help="Examples to score the final model on, once.")
    ] = None,
    out: Annotated[
        Path | None, option("--out", metavar="RUN", help="The run folder. [default: runs/DATE-TIME]")
    ] = None,
    time_budget: Annotated[
        str | None, option("--time-budget", help="Such as 90s, 5m, 1h30m. [default: 5m without --trials]")
    ] = None,
    trials: Annotated[int | None, option("--trials", help="Number of trials.")] = None,
    backbones: Annotated[
        Patterns, option("--backbones", metavar="PATTERN", help="Backbones to search; repeatable.")
    ] = None,
    exclude: Excluded = None,
    zoo: Zoos = None,
    heads: Annotated[Patterns, option("--heads", metavar="PATTERN", help="Heads to search; repeatable.")] = None,
    freeze: Annotated[
        Patterns, option("--freeze", metavar="PATTERN", help="Freeze policies to search; repeatable.")
    ] = None,
    metric: Annotated[
        str | None, option("--metric", metavar="NAME", help="A scikit-learn scorer. [default: by task]")
    ] = None,
    task: Annotated[
        str | None,
        option("--task", metavar="KIND", help="binary, multiclass, multilabel or regression. [default: by targets]"),
    ] = None,
    positive_class: Annotated[
        str | None,
        option("--positive-class", metavar="LABEL", help="What recall and the like are of. [default: the rarer class]"),
    ] = None,
    value_range: Annotated[
        str | None,
        option("--value-range", metavar="LOW,HIGH", help="Values that are black and white. [default: by the images]"),
    ] = None,
    seed: Annotated[int, option("--seed", help="Seed of sampler, split and training.")] = 0,
    device: Device = "auto",
    path_column: Annotated[
        str | None, option("--path-column", metavar="C", help="Column of image paths in a table.")
    ] = None,
    target_column: Annotated[
        Patterns, option("--target-column", metavar="C", help="Column of targets in a table; repeatable.")
    ] = None,
    label_separator: Annotated[
        str | None,
        option("--label-separator", metavar="TEXT", help="What stands between several labels of one image, such as |."),
    ] = None,
    groups: Annotated[
        str | None,
        option("--groups", metavar="G", help="Column, or regular expression on paths, of what no split tears apart."),
    ] = None,
    root: Annotated[
        Path | None, option("--root", metavar="DIR", help="Folder where the relative paths of a table start.")
    ] = None,
    suffix: Annotated[
        str | None, option("--suffix", metavar="S", help="What the paths of a table lack at the end, such as .png.")
    ] = None,
    follow_links: Annotated[bool, option("--follow-links", help="Follow links that lead out of a folder.")] = False,
    min_images: Annotated[
        int | None, option("--min-images", metavar="N", help="Leave out classes with fewer images.")
    ] = None,
    class_weight: Annotated[
        str | None, option("--class-weight", metavar="balanced", help="Weight the loss by inverse class frequency.")
    ] = None,
    validation: Annotated[
        str,
        option(
            "--validation",
            metavar="SHARE|DATA",
            help="What to score candidates on: a share, from 3,000 examples on, or examples of your own.",
        ),
    ] = "0.25",
    epochs: Annotated[int, option("--epochs", help="Epochs of a candidate that trains stages.")] = 12,
    views: Annotated[int, option("--views", help="Most views of an image that the model averages; 1 is fastest.")] = 4,
    no_ensemble: Annotated[bool, option("--no-ensemble", help="Refit one candidate, never several.")] = False,
    no_soup: Annotated[bool, option("--no-soup", help="Never average the weights of several candidates.")] = False,
    no_calibrate: Annotated[bool, option("--no-calibrate", help="Leave probabilities as they are.")] = False,
    strict: Annotated[bool, option("--strict", help="Refuse data, or test data, with an unreadable image.")] = False,
    overwrite: Annotated[bool, option("--overwrite", help="Replace a run that is there.")] = False,
    resume: Annotated[bool, option("--resume", help="Go on with a run that is there.")] = False,
    storage: Annotated[
        str | None,
        option("--storage", metavar="URL", help="Optuna storage of the study. [default: a file in the run folder]"),
    ] = None,
    study: Annotated[
        str | None, option("--study", metavar="NAME", help="Name of the study. [default: made up]")
    ] = None,
    workers: Annotated[
        int | None, option("--workers", metavar="N", help="Processes that evaluate candidates. [default: this one]")
    ] = None,
    executor: Annotated[
        str, option("--executor", metavar="WHERE", help="Where candidates are evaluated: local or ray.")
    ] = "local",
    ray_address: Annotated[
        str | None,
        option("--ray-address", metavar="ADDR", help="The Ray cluster. [env: RAY_ADDRESS] [default: a new one]"),
    ] = None,
    trial_timeout: Annotated[
        str, option("--trial-timeout", help="End a trial that gives no sign of life for so long.")
    ] = "60s",
    cache_dir: CacheDir = None,
    no_compare_scratch: Annotated[
        bool, option("--no-compare-scratch", help="Do not train the winner's architecture from random weights.")
    ] = False,
    no_cache: Annotated[bool, option("--no-cache", help="Keep no activations on disk between runs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find the best transfer setup for labelled images and train it."""
    announce_start()
    with only_on_stderr():
        from autotransfer import api

        result = api.fit(
            data,
            test=test,
            path_column=path_column,
            target_column=target_column[0] if target_column and len(target_column) == 1 else target_column,
            label_separator=label_separator,
            groups=groups,
            root=root,
            suffix=suffix,
            follow_links=follow_links,
            min_images=min_images,
            backbones=backbones or (),
            exclude=exclude or (),
            zoo=zoo,
            heads=heads or (),
            freeze=freeze or (),
            time_budget=time_budget,
            trials=trials,
            task=task,  # type: ignore[arg-type]  # checked there, like the class weight
            value_range=None if value_range is None else _low_and_high(value_range),
            metric=metric,
            positive_class=positive_class,
            class_weight=class_weight,  # type: ignore[arg-type]
            validation=_share_or_data(validation),
            epochs=epochs,
            views=views,
            seed=seed,
            device=device,
            out=out,
            overwrite=overwrite,
            resume=resume,
            storage=storage,
            study=study,
            workers=workers,
            executor=executor,  # type: ignore[arg-type]
            ray_address=ray_address,
            trial_timeout=trial_timeout,
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
        str | None, option("--time-budget", help="A new budget, such as 5m. [default: what is left]")
    ] = None,
    trials: Annotated[
        int | None, option("--trials", help="A new number of trials, those that there are included.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a run that was broken off: no finished trial is lost or repeated."""
    announce_start()
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


app.command()(predict)
app.command()(score)
app.command()(pretrain)


@app.command()
def demo(
    out: Annotated[
        Path | None, option("--out", metavar="RUN", help="The run folder. [default: runs/DATE-TIME]")
    ] = None,
    time_budget: Annotated[str, option("--time-budget", help="For search and refit together.")] = "20s",
    device: Device = "auto",
    overwrite: Annotated[bool, option("--overwrite", help="Replace a run that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the whole thing at once: a search on handwritten digits. It needs no network, no weights and no data."""
    announce_start()
    with only_on_stderr():
        from autotransfer.cli.demo import run_demo

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
    exclude: Excluded = None,
    zoo: Zoos = None,
    as_json: AsJson = False,
) -> None:
    """List backbones: those that fit searches by default, or all that a pattern matches."""
    with only_on_stderr():
        from autotransfer.contract.registry import Registry
        from autotransfer.settings import zoos_from

        registry = Registry.load(zoos_from(zoo))
        rows = [spec.to_row() for spec in registry.find_backbones(pattern, tuple(exclude or ()))]
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
    clear: Annotated[bool, option("--clear", help="Remove everything that it holds.")] = False,
    cache_dir: CacheDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what the activation cache holds, most recently used first."""
    from autotransfer.features.cache import clear as clear_cache
    from autotransfer.features.cache import default_cache_dir, list_entries

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
