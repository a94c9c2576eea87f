"""The tiny backbones that come with this package; ``weights/README.md`` describes their training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.specs import BackboneSpec
from autotransfer_plugins.backbones import _specs, _static_specs, mel_cnn
from autotransfer_plugins.backbones._zoo import STATIC_TYPES, find_checkpoints, model_type

__all__ = ["WEIGHTS", "register_backbones"]

WEIGHTS = Path(__file__).parent / "weights"


@hookimpl
def register_backbones(register: Callable[[BackboneSpec], None], zoos: tuple[Path, ...]) -> None:
    """Register the shipped backbones as fallbacks, except those with the name of a checkpoint in a zoo."""
    shadowed = find_checkpoints(zoos)
    for folder in sorted(path for path in WEIGHTS.iterdir() if (path / "config.json").is_file()):
        if folder.name not in shadowed:
            register(replace(_spec(folder), default=False, fallback=True, weights="installed"))


def _spec(folder: Path) -> BackboneSpec:
    """Return the spec of a checkpoint by the plugin that wrote it."""
    if mel_cnn.is_checkpoint(folder):
        return mel_cnn.folder_spec(folder, folder.name)
    if model_type(folder) in STATIC_TYPES:
        return _static_specs.folder_spec(folder, folder.name)
    return _specs.folder_spec(folder, folder.name)
