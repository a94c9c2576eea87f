"""What the commands share: options, printing that nothing from outside can disturb, and errors as exit codes."""

from __future__ import annotations

import contextlib
import errno
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from autotransfer.cli.modality_options import MODALITY_OPTIONS, options_of_modalities, packed
from autotransfer.errors import AutoTransferError, ConfigError, DataNotFoundError
from autotransfer.runtime.text import escape

__all__ = [
    "AsJson",
    "Command",
    "Commands",
    "announce_start",
    "only_on_stderr",
    "option",
    "print_json",
    "say",
    "show",
    "show_size",
    "show_table",
]

_WRONG_USE, _FAILED, _INTERRUPTED = 2, 1, 130


def option(*names: str, help: str, metavar: str | None = None) -> Any:
    """Return an option of a command."""
    return typer.Option(*names, help=help, metavar=metavar)


AsJson = Annotated[bool, option("--json", help="Print JSON, and nothing else, on standard output.")]


class Command(TyperCommand):
    """A command whose help lists its options under the titles of the groups that they belong to.

    Where it reads data, the modalities that are installed add options of their own.
    """

    _of_modalities: list[Any] | None = None

    def get_params(self, ctx: Any) -> list[Any]:
        """Return arguments and options; those of modalities stand behind the others."""
        params = super().get_params(ctx)
        template = next((each for each in params if each.name == MODALITY_OPTIONS), None)
        if template is None:
            return params
        if self._of_modalities is None:
            self._of_modalities = options_of_modalities(template, {flag for each in params for flag in each.opts})
        return [*params, *self._of_modalities]

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        packed(ctx.params)
        return super().invoke(ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options into the help text; importing rich for its panels would double the time."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            title = "Arguments" if parameter.param_type_name == "argument" else "Options"
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections.setdefault(getattr(parameter, "rich_help_panel", None) or title, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


class Commands(TyperGroup):
    """Runs a command; an error that was raised on purpose becomes a message on standard error and an exit code.

    Exit codes: 2 for wrong use, a missing file included; 1 for what else goes wrong; 130 when interrupted.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command that the command line names."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            say("interrupted")
            raise typer.Exit(_INTERRUPTED) from None
        except AutoTransferError as error:
            say(f"error: {error}")
            wrong_use = isinstance(error, (ConfigError, DataNotFoundError))
            raise typer.Exit(_WRONG_USE if wrong_use else _FAILED) from None
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            if error.filename is None and not full:  # a fault of the program, or a closed pipe, which typer knows
                raise
            say(f"error: {error.strerror}: {error.filename or 'standard output'}")
            raise typer.Exit(_FAILED) from None


def announce_start() -> None:
    """Say why nothing happens yet, before the imports that take seconds."""
    if "torch" not in sys.modules:
        say("starting: loading torch")


@contextlib.contextmanager
def only_on_stderr() -> Iterator[None]:
    """Send what libraries and plugins print meanwhile to standard error: standard output is for the answer."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def say(line: str) -> None:
    """Print a line on standard error."""
    typer.echo(escape(line), err=True)


def show(*lines: str) -> None:
    """Print lines on standard output."""
    for line in lines:
        typer.echo(escape(line))


def print_json(value: Any) -> None:
    """Print one JSON value, in ASCII, on standard output."""
    typer.echo(json.dumps(value, indent=2))


def show_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Print rows as a table on standard output; ``columns`` gives the title of each key."""
    cells = [[*columns.values()], *([escape("" if row[key] is None else row[key]) for key in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def show_size(size: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
