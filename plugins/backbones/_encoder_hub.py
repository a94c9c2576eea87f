"""Encoders from the hub or its cache; every fetched file is checked as that of a folder, since authors are unknown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import constants, hf_hub_download, snapshot_download, try_to_load_from_cache

from autotransfer.errors import AutoTransferError
from autotransfer.runtime.text import one_line
from autotransfer_plugins.backbones._encoder_folder import load_folder
from autotransfer_plugins.backbones._encoder_recipe import Pooling, require_transformers
from autotransfer_plugins.backbones._hosts import check_host, unavailable

if TYPE_CHECKING:
    from autotransfer.contract.backbone import Backbone

__all__ = ["check_repository", "load_repository", "repository_config"]

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_FILES = [
    *("config.json", "modules.json", "sentence_bert_config.json", "preprocessor_config.json", "*Pooling/config.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.*", "merges.txt", "*.model"),
    *(*_WEIGHTS, "model-*.safetensors"),
]


def check_repository(repository: str) -> None:
    """Raise WeightsUnavailableError unless a repository's weights are cached or the hub answers."""
    require_transformers()
    if not any(_cached(repository, name) for name in _WEIGHTS):
        check_host(constants.ENDPOINT, repository)


def load_repository(repository: str, pooling: Pooling | None = None, form: Any = None) -> Backbone:
    """Fetch a repository, ``OWNER/NAME`` or ``OWNER/NAME@REVISION``, and load it as a folder.

    Raises:
        WeightsUnavailableError: The weights are not here and cannot be fetched.
        BackboneError: The repository holds no valid encoder, or its weights are in no safetensors file.
        PluginError: transformers is not installed.
    """
    check_repository(repository)  # without a network, the client of the hub retries for a minute
    name, _, revision = repository.partition("@")
    cached = any(_cached(repository, file) for file in _WEIGHTS)
    with _translated(repository):
        folder = snapshot_download(
            name, revision=revision or None, allow_patterns=_FILES, local_files_only=cached or constants.HF_HUB_OFFLINE
        )
    return load_folder(Path(folder), pooling, form)


def repository_config(repository: str) -> dict[str, Any]:
    """Return a repository's ``config.json``, fetched where it is not cached; empty where it cannot be had."""
    name, _, revision = repository.partition("@")
    try:
        path = _cached(repository, "config.json")
        if path is None:
            check_host(constants.ENDPOINT, repository)
            path = hf_hub_download(name, "config.json", revision=revision or None)
        config = json.loads(Path(path).read_text(encoding="utf-8"))
    except Exception:  # no network, no such repository, no JSON: loading says which
        return {}
    return config if isinstance(config, dict) else {}


def _cached(repository: str, file: str) -> str | None:
    """Return the path of a repository's file in the hub cache."""
    name, _, revision = repository.partition("@")
    with _translated(repository):
        path = try_to_load_from_cache(name, file, revision=revision or None)
    return path if isinstance(path, str) else None


@contextmanager
def _translated(repository: str) -> Iterator[None]:
    """Turn errors of the hub into errors of this package."""
    try:
        yield
    except AutoTransferError:
        raise
    except Exception as error:  # no network, no such repository, no right to read it
        raise unavailable(repository, f"{type(error).__name__}: {one_line(error)[:200]}") from error
