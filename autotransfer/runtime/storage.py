"""Storages of studies, by URL."""

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

# Seconds to wait for others who are making the tables of a new database.
_PAUSES = (0.5, 1.0, 2.0)


def open_storage(url: str) -> BaseStorage:
    """Return the storage at a URL that Optuna knows.

    Raises:
        ConfigError: The URL cannot be used.
    """
    for pause in _PAUSES:
        with contextlib.suppress(DatabaseError):
            return _open(url)
        time.sleep(pause)
    try:
        return _open(url)
    except DatabaseError as error:
        raise _unusable(url, error) from error


@contextlib.contextmanager
def translate_storage_errors(advice: str) -> Iterator[None]:
    """Say what a database's failure within the block means.

    Args:
        advice: What to do then.

    Raises:
        SearchError: The database failed.
    """
    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        raise SearchError(f"The storage failed: {one_line(error)[:200]}. {advice}") from error


def close_storage(storage: BaseStorage) -> None:
    """Close the connections to a database, which Optuna leaves open until its process ends."""
    database = getattr(storage, "_backend", storage)  # without its cache
    if isinstance(database, RDBStorage):
        database.remove_session()
        database.engine.dispose()


def _open(url: str) -> BaseStorage:
    try:
        return optuna.storages.get_storage(url)
    except DatabaseError:
        raise
    except Exception as error:  # a driver that is missing, a host that does not answer, a URL that is none
        raise _unusable(url, error) from error


def _unusable(url: str, error: Exception) -> ConfigError:
    shown = re.sub(r"(?<=:)[^:@/]+(?=@)", "***", url)  # a password is for nobody's eyes
    return ConfigError(f"The storage {shown!r} cannot be used: {type(error).__name__}: {error}.")
