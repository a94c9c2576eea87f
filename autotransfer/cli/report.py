"""The command that makes the page of a run again: ``autotransfer report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autotransfer.cli.console import show

__all__ = ["report"]


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    open_it: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Make the page of a run again, from its report.json alone: report.html needs no network, data or model."""
    from autotransfer.report.render import read_page, write_page
    from autotransfer.runtime.files import writing

    page = read_page(run)
    with writing(run, "Make room, or copy report.json elsewhere."):
        file = write_page(run, page)
    show(str(file))
    if open_it:
        import webbrowser

        webbrowser.open(file.absolute().as_uri())
