"""Backbones from timm: its pretrained models by name, the hub, and folders of checkpoints.

Listing backbones imports neither timm nor torch, which take seconds; they are imported when a model is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.lazy_import import LazyImport
from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import BackboneError, ModelFormatError, UnknownNameError
from autotransfer_plugins.backbones._catalogue import architectures, catalogue, is_architecture
from autotransfer_plugins.backbones._encoder_specs import split_pooling
from autotransfer_plugins.backbones._published import PORTFOLIO
from autotransfer_plugins.backbones._recipe import Recipe
from autotransfer_plugins.backbones._specs import folder_spec, hub_spec, repository_spec
from autotransfer_plugins.backbones._zoo import find_checkpoints, is_of_another_library

if TYPE_CHECKING:
    from torch import Tensor

    from autotransfer.contract.backbone import Backbone
    from autotransfer.contract.checkpoints import Checkpoint
    from autotransfer_plugins.backbones._model import TimmBackbone

__all__ = [
    "TimmBackbone",
    "export_checkpoint",
    "outline_backbone",
    "rebuild_backbone",
    "register_backbones",
    "resolve_backbone",
    "write_backbone",
]

_CONFIG_OF = LazyImport("autotransfer_plugins.backbones._repositories:repository_config")


def __getattr__(name: str) -> Any:
    if name != "TimmBackbone":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from autotransfer_plugins.backbones._model import TimmBackbone

    return TimmBackbone


@hookimpl
def register_backbones(register: Callable[[BackboneSpec], None], zoos: tuple[Path, ...]) -> None:
    """Register every checkpoint of timm's in the zoos, and every pretrained model of timm whose name no checkpoint has.

    By default, a search tries the checkpoints of the zoos; without zoos, a small portfolio of timm's models.

    Raises:
        DataNotFoundError: A zoo is no folder.
        ConfigError: A zoo holds no checkpoint, or two zoos hold one of the same name.
    """
    checkpoints = find_checkpoints(zoos)
    for name, folder in checkpoints.items():
        if not is_of_another_library(folder):
            register(folder_spec(folder, name))
    for name, entry in catalogue().items():
        if entry.pretrained and name not in checkpoints:
            register(hub_spec(entry, default=not zoos and name in PORTFOLIO))


@hookimpl
def resolve_backbone(name: str) -> BackboneSpec | None:
    """Return the spec of an architecture (``resnet18``), ``hf-hub:OWNER/NAME``, ``local-dir:PATH`` or a path.

    Raises:
        UnknownNameError: timm has renamed the models of this name or pattern.
    """
    source, _, rest = name.partition(":")
    if source == "hf-hub" and rest:
        return None if _is_of_another_library(rest) else repository_spec(rest)
    path = rest if source == "local-dir" else name
    folder = Path(path).expanduser().resolve()
    if not folder.exists() and is_of_another_library(Path(split_pooling(path)[0]).expanduser().resolve()):
        return None  # an encoder with a pooling behind its folder
    if source == "local-dir" or (folder / "config.json").is_file():
        return None if is_of_another_library(folder) else folder_spec(folder, f"local-dir:{folder}")
    entry = architectures().get(name)
    if entry is not None and entry.pretrained:
        return hub_spec(entry)
    if renamed := _renamed(name):
        raise UnknownNameError("backbone", name, renamed, "timm has renamed what it once called so.")
    return None


def _is_of_another_library(repository: str) -> bool:
    """Whether the configuration of a repository, where it can be had, says another library's model."""
    if repository.startswith("timm/"):
        return False
    config = _CONFIG_OF(split_pooling(repository)[0])
    return "model_type" in config and "architecture" not in config


def _renamed(pattern: str) -> list[str]:
    """Return timm's present names of models with an old name or a pattern of old names."""
    from timm.models import get_deprecated_models

    return [new for old, new in get_deprecated_models().items() if new and fnmatchcase(old, pattern)]


@hookimpl
def rebuild_backbone(recipe: Mapping[str, Any]) -> TimmBackbone | None:
    """Build the backbone of a saved model with random weights; None for a recipe of another plugin.

    Raises:
        ModelFormatError: The recipe is broken, or has arguments that are not allowed.
    """
    if recipe.get("plugin") != "timm":
        return None
    from autotransfer_plugins.backbones._model import TimmBackbone

    try:
        checked = Recipe.from_json(dict(recipe), "The recipe of the backbone")
        return TimmBackbone(checked.build(), checked)
    except BackboneError as error:
        raise ModelFormatError(str(error)) from error


@hookimpl
def outline_backbone(architecture: str, input_size: int | None, classes: int) -> Mapping[str, Any] | None:
    """Return the recipe of one of timm's architectures, or None for an unknown name.

    Raises:
        ConfigError: The architecture cannot be built for this size.
    """
    if not is_architecture(architecture):
        return None
    from autotransfer_plugins.backbones._writing import outline

    return outline(architecture, input_size, classes)


@hookimpl
def write_backbone(
    backbone: Backbone, classifier: tuple[Tensor, Tensor] | None, about: Mapping[str, Any], folder: Path
) -> bool | None:
    """Write a backbone of this plugin in timm's own format; return None for a backbone of another plugin.

    Raises:
        BackboneError: The classifier does not suit the architecture, or a weight is not finite.
    """
    from autotransfer_plugins.backbones._model import TimmBackbone
    from autotransfer_plugins.backbones._writing import write_folder

    if not isinstance(backbone, TimmBackbone):
        return None
    write_folder(backbone, classifier, about, folder)
    return True


@hookimpl
def export_checkpoint(
    backbone: Backbone, library: str, classifier: tuple[Tensor, Tensor], about: Mapping[str, Any], folder: Path
) -> Checkpoint | None:
    """Write a backbone of this plugin in float32 for timm; return None for another backbone or library.

    Raises:
        ExportError: The architecture has no linear classifier on its pooled features.
    """
    if library != "timm" or backbone.recipe.get("plugin") != "timm":
        return None
    from autotransfer_plugins.backbones._model import TimmBackbone
    from autotransfer_plugins.backbones._writing import export_folder

    return export_folder(backbone, classifier, about, folder) if isinstance(backbone, TimmBackbone) else None
