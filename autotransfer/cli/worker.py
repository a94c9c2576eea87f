"""The command ``autotransfer worker``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from autotransfer.cli.console import CacheDir, Device, Zoos, announce_start, only_on_stderr, option, say

__all__ = ["worker"]


def worker(
    storage: Annotated[str, option("--storage", metavar="URL", help="The Optuna storage of the search.")],
    study: Annotated[str, option("--study", metavar="NAME", help="The study of the search, as fit says it.")],
    workers: Annotated[int, option("--workers", metavar="N", help="Number of processes here.")] = 1,
    data: Annotated[
        Path | None, option("--data", metavar="DATA", help="The data here. [default: where the search has them]")
    ] = None,
    validation: Annotated[
        Path | None,
        option("--validation", metavar="DATA", help="Those to score on. [default: where the search has them]"),
    ] = None,
    zoo: Zoos = None,
    device: Device = "auto",
    cache_dir: CacheDir = None,
    wait: Annotated[float, option("--wait", metavar="SECONDS", help="How long to wait for the search.")] = 60.0,
) -> None:
    """Join a search that runs elsewhere, and evaluate candidates for it until it ends."""
    announce_start()
    with only_on_stderr():
        from autotransfer.runtime.storage import close_storage, open_storage
        from autotransfer.workers.joining import join

        opened = open_storage(storage)
        try:
            join(
                opened,
                study,
                workers=workers,
                data=data,
                validation=validation,
                zoo=zoo,
                device=device,
                cache_dir=cache_dir,
                wait=wait,
                say=say,
            )
        finally:
            close_storage(opened)
