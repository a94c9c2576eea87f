"""Specs of static embeddings, made without torch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from autotransfer.contract.lazy_import import LazyImport
from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import BackboneError, WeightsUnavailableError
from autotransfer_plugins.backbones._zoo import count_parameters, read_config
from autotransfer_plugins.modalities.text.formats import MAX_LENGTH, MIN_LENGTH

__all__ = ["TOKENIZER", "folder_spec", "max_length_in", "repository_spec"]

TOKENIZER = "tokenizer.json"
# Tokens of a text that are averaged where the configuration says nothing, as model2vec does.
_USUAL_LENGTH = 512
_FOLDER = "autotransfer_plugins.backbones._static_folder"
_HUB = "autotransfer_plugins.backbones._static_hub"


def max_length_in(config: Mapping[str, Any]) -> int:
    """Return the most tokens of a text that the configuration of static embeddings names."""
    length = config.get("max_length")
    return length if type(length) is int and MIN_LENGTH <= length <= MAX_LENGTH else _USUAL_LENGTH


def folder_spec(folder: Path, name: str) -> BackboneSpec:
    """Return the spec of the static embeddings in a folder; ``check`` reports errors of the folder."""
    config: Mapping[str, Any] = {}
    parameters = None
    try:
        config = read_config(folder)
        parameters = count_parameters(folder, "classifier")
    except BackboneError:
        pass  # ``check`` reports the error
    length = max_length_in(config)
    load = partial(LazyImport(f"{_FOLDER}:load_folder"), folder)
    facts = {key: value for key in ("description", "source", "license") if isinstance(value := config.get(key), str)}
    return BackboneSpec(
        name=name,
        modality="text",
        load=load,
        load_at=load,
        check=partial(LazyImport(f"{_FOLDER}:check_folder"), folder),
        locate=partial(_locate, folder),
        source=facts.get("description", facts.get("source", "")),
        weights=f"folder {folder}",
        parameters=parameters,
        gmacs=_gmacs(config, length),
        input_size=(length,),
        license=facts.get("license", ""),
        version=f"tokenizers {_tokenizers_version()}",
        tells_near_duplicates=False,
    )


def repository_spec(repository: str, config: Mapping[str, Any], name: str) -> BackboneSpec:
    """Return the spec of a repository of the hub that holds static embeddings.

    Args:
        repository: The repository, ``OWNER/NAME`` or ``OWNER/NAME@REVISION``.
        config: Its ``config.json``; empty where that is not known.
        name: What the backbone is called.
    """
    length, load = max_length_in(config), partial(LazyImport(f"{_HUB}:load_repository"), repository)
    return BackboneSpec(
        name=name,
        modality="text",
        load=load,
        load_at=load,
        check=partial(LazyImport(f"{_HUB}:check_repository"), repository),
        weights=f"hub {repository}",
        gmacs=_gmacs(config, length),
        input_size=(length,),
        version=f"tokenizers {_tokenizers_version()}",
        tells_near_duplicates=False,
    )


def _gmacs(config: Mapping[str, Any], length: int) -> float | None:
    """Return the additions of the mean over a text of full length, in 10^9."""
    width = config.get("hidden_size", config.get("hidden_dim"))
    return length * width / 1e9 if type(width) is int else None


@cache
def _tokenizers_version() -> str:
    return version("tokenizers")


def _locate(folder: Path) -> None:
    """Raise ``WeightsUnavailableError`` if the folder is gone; ``check`` reads its files."""
    if not folder.is_dir():
        raise WeightsUnavailableError(f"The checkpoint folder {folder} is gone.")
