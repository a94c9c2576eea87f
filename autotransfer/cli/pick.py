"""The command that trains another candidate of a finished search, because it takes less: ``autotransfer pick``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autotransfer.cli.console import AsJson, announce_start, only_on_stderr, option, print_json, show

__all__ = ["pick"]


def pick(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    out: Annotated[Path, typer.Option("--out", metavar="MODEL", help="Folder that the model is written into.")],
    max_latency: Annotated[
        str | None, option("--max-latency", metavar="TIME", help="Most time of a prediction, such as 10ms.")
    ] = None,
    max_size: Annotated[
        str | None, option("--max-size", metavar="SIZE", help="Most bytes of the files of the model, such as 20MB.")
    ] = None,
    max_memory: Annotated[
        str | None, option("--max-memory", metavar="SIZE", help="Most bytes of memory to predict, such as 500MB.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train the best candidate of a finished search that keeps limits. Nothing is searched again."""
    announce_start()
    with only_on_stderr():
        from autotransfer.errors import ConfigError
        from autotransfer.pipeline.pick import pick_from_run
        from autotransfer.settings import Limits

        if (out / "model.json").exists() and not overwrite:
            raise ConfigError(f"{out} holds a model already: choose another folder, or pass --overwrite.")
        picked = pick_from_run(run, Limits(latency=max_latency, size=max_size, memory=max_memory))
        place = picked.save(out)
    if as_json:
        print_json(picked.to_json() | {"model": str(place)})
    else:
        show(str(picked), f"written to {place}")
