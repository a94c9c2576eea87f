"""The plugin: where it is installed, every search is written to the server that ``MLFLOW_TRACKING_URI`` names.

Without that variable it does nothing: give ``MlflowObserver(...)`` as a callback of one search instead.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotransfer import hookimpl

if TYPE_CHECKING:
    from autotransfer.contract.specs import EpochRecord
    from mlflow_observer.observer import MlflowObserver

__all__ = ["epoch_finished", "search_failed", "search_finished", "search_started", "trial_finished"]

_observer: MlflowObserver | None = None


@hookimpl
def search_started(settings: Mapping[str, Any]) -> None:
    """Start a run, where a server is named."""
    global _observer
    _observer = None
    if os.environ.get("MLFLOW_TRACKING_URI"):
        from mlflow_observer.observer import MlflowObserver  # MLflow takes a second to import

        _observer = MlflowObserver(experiment=os.environ.get("MLFLOW_EXPERIMENT_NAME", "autotransfer"))
        _observer.search_started(settings)


@hookimpl
def epoch_finished(epoch: EpochRecord) -> None:
    """Log an epoch."""
    if _observer is not None:
        _observer.epoch_finished(epoch)


@hookimpl
def trial_finished(result: Any) -> None:
    """Log a trial."""
    if _observer is not None:
        _observer.trial_finished(result)


@hookimpl
def search_finished(result: Any) -> None:
    """Log the model."""
    if _observer is not None:
        _observer.search_finished(result)


@hookimpl
def search_failed(error: BaseException) -> None:
    """Log the error."""
    if _observer is not None:
        _observer.search_failed(error)
