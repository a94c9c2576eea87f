"""Static embeddings: a matrix and a tokenizer, from a zoo, a folder or the hub, without transformers.

They read thousands of texts a second. Listing backbones imports neither torch nor tokenizers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.lazy_import import LazyImport
from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import BackboneError, ModelFormatError
from autotransfer_plugins.backbones._static_specs import folder_spec, repository_spec
from autotransfer_plugins.backbones._zoo import REPOSITORY, STATIC_TYPES, find_checkpoints, model_type

if TYPE_CHECKING:
    from torch import Tensor

    from autotransfer.contract.backbone import Backbone

__all__ = ["outline_backbone", "rebuild_backbone", "register_backbones", "resolve_backbone", "write_backbone"]

_PLUGIN = "static_embeddings"
_CONFIG_OF = LazyImport("autotransfer_plugins.backbones._repositories:repository_config")


@hookimpl
def register_backbones(register: Callable[[BackboneSpec], None], zoos: tuple[Path, ...]) -> None:
    """Register the static embeddings of the zoos.

    Raises:
        DataNotFoundError: A zoo is no folder.
        ConfigError: A zoo holds no checkpoint, or two zoos hold one of the same name.
    """
    for name, folder in find_checkpoints(zoos).items():
        if model_type(folder) in STATIC_TYPES:
            register(folder_spec(folder, name))


@hookimpl
def resolve_backbone(name: str) -> BackboneSpec | None:
    """Return the spec of static embeddings: ``local-dir:PATH``, a path, or a repository of the hub.

    ``static:OWNER/NAME`` says what the repository holds. ``OWNER/NAME`` and ``hf-hub:OWNER/NAME`` are recognised by the
    configuration of the repository.
    """
    prefix, _, rest = name.rpartition(":")
    if prefix in ("", "static", "hf-hub") and REPOSITORY.fullmatch(rest) and not Path(name).expanduser().is_dir():
        config = _CONFIG_OF(rest)
        known = prefix == "static" or config.get("model_type") in STATIC_TYPES
        return repository_spec(rest, config, name) if known else None
    folder = Path(name.removeprefix("local-dir:")).expanduser().resolve()
    return folder_spec(folder, f"local-dir:{folder}") if model_type(folder) in STATIC_TYPES else None


@hookimpl
def rebuild_backbone(recipe: Mapping[str, Any]) -> Backbone | None:
    """Build the backbone of a saved model without weights; None for a recipe of another plugin.

    Raises:
        ModelFormatError: The recipe is broken.
    """
    if recipe.get("plugin") != _PLUGIN:
        return None
    from autotransfer_plugins.backbones._static_model import build
    from autotransfer_plugins.backbones._static_start import format_of

    try:
        return build(recipe, None if "tokenizer" not in recipe else format_of(recipe))
    except BackboneError as error:
        raise ModelFormatError(str(error)) from error


@hookimpl
def outline_backbone(architecture: str, input_size: int | None, teacher: Backbone | None) -> Mapping[str, Any] | None:
    """Return the recipe of ``static_WIDTH`` or ``static_WIDTH_8k``, with the tokenizer of the teacher.

    Raises:
        ConfigError: There is no teacher for texts, its tokenizer cannot be cut, or a number is out of range.
    """
    if not architecture.startswith("static_"):
        return None
    from autotransfer_plugins.backbones._static_start import outline

    return outline(architecture, input_size, teacher)


@hookimpl
def write_backbone(
    backbone: Backbone, classifier: tuple[Tensor, Tensor] | None, about: Mapping[str, Any], folder: Path
) -> bool | None:
    """Write static embeddings in 16 bit with their tokenizer; return None for a backbone of another plugin.

    Raises:
        BackboneError: A vector does not fit into 16 bit, or the backbone has no tokenizer.
    """
    from autotransfer_plugins.backbones._static_model import StaticEmbeddings

    if not isinstance(backbone, StaticEmbeddings):
        return None
    from autotransfer_plugins.backbones._static_folder import write_folder

    write_folder(backbone, classifier, about, folder)
    return True
