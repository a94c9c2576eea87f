"""The command line: parse, call, print. Whatever takes time to import is imported by the command that needs it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from autotransfer._version import __version__
from autotransfer.cli.console import Command, Commands
from autotransfer.cli.export import export
from autotransfer.cli.fit import demo, fit, resume
from autotransfer.cli.listing import backbones, cache, plugins
from autotransfer.cli.model import predict, score
from autotransfer.cli.pick import pick
from autotransfer.cli.pretrain import distill, pretrain
from autotransfer.cli.report import report
from autotransfer.runtime.threads import configure_threads

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


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass  # a docstring here would take the place of the help above


for _command in (
    fit,
    resume,
    pick,
    report,
    predict,
    score,
    export,
    pretrain,
    distill,
    demo,
    plugins,
    backbones,
    cache,
):
    app.command(cls=Command)(_command)
