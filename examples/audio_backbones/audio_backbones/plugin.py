"""Four audio networks, found in the checkpoint folders of a zoo. Listing them reads their ``config.json`` only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_backbones.architectures import ARCHITECTURES, DISTRIBUTION
from audio_backbones.checkpoints import CONFIG, Recipe, locate, read_config
from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.lazy_import import LazyImport
from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import BackboneError, ModelFormatError

if TYPE_CHECKING:
    from torch import Tensor

    from autotransfer.contract.backbone import Backbone

__all__ = ["rebuild_backbone", "register_backbones", "resolve_backbone", "write_backbone"]

_LOAD = LazyImport("audio_backbones.checkpoints:load")
_CHECK = LazyImport("audio_backbones.checkpoints:check")


@hookimpl
def register_backbones(register: Callable[[BackboneSpec], None], zoos: tuple[Path, ...]) -> None:
    """Register every checkpoint whose configuration names one of our classes."""
    for folder in _folders(zoos):
        if (config := _ours(folder)) is not None:
            register(_spec(folder, config, folder.name))


@hookimpl
def resolve_backbone(name: str) -> BackboneSpec | None:
    """Return the spec of ``local-dir:PATH``, or of a path, where this is a checkpoint of one of our classes."""
    source, _, rest = name.partition(":")
    folder = Path(rest if source == "local-dir" else name).expanduser().resolve()
    config = _ours(folder)
    return None if config is None else _spec(folder, config, f"local-dir:{folder}")


@hookimpl
def rebuild_backbone(recipe: Mapping[str, Any]) -> Backbone | None:
    """Build the backbone of a saved model; its weights are loaded later.

    Raises:
        ModelFormatError: The recipe is broken.
    """
    if recipe.get("plugin") != DISTRIBUTION:
        return None
    try:
        return Recipe.from_json(recipe, "The recipe of the backbone").build()
    except BackboneError as error:
        raise ModelFormatError(str(error)) from error


@hookimpl
def write_backbone(
    backbone: Backbone, classifier: tuple[Tensor, Tensor] | None, about: Mapping[str, Any], folder: Path
) -> bool | None:
    """Write a network of ours as a checkpoint, without the classifier; return None for a backbone of another plugin.

    Raises:
        BackboneError: A weight is not finite.
    """
    if backbone.recipe.get("plugin") != DISTRIBUTION:
        return None
    from audio_backbones.checkpoints import write

    write(backbone, about, folder)
    return True


def _folders(zoos: tuple[Path, ...]) -> Iterator[Path]:
    for zoo in dict.fromkeys(Path(zoo).expanduser().resolve() for zoo in zoos):
        if zoo.is_dir():
            yield from sorted(folder for folder in zoo.iterdir() if (folder / CONFIG).is_file())


def _ours(folder: Path) -> dict[str, Any] | None:
    """Return the configuration of a checkpoint of ours; None for any other folder."""
    try:
        config = read_config(folder)
    except BackboneError:
        return None
    return config if config.get("class") in tuple(ARCHITECTURES) else None


def _spec(folder: Path, config: Mapping[str, Any], name: str) -> BackboneSpec:
    """Return the spec of a checkpoint; ``check`` reports a configuration that is broken.

    A checkpoint that transformers can load, too, has a name of its own here, and is searched by default where
    transformers is not installed: two backbones of the same weights would take the time of one.
    """
    shared, load = "model_type" in config, partial(_LOAD, folder)
    return BackboneSpec(
        name=f"{name}.{DISTRIBUTION}" if shared else name,
        modality="audio",
        load=load,
        load_at=load,
        check=partial(_CHECK, folder),
        locate=partial(locate, folder),
        source=str(config.get("source", "")),
        weights=f"folder {folder}",
        default=not shared or find_spec("transformers") is None,
        license=str(config.get("license", "")),
        version=f"{DISTRIBUTION} 1",
        **_about(folder, config),
    )


def _about(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    try:
        recipe = Recipe.from_json(config, str(folder))
    except (BackboneError, ModelFormatError):
        return {}
    about: dict[str, Any] = {"input_size": (recipe.how.length,), "preprocessing": recipe.how}
    if not recipe.arguments:
        architecture = recipe.architecture
        gmacs = round(architecture.gmacs_per_second * recipe.how.seconds, 4)
        about |= {"parameters": architecture.parameters, "gmacs": gmacs}
    return about
