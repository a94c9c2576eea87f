"""Optuna storages by URL."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.exc import DatabaseError, SQLAlchemyError

from autotransfer.errors import ConfigError, SearchError
from autotransfer.runtime.text import one_line

__all__ = ["close_storage", "translate_storage_errors", "open_storage"]

# Seconds between attempts to open a new database, while another process creates its tables.
_RETRY_SECONDS = (0.5, 1.0, 2.0)


def open_storage(url: str) -> BaseStorage:
    """Return the storage at a URL, as Optuna reads it.

    Raises:
        ConfigError: The URL cannot be used.
    """
    for pause in _RETRY_SECONDS:
        with contextlib.suppress(DatabaseError):
            return _open(url)
        time.sleep(pause)
    try:
        return _open(url)
    except DatabaseError as error:
        raise _unusable(url, error) from error


@contextlib.contextmanager
def translate_storage_errors(advice: str) -> Iterator[None]:
    """Turn failures of a database within the block into ``SearchError``.

    Args:
        advice: Sentence for the message: what to do about the failure.

    Raises:
        SearchError: The database failed.
    """
    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        raise SearchError(f"The storage failed: {one_line(error)[:200]}. {advice}") from error


def close_storage(storage: BaseStorage) -> None:
    """Close the connections to a database, which Optuna leaves open."""
    database = getattr(storage, "_backend", storage)  # the storage behind Optuna's cache
    if isinstance(database, RDBStorage):
        database.remove_session()
        database.engine.dispose()


def _open(url: str) -> BaseStorage:
    try:
        return optuna.storages.get_storage(url)
    except DatabaseError:
        raise
    except Exception as error:  # a missing driver, a host that does not answer, a malformed URL
        raise _unusable(url, error) from error


def _unusable(url: str, error: Exception) -> ConfigError:
    shown = re.sub(r"(?<=:)[^:@/]+(?=@)", "***", url)  # hides a password
    return ConfigError(f"The storage {shown!r} cannot be used: {type(error).__name__}: {error}.")
