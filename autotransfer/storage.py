"""Storages of studies, by URL."""

from __future__ import annotations

import optuna
from optuna.storages import BaseStorage

from autotransfer.errors import ConfigError

__all__ = ["open_storage"]


def open_storage(url: str) -> BaseStorage:
    """Return the storage at a URL that Optuna knows.

    Raises:
        ConfigError: The URL cannot be used.
    """
    try:
        return optuna.storages.get_storage(url)
    except Exception as error:  # a driver that is missing, a host that does not answer, a URL that is none
        raise ConfigError(f"The storage {url!r} cannot be used: {type(error).__name__}: {error}.") from error
