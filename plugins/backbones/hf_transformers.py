"""Encoders of text and of sound from transformers: by name of the hub, as a folder, or from a zoo.

Listing backbones imports neither transformers nor torch, which take seconds; they are imported when a model is built.
No code of a model is ever run, and weights are read from safetensors files only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.lazy_import import LazyImport
from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import BackboneError, ModelFormatError
from autotransfer_plugins.backbones._encoder_recipe import EncoderRecipe
from autotransfer_plugins.backbones._encoder_specs import (
    folder_spec,
    folder_specs,
    portfolio,
    repository_spec,
    split_pooling,
)
from autotransfer_plugins.backbones._zoo import STATIC_TYPES, find_checkpoints, model_type

if TYPE_CHECKING:
    from autotransfer.contract.backbone import Backbone

__all__ = ["rebuild_backbone", "register_backbones", "resolve_backbone"]

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")
_CONFIG_OF = LazyImport("autotransfer_plugins.backbones._encoder_hub:repository_config")


@hookimpl
def register_backbones(register: Callable[[BackboneSpec], None], zoos: tuple[Path, ...]) -> None:
    """Register the encoders of the zoos, and a portfolio of the hub's.

    By default, a search tries the checkpoints of the zoos; without zoos, the portfolio.

    Raises:
        DataNotFoundError: A zoo is no folder.
        ConfigError: A zoo holds no checkpoint, or two zoos hold one of the same name.
    """
    checkpoints = find_checkpoints(zoos)
    for name, folder in checkpoints.items():
        if _is_encoder(folder):
            for spec in folder_specs(folder, name):
                register(spec)
    for spec in portfolio(checkpoints, default=not zoos):
        register(spec)


@hookimpl
def resolve_backbone(name: str) -> BackboneSpec | None:
    """Return the spec of ``OWNER/NAME``, ``hf-hub:OWNER/NAME``, ``local-dir:PATH`` or a path; ``@mean`` pools so."""
    own, pooling = split_pooling(name)
    source, _, rest = own.partition(":")
    folder = Path(rest if source == "local-dir" else own).expanduser().resolve()
    if folder.is_dir():
        return folder_spec(folder, f"local-dir:{folder}", pooling) if _is_encoder(folder) else None
    if source == "hf-hub" and _REPOSITORY.fullmatch(rest):
        config = _CONFIG_OF(rest)
        return repository_spec(rest, config, "hf-hub:", pooling) if "model_type" in config else None
    return repository_spec(own, _CONFIG_OF(own), "", pooling) if _REPOSITORY.fullmatch(own) else None


@hookimpl
def rebuild_backbone(recipe: Mapping[str, Any]) -> Backbone | None:
    """Build the backbone of a saved model with random weights; None for a recipe of another plugin.

    Raises:
        ModelFormatError: The recipe is broken, or names a model that transformers does not hold.
    """
    if recipe.get("plugin") != "transformers":
        return None
    from autotransfer_plugins.backbones._encoder_text import TextEncoder

    try:
        checked = EncoderRecipe.from_json(recipe)
        if checked.sound is not None:
            from autotransfer_plugins.backbones._encoder_sound import SoundEncoder

            return SoundEncoder.of(checked.build(), checked)
        return TextEncoder(checked.build(), checked, None)
    except BackboneError as error:
        raise ModelFormatError(str(error)) from error


def _is_encoder(folder: Path) -> bool:
    kind = model_type(folder)
    return bool(kind) and kind not in STATIC_TYPES
