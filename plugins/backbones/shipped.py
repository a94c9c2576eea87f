"""The tiny backbones that come with this package; ``weights/README.md`` describes their training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.specs import BackboneSpec
from autotransfer_plugins.backbones._specs import folder_spec
from autotransfer_plugins.backbones._zoo import find_checkpoints

__all__ = ["WEIGHTS", "register_backbones"]

WEIGHTS = Path(__file__).parent / "weights"


@hookimpl
def register_backbones(register: Callable[[BackboneSpec], None], zoos: tuple[Path, ...]) -> None:
    """Register the shipped backbones as fallbacks, except those with the name of a checkpoint in a zoo."""
    shadowed = find_checkpoints(zoos)
    for folder in sorted(path for path in WEIGHTS.iterdir() if (path / "config.json").is_file()):
        if folder.name not in shadowed:
            register(replace(folder_spec(folder, folder.name), default=False, fallback=True, weights="installed"))
