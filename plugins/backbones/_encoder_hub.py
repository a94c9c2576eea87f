"""Encoders from the hub or its cache; every fetched file is checked as that of a folder, since authors are unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from huggingface_hub import constants

from autotransfer_plugins.backbones._encoder_folder import load_folder
from autotransfer_plugins.backbones._encoder_recipe import Pooling, require_transformers
from autotransfer_plugins.backbones._hosts import check_host
from autotransfer_plugins.backbones._repositories import cached_file, fetch

if TYPE_CHECKING:
    from autotransfer.contract.backbone import Backbone

__all__ = ["check_repository", "load_repository"]

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_FILES = [
    *("config.json", "modules.json", "sentence_bert_config.json", "preprocessor_config.json", "*Pooling/config.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.*", "merges.txt", "*.model"),
    *(*_WEIGHTS, "model-*.safetensors"),
]


def check_repository(repository: str) -> None:
    """Raise WeightsUnavailableError unless a repository's weights are cached or the hub answers."""
    require_transformers()
    if not any(cached_file(repository, name) for name in _WEIGHTS):
        check_host(constants.ENDPOINT, repository)


def load_repository(repository: str, pooling: Pooling | None = None, form: Any = None) -> Backbone:
    """Fetch a repository, ``OWNER/NAME`` or ``OWNER/NAME@REVISION``, and load it as a folder.

    Raises:
        WeightsUnavailableError: The weights are not here and cannot be fetched.
        BackboneError: The repository holds no valid encoder, or its weights are in no safetensors file.
        PluginError: transformers is not installed.
    """
    check_repository(repository)  # without a network, the client of the hub retries for a minute
    cached = any(cached_file(repository, file) for file in _WEIGHTS)
    return load_folder(fetch(repository, _FILES, cached=cached), pooling, form)
