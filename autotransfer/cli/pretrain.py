"""The command ``autotransfer pretrain``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from autotransfer.cli.console import AsJson, announce_start, only_on_stderr, print_json, show
from autotransfer.cli.options import with_settings
from autotransfer.settings import PretrainOptions

__all__ = ["pretrain"]


@with_settings(PretrainOptions)
def pretrain(
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE_DATA",
            help="A folder with a sub-folder for each class, or a table; with --no-labels, files and folders.",
        ),
    ],
    *,
    settings: PretrainOptions,
    as_json: AsJson = False,
) -> None:
    """Train a backbone on a source task, or on what a teacher sees; interrupted, the same command goes on with it."""
    announce_start()
    with only_on_stderr():
        from autotransfer.pretraining.pretrain import pretrain as train

        if len(data) > 1 and settings.labels:
            raise typer.BadParameter("labelled data are one folder or table")
        result = train(data[0] if settings.labels else data, **vars(settings))
    if as_json:
        print_json(result.to_json())
    else:
        next_step = f"autotransfer fit DATA --zoo {shlex.quote(str(Path(settings.out).absolute().parent))}"
        show(*str(result).split("\n"), f"next        {next_step}")
