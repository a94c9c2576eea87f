"""Static embeddings from the hub or its cache; every file is checked as that of a folder, since authors are unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from huggingface_hub import constants

from autotransfer_plugins.backbones._hosts import check_host
from autotransfer_plugins.backbones._repositories import cached_file, fetch
from autotransfer_plugins.backbones._static_folder import load_folder
from autotransfer_plugins.backbones._static_specs import TOKENIZER
from autotransfer_plugins.backbones._zoo import CONFIG, WEIGHTS

if TYPE_CHECKING:
    from autotransfer_plugins.backbones._static_model import StaticEmbeddings

__all__ = ["check_repository", "load_repository"]


def check_repository(repository: str) -> None:
    """Raise WeightsUnavailableError unless a repository's vectors are cached or the hub answers."""
    if not cached_file(repository, WEIGHTS):
        check_host(constants.ENDPOINT, repository)


def load_repository(repository: str, max_length: int | None = None) -> StaticEmbeddings:
    """Fetch a repository, ``OWNER/NAME`` or ``OWNER/NAME@REVISION``, and load it as a folder.

    Raises:
        WeightsUnavailableError: The vectors are not here and cannot be fetched.
        BackboneError: The repository holds no valid static embeddings.
    """
    check_repository(repository)  # without a network, the client of the hub retries for a minute
    files = [CONFIG, TOKENIZER, WEIGHTS]
    cached = all(cached_file(repository, file) for file in files)
    return load_folder(fetch(repository, files, cached=cached), max_length)
