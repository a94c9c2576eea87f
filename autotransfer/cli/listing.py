"""The commands that list what there is: ``autotransfer plugins``, ``backbones`` and ``cache``."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from autotransfer.cli.console import AsJson, only_on_stderr, option, print_json, say, show, show_size, show_table
from autotransfer.cli.options import with_settings
from autotransfer.settings import Settings

__all__ = ["backbones", "cache", "plugins"]


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


@with_settings(Settings, only=("modality", "exclude", "zoo"))
def backbones(
    pattern: Annotated[
        str | None,
        typer.Argument(metavar="PATTERN", help="A name or glob pattern, in quotes. [default: what fit searches]"),
    ] = None,
    *,
    settings: Settings,
    as_json: AsJson = False,
) -> None:
    """List backbones: those that fit searches by default, or all that a pattern matches."""
    with only_on_stderr():
        from autotransfer.contract.registry import Registry

        registry = Registry.load(settings.zoos)
        modality = settings.data_options.modality
        kind = None if modality is None else registry.modality(modality).name
        found = registry.find_backbones(pattern, tuple(settings.search.exclude), modality=kind)
        rows = [spec.to_row() for spec in found]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        row["input"] = "x".join(map(str, row["input_size"] or ()))
    several = len({spec.modality for spec in found}) > 1
    columns = ("name", *(("modality",) if several else ()), "parameters", "input", "source", "weights")
    show_table(rows, {column: column for column in columns})
    if pattern is None:
        of = len(registry.find_backbones("*", modality=kind))  # those that the modality adopts, too
        say(f"{len(rows)} of {of} backbones; the pattern '*' lists all.")


@with_settings(Settings, only=("cache_dir",))
def cache(
    *,
    clear: Annotated[bool, option("--clear", help="Remove everything that it holds.")] = False,
    settings: Settings,
    as_json: AsJson = False,
) -> None:
    """Show what the activation cache holds, most recently used first."""
    from autotransfer.features.cache import clear as clear_cache
    from autotransfer.features.cache import default_cache_dir, list_entries

    folder = Path(settings.compute.cache_dir or default_cache_dir())
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
