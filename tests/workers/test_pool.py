"""Who evaluates candidates follows from the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autotransfer.search.jobs import Inline
from autotransfer.settings import Compute, Settings
from autotransfer.workers import pool as module
from autotransfer.workers.pool import open_pool

STARTED: list[tuple[int, float]] = []


class Recorded:
    """Stands in for worker processes; keeps their number and timeout."""

    def __init__(self, count: int, *, trial_timeout: float) -> None:
        STARTED.append((count, trial_timeout))
        self.threads = 1

    def close(self) -> None:
        """End no process."""


@pytest.mark.parametrize(("workers", "started"), [(None, []), (1, [(1, 90.0)]), (2, [(2, 90.0)])])
def test_workers_are_processes_beside_the_search(
    workers: int | None, started: list[tuple[int, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LocalWorkers", Recorded)
    STARTED.clear()
    with open_pool(Settings(compute=Compute(workers=workers, trial_timeout="90s"))):
        assert started == STARTED


def test_search_without_workers_evaluates_itself() -> None:
    evaluator: Any = object()
    with open_pool(Settings(compute=Compute(trial_timeout=5.0))) as pool:
        executor = pool.executor(evaluator, Path("checkpoints"))
    assert isinstance(executor, Inline)
    assert (executor.evaluate, executor.trial_timeout) == (evaluator, 5.0)
