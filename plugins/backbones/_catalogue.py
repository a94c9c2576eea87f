"""timm's architectures and pretrained models, listed without importing timm, which takes seconds.

``catalogue.csv`` lists the models of one version of timm; ``examples/architectures.py --catalogue`` writes it. If
another version is installed, or timm is imported already and may hold additional models, timm itself is asked.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.metadata import version
from typing import Any

__all__ = ["Entry", "architectures", "catalogue", "is_architecture", "rows_of", "timm_version"]

_INPUT_KEYS = ("input_size", "fixed_input_size", "mean", "std", "crop_pct", "crop_mode", "interpolation")
_COLUMNS = ("name", "pretrained", "default", "hub", "url", "license", "size", "fixed", "mean", "std", "resize")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One of timm's models: an architecture, usually with the tag of its weights.

    Attributes:
        name: ``ARCHITECTURE.TAG``, or the architecture alone.
        pretrained: Whether timm has weights for the model.
        default: Whether the name of the architecture alone means this model.
        hub: Repository on the hub.
        url: Older address of the weights.
        license: Licence of the weights.
        config: Part of ``pretrained_cfg`` that concerns the input.
    """

    name: str
    pretrained: bool
    default: bool
    hub: str
    url: str
    license: str
    config: Mapping[str, Any]

    @property
    def architecture(self) -> str:
        """Name of the architecture."""
        return self.name.partition(".")[0]


@cache
def timm_version() -> str:
    """Return the installed version of timm."""
    return version("timm")


def catalogue() -> Mapping[str, Entry]:
    """Return the models by name."""
    return _from_timm() if "timm" in sys.modules or _table()[0] != timm_version() else _from_table()


def architectures() -> Mapping[str, Entry]:
    """Return the default model of each architecture, by the name of the architecture."""
    return {entry.architecture: entry for entry in catalogue().values() if entry.default}


def is_architecture(name: str) -> bool:
    """Whether timm builds an architecture of this name, including old names."""
    if name in architectures():
        return True
    import timm

    return bool(timm.is_model(name))


def rows_of(entries: Iterable[Entry]) -> list[dict[str, str]]:
    """Return entries as rows of the table."""
    return [dict(zip(_COLUMNS, _cells(entry), strict=True)) for entry in entries]


def _cells(entry: Entry) -> tuple[str, ...]:
    config = entry.config
    return (
        entry.name,
        str(int(entry.pretrained)),
        str(int(entry.default)),
        entry.hub,
        entry.url,
        entry.license,
        " ".join(map(str, config["input_size"][1:])),
        str(int(config["fixed_input_size"])),
        " ".join(map(str, config["mean"])),
        " ".join(map(str, config["std"])),
        f"{config['crop_pct']} {config['crop_mode']} {config['interpolation']}",
    )


@cache
def _table() -> tuple[str, list[dict[str, str]]]:
    """Return the version of timm that the table lists, and its rows."""
    text = (resources.files("autotransfer_plugins.backbones") / "catalogue.csv").read_text(encoding="utf-8")
    first, *lines = text.splitlines()
    return first.removeprefix("timm "), list(csv.DictReader(lines))


@cache
def _from_table() -> Mapping[str, Entry]:
    return {row["name"]: _entry(row) for row in _table()[1]}


def _entry(row: Mapping[str, str]) -> Entry:
    crop, mode, interpolation = row["resize"].split()
    config = {
        "input_size": (3, *map(int, row["size"].split())),
        "fixed_input_size": row["fixed"] == "1",
        "mean": tuple(map(float, row["mean"].split())),
        "std": tuple(map(float, row["std"].split())),
        "crop_pct": float(crop),
        "crop_mode": mode,
        "interpolation": interpolation,
    }
    return Entry(
        name=row["name"],
        pretrained=row["pretrained"] == "1",
        default=row["default"] == "1",
        hub=row["hub"],
        url=row["url"],
        license=row["license"],
        config=config,
    )


@cache
def _from_timm() -> Mapping[str, Entry]:
    """Read the models from timm."""
    import timm

    pretrained, defaults = set(timm.list_models(pretrained=True)), set[str]()
    for architecture in timm.list_models():
        config = timm.get_pretrained_cfg(architecture)
        if config is not None:  # architectures that others added may lack it
            defaults.add(f"{architecture}.{config.tag}" if config.tag else architecture)
    found = {}
    for name in sorted(pretrained | defaults):
        config = timm.get_pretrained_cfg(name)
        url = config.url if isinstance(config.url, str) else (config.url or [""])[0]
        found[name] = Entry(
            name=name,
            pretrained=name in pretrained,
            default=name in defaults,
            hub=config.hf_hub_id or "",
            url=url,
            license=config.license or "",
            config={key: getattr(config, key) for key in _INPUT_KEYS},
        )
    return found
