"""Small convolutional networks for sound that ``pretrain`` and ``distill`` train, such as ``mel_cnn_small``.

Listing them imports no torch. A checkpoint is a folder with a ``config.json`` whose ``class`` is ``mel_cnn``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.lazy_import import LazyImport
from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import BackboneError, ConfigError, ModelFormatError
from autotransfer_plugins.backbones._zoo import count_parameters, find_checkpoints, read_config
from autotransfer_plugins.modalities.audio.formats import MAX_WINDOW_SECONDS, WaveFormat

if TYPE_CHECKING:
    from torch import Tensor

    from autotransfer.contract.backbone import Backbone

__all__ = [
    "PLUGIN",
    "RATE",
    "Shape",
    "folder_spec",
    "is_checkpoint",
    "outline_backbone",
    "rebuild_backbone",
    "recipe_of",
    "register_backbones",
    "shape_of",
    "write_backbone",
]

PLUGIN, RATE = "mel_cnn", 16_000  # Hz
_MODEL = "autotransfer_plugins.backbones._mel_cnn_model"
_VERSION = "mel_cnn 1"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Numbers of channels.

    Attributes:
        stem: Channels of the first convolution.
        width: Channels of the blocks over time.
        gmacs: Multiply-accumulates for a second of sound, in 10^9.
    """

    stem: int
    width: int
    gmacs: float


_SHAPES = {
    "mel_cnn_tiny": Shape(stem=8, width=64, gmacs=0.003),
    "mel_cnn_small": Shape(stem=16, width=176, gmacs=0.017),
}


@hookimpl
def register_backbones(register: Callable[[BackboneSpec], None], zoos: tuple[Path, ...]) -> None:
    """Register the checkpoints of the zoos that are of this plugin."""
    for name, folder in find_checkpoints(zoos).items():
        if is_checkpoint(folder):
            register(folder_spec(folder, name))


@hookimpl
def rebuild_backbone(recipe: Mapping[str, Any]) -> Backbone | None:
    """Build a network with random weights; None for a recipe of another plugin.

    Raises:
        ModelFormatError: The recipe is damaged.
    """
    if recipe.get("plugin") != PLUGIN:
        return None
    found: Backbone = LazyImport(f"{_MODEL}:build")(recipe)
    return found


@hookimpl
def outline_backbone(architecture: str, input_size: int | None, teacher: Backbone | None) -> Mapping[str, Any] | None:
    """Return the recipe of an architecture for windows of ``input_size`` seconds, by default the teacher's.

    Raises:
        ConfigError: The window is too long.
    """
    if architecture not in _SHAPES:
        return None
    how = None if teacher is None else teacher.preprocessing
    seconds = input_size or (how.seconds if isinstance(how, WaveFormat) else WaveFormat().seconds)
    if seconds > MAX_WINDOW_SECONDS:
        raise ConfigError(f"The window of a sound has {MAX_WINDOW_SECONDS:.0f} seconds at most; got {seconds}.")
    return {"plugin": PLUGIN, "network": architecture, "seconds": float(seconds)}


@hookimpl
def write_backbone(
    backbone: Backbone, classifier: tuple[Tensor, Tensor] | None, about: Mapping[str, Any], folder: Path
) -> bool | None:
    """Write a network of this plugin as a checkpoint in 16 bit; return None for a backbone of another plugin.

    Raises:
        BackboneError: A weight does not fit into 16 bit.
    """
    if backbone.recipe.get("plugin") != PLUGIN:
        return None
    LazyImport(f"{_MODEL}:write_folder")(backbone, classifier, about, folder)
    return True


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder holds a checkpoint of this plugin."""
    try:
        return read_config(folder).get("class") == PLUGIN
    except BackboneError:
        return False


def folder_spec(folder: Path, name: str) -> BackboneSpec:
    """Return the spec of a checkpoint without loading it; ``check`` reports errors of the checkpoint."""
    how = gmacs = parameters = None
    config: Mapping[str, Any] = {}
    try:
        config = read_config(folder)
        parameters = count_parameters(folder, "classifier")
        recipe = recipe_of(config)
        how = WaveFormat(rate=RATE, seconds=recipe["seconds"])
        gmacs = shape_of(recipe["network"]).gmacs * how.seconds
    except (BackboneError, ModelFormatError):
        pass  # ``check`` reports the error
    load = partial(LazyImport(f"{_MODEL}:load_folder"), folder)
    return BackboneSpec(
        name=name,
        modality="audio",
        load=load,
        check=partial(LazyImport(f"{_MODEL}:check_folder"), folder),
        source=str(config.get("description") or ""),
        weights=f"folder {folder}",
        parameters=parameters,
        gmacs=gmacs,
        input_size=None if how is None else (how.length,),
        preprocessing=how,
        license=str(config.get("license") or ""),
        version=_VERSION,
        load_at=load,
    )


def recipe_of(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe in the configuration of a checkpoint or in a saved model, which may come from a stranger.

    Raises:
        ModelFormatError: It is damaged.
    """
    seconds = saved.get("seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not math.isfinite(seconds):
        raise ModelFormatError(f"The window of a {PLUGIN} has a number of seconds; got {seconds!r:.60}.")
    shape_of(saved.get("network"))
    how = WaveFormat.from_json({"rate": RATE, "seconds": seconds})
    return {"plugin": PLUGIN, "network": saved["network"], "seconds": how.seconds}


def shape_of(architecture: Any) -> Shape:
    """Return the numbers of channels of an architecture.

    Raises:
        ModelFormatError: There is none of this name.
    """
    if not isinstance(architecture, str) or architecture not in _SHAPES:
        raise ModelFormatError(f"The architectures of {PLUGIN} are {sorted(_SHAPES)}; got {architecture!r:.60}.")
    return _SHAPES[architecture]
