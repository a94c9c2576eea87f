"""Exported models on the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from autotransfer._version import __version__
from autotransfer.errors import ConfigError, ExportError
from autotransfer.report.card_usage import CARD
from autotransfer.runtime.text import one_line

__all__ = ["push", "require_access"]

_REPOSITORY = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


def require_access(repository: str) -> None:
    """Check, before any work, the name of a repository, and that there is a token of the hub.

    Raises:
        ConfigError: The name is none, or there is no token.
    """
    _token(repository)


def push(
    folder: Path,
    files: Iterable[Path],
    card: str,
    repository: str,
    *,
    private: bool = True,
    endpoint: str | None = None,
) -> str:
    """Hand files to a repository of the hub in one commit, with a model card; the repository is made where it is new.

    Args:
        folder: The folder that the files are in; it becomes the root of the repository.
        files: The files.
        card: The model card.
        repository: ``OWNER/NAME``.
        private: Whether a new repository is private; one that there is stays as it is.
        endpoint: Address of the hub; None takes the usual one, or what ``HF_ENDPOINT`` says.

    Returns:
        The address of the repository.

    Raises:
        ConfigError: The name is none, or there is no token.
        ExportError: The hub cannot be reached, or refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(endpoint=endpoint, token=_token(repository), library_name="autotransfer", library_version=__version__)
    additions = {file.relative_to(folder).as_posix(): str(file) for file in files}
    contents: dict[str, str | bytes] = {**additions, CARD: card.encode()}
    try:
        address = api.create_repo(repository, private=private, exist_ok=True)
        api.create_commit(
            repository,
            [CommitOperationAdd(path_in_repo=name, path_or_fileobj=content) for name, content in contents.items()],
            commit_message=f"Upload a model of autotransfer {__version__}",
        )
    except Exception as error:  # of the network, of the hub, and of checks of the client
        raise ExportError(
            f"The model was exported, and {repository} of the hub did not take it: {type(error).__name__}: "
            f"{one_line(error)}. Once that is put right, push again: the export stays where it is."
        ) from error
    return str(address)


def _token(repository: str) -> str:
    from huggingface_hub import get_token

    if not _REPOSITORY.fullmatch(repository):
        raise ConfigError(f"A repository of the hub is called OWNER/NAME; got {repository!r:.100}.")
    if (token := get_token()) is None:
        raise ConfigError(
            f"There is no token of the Hugging Face hub, which {repository} needs: run 'hf auth login', or set "
            "HF_TOKEN. A token with the right to write is made at https://huggingface.co/settings/tokens."
        )
    return token
