"""Encoders of text and of sound from transformers: by name of the hub, as a folder, or from a zoo.

Listing backbones imports neither transformers nor torch, which take seconds; they are imported when a model is built.
No code of a model is ever run, and weights are read from safetensors files only.
"""

from __future__ import annotations

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
from autotransfer_plugins.backbones._zoo import REPOSITORY, STATIC_TYPES, find_checkpoints, model_type

if TYPE_CHECKING:
    from torch import Tensor

    from autotransfer.contract.backbone import Backbone
    from autotransfer.contract.checkpoints import Checkpoint

__all__ = [
    "export_checkpoint",
    "outline_backbone",
    "rebuild_backbone",
    "register_backbones",
    "resolve_backbone",
    "write_backbone",
]

_CONFIG_OF = LazyImport("autotransfer_plugins.backbones._repositories:repository_config")


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
    prefix, repository = ("hf-hub:", rest) if source == "hf-hub" else ("", own)
    if not REPOSITORY.fullmatch(repository):
        return None
    config = _CONFIG_OF(repository)
    known = not prefix or ("model_type" in config and "architecture" not in config)
    known = known and config.get("model_type") not in STATIC_TYPES  # of another plugin
    return repository_spec(repository, config, prefix, pooling) if known else None


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
        from autotransfer_plugins.backbones._encoder_writing import format_of

        return TextEncoder(checked.build(), checked, format_of(recipe))
    except BackboneError as error:
        raise ModelFormatError(str(error)) from error


@hookimpl
def outline_backbone(architecture: str, input_size: int | None, teacher: Backbone | None) -> Mapping[str, Any] | None:
    """Return the recipe of a small BERT, such as ``bert_tiny``, with the tokenizer of the teacher.

    Raises:
        ConfigError: There is no teacher for texts, or the length is out of range.
    """
    if not architecture.startswith("bert_"):
        return None
    from autotransfer_plugins.backbones._encoder_writing import ARCHITECTURES, outline

    return outline(architecture, input_size, teacher) if architecture in ARCHITECTURES else None


@hookimpl
def write_backbone(
    backbone: Backbone, classifier: tuple[Tensor, Tensor] | None, about: Mapping[str, Any], folder: Path
) -> bool | None:
    """Write an encoder as transformers does, in 16 bit; return None for a backbone of another plugin.

    Raises:
        BackboneError: A weight does not fit into 16 bit, or an encoder of text has no tokenizer.
    """
    if backbone.recipe.get("plugin") != "transformers":
        return None
    from autotransfer_plugins.backbones._encoder_sound import SoundEncoder
    from autotransfer_plugins.backbones._encoder_text import TextEncoder
    from autotransfer_plugins.backbones._encoder_writing import write_folder

    if not isinstance(backbone, (TextEncoder, SoundEncoder)):
        return None
    write_folder(backbone, classifier, about, folder)
    return True


@hookimpl
def export_checkpoint(
    backbone: Backbone, library: str, classifier: tuple[Tensor, Tensor], about: Mapping[str, Any], folder: Path
) -> Checkpoint | None:
    """Write an encoder in float32 for the ``Auto`` classes for classification; None for another backbone or library.

    Raises:
        ExportError: The class for classification has no place for the classifier, or pools in another way.
    """
    if library != "transformers" or backbone.recipe.get("plugin") != "transformers":
        return None
    from autotransfer_plugins.backbones._encoder_classifier import export_folder
    from autotransfer_plugins.backbones._encoder_sound import SoundEncoder
    from autotransfer_plugins.backbones._encoder_text import TextEncoder

    if not isinstance(backbone, (TextEncoder, SoundEncoder)):
        return None
    return export_folder(backbone, classifier, about, folder)


def _is_encoder(folder: Path) -> bool:
    kind = model_type(folder)
    return bool(kind) and kind not in STATIC_TYPES
