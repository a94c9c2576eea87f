"""Specs of timm's models, repositories and checkpoints, made without torch, timm or a network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from autotransfer.contract.lazy_import import LazyImport
from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import BackboneError, WeightsUnavailableError
from autotransfer_plugins.backbones._catalogue import Entry, timm_version
from autotransfer_plugins.backbones._published import published
from autotransfer_plugins.backbones._recipe import Recipe, preprocessing_of
from autotransfer_plugins.backbones._zoo import count_parameters, read_config
from autotransfer_plugins.modalities.image.formats import ImageLoader

__all__ = ["folder_spec", "hub_spec", "repository_spec"]

_SOURCES = {
    "in1k": "ImageNet-1k",
    "in12k": "ImageNet-12k",
    "in21k": "ImageNet-21k",
    "in22k": "ImageNet-22k",
    "openai": "OpenAI's image-text pairs",
    "laion2b": "LAION-2B image-text pairs",
    "webli": "WebLI image-text pairs",
    "lvd142m": "LVD-142M, without labels",
    "lvd1689m": "LVD-1689M, without labels",
    "dino": "ImageNet-1k, without labels",
}
_HUB, _CHECKPOINT = "autotransfer_plugins.backbones._hub", "autotransfer_plugins.backbones._checkpoint"
_LOAD, _CHECK = LazyImport(f"{_HUB}:load"), LazyImport(f"{_HUB}:check")


def hub_spec(entry: Entry, default: bool = False) -> BackboneSpec:
    """Return the spec of one of timm's pretrained models."""
    preprocessing, name = preprocessing_of(entry.config), entry.name
    known = published(name, preprocessing.size)
    tag = name.partition(".")[2]
    return BackboneSpec(
        name=name,
        modality="image",
        load=partial(_LOAD, name),
        check=partial(_CHECK, name),
        source=", then ".join(_SOURCES[word] for word in tag.split("_") if word in _SOURCES) or tag,
        weights=f"hub {entry.hub}" if entry.hub else f"download {entry.url}",
        default=default,
        parameters=known.parameters,
        gmacs=known.gmacs,
        accuracy=known.accuracy,
        input_size=preprocessing.size,
        preprocessing=preprocessing,
        license=entry.license,
        version=f"timm {timm_version()}",
        load_at=ImageLoader(load=partial(_LOAD, name), resizable=not entry.config["fixed_input_size"]),
    )


def repository_spec(repository: str) -> BackboneSpec:
    """Return the spec of a repository on the hub: ``OWNER/NAME`` or ``OWNER/NAME@REVISION``."""
    load = partial(LazyImport(f"{_HUB}:load_repository"), repository)
    return BackboneSpec(
        name=f"hf-hub:{repository}",
        modality="image",
        load=load,
        check=partial(LazyImport(f"{_HUB}:check_repository"), repository),
        weights=f"hub {repository}",
        version=f"timm {timm_version()}",
        load_at=ImageLoader(load=load, resizable=False),  # its configuration is not here yet
    )


def folder_spec(folder: Path, name: str) -> BackboneSpec:
    """Return the spec of the checkpoint in a folder without loading it; ``check`` reports errors of the checkpoint."""
    config: Mapping[str, Any] = {}
    recipe = preprocessing = parameters = None
    try:
        data = read_config(folder)
        recipe = Recipe.from_json(data, str(folder))
        preprocessing = recipe.preprocessing
        config = data.get("pretrained_cfg", data)
        parameters = count_parameters(folder, config.get("classifier"))
    except BackboneError:
        pass  # ``check`` reports the error
    load = partial(LazyImport(f"{_CHECKPOINT}:load_folder"), folder)
    return BackboneSpec(
        name=name,
        modality="image",
        load=load,
        check=partial(LazyImport(f"{_CHECKPOINT}:check_folder"), folder),
        locate=partial(_locate, folder),
        source=str(config.get("description") or config.get("tag") or ""),
        weights=f"folder {folder}",
        parameters=parameters,
        input_size=preprocessing.size if preprocessing else None,
        preprocessing=preprocessing,
        license=str(config.get("license") or ""),
        version=f"timm {timm_version()}",
        load_at=None if recipe is None else ImageLoader(load=load, resizable=recipe.resizable),
    )


def _locate(folder: Path) -> None:
    """Raise ``WeightsUnavailableError`` if the folder is gone; ``check`` reads its files."""
    if not folder.is_dir():
        raise WeightsUnavailableError(f"The checkpoint folder {folder} is gone.")
