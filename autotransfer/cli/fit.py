"""The commands that search: ``autotransfer fit``, ``autotransfer resume`` and ``autotransfer demo``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autotransfer.cli.console import AsJson, announce_start, only_on_stderr, option, print_json, show
from autotransfer.cli.options import with_settings
from autotransfer.settings import Settings

if TYPE_CHECKING:
    from autotransfer.run.result import FitResult

__all__ = ["demo", "fit", "resume"]


@with_settings(Settings)
def fit(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="A folder with a sub-folder for each class, or a CSV, TSV or JSON lines file."
        ),
    ],
    *,
    test: Annotated[
        str | None, option("--test", metavar="DATA", help="Examples to score the final model on, once.")
    ] = None,
    settings: Settings,
    as_json: AsJson = False,
) -> None:
    """Find the best transfer setup for labelled examples and train it."""
    announce_start()
    with only_on_stderr():
        from autotransfer import api

        result = api.fit(data, test=test, **vars(settings))
    _show_result(result, as_json)


def resume(
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


@with_settings(Settings, only=("out", "device", "overwrite"))
def demo(
    *,
    settings: Settings,
    modality: Annotated[
        str | None,
        option(
            "--modality",
            help="Kind of examples. [default: that of most shipped backbones]",
            metavar="NAME",
        ),
    ] = None,
    time_budget: Annotated[str, option("--time-budget", help="For search and refit together.")] = "20s",
    as_json: AsJson = False,
) -> None:
    """Show the whole thing at once: a search on examples that come along. It needs no network, no weights, no data."""
    announce_start()
    with only_on_stderr():
        from autotransfer.cli.demo import run_demo

        result = run_demo(
            modality=modality,
            out=settings.out,
            time_budget=time_budget,
            device=settings.compute.device,
            overwrite=settings.run.overwrite,
        )
    if as_json:
        print_json(result.to_json())
    else:
        show(*str(result).split("\n"))


def _show_result(result: FitResult, as_json: bool) -> None:
    if as_json:
        print_json(result.to_json())
    else:
        from autotransfer.run.summary import LABEL_WIDTH

        next_step = f"autotransfer predict {shlex.quote(str(result.run))} DATA"
        show(*str(result).split("\n"), f"{'next':<{LABEL_WIDTH}}{next_step}")
