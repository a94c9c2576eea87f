"""Repositories of the hub: their configuration, their files in the hub cache, and errors of the hub in our words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import constants, hf_hub_download, snapshot_download, try_to_load_from_cache

from autotransfer.errors import AutoTransferError
from autotransfer.runtime.text import one_line
from autotransfer_plugins.backbones._hosts import check_host, unavailable

__all__ = ["cached_file", "fetch", "repository_config"]


def repository_config(repository: str) -> dict[str, Any]:
    """Return a repository's ``config.json``, fetched where it is not cached; empty where it cannot be had."""
    name, _, revision = repository.partition("@")
    try:
        path = cached_file(repository, "config.json")
        if path is None:
            check_host(constants.ENDPOINT, repository)
            path = hf_hub_download(name, "config.json", revision=revision or None)
        config = json.loads(Path(path).read_text(encoding="utf-8"))
    except Exception:  # no network, no such repository, no JSON: loading says which
        return {}
    return config if isinstance(config, dict) else {}


def fetch(repository: str, files: list[str], *, cached: bool) -> Path:
    """Return the folder of a repository, ``OWNER/NAME`` or ``OWNER/NAME@REVISION``, with the files of these patterns.

    Args:
        repository: The repository.
        files: Patterns of names.
        cached: Whether the hub cache holds what is needed, so that the hub is not asked.

    Raises:
        WeightsUnavailableError: The files are not here and cannot be fetched.
    """
    name, _, revision = repository.partition("@")
    offline = cached or constants.HF_HUB_OFFLINE
    with _translated(repository):
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=files, local_files_only=offline))


def cached_file(repository: str, file: str) -> str | None:
    """Return the path of a repository's file in the hub cache; None where it is not there.

    Raises:
        WeightsUnavailableError: The name is none of a repository.
    """
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
