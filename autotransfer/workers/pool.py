"""Who evaluates the candidates of a search: the process of the search, worker processes, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.runtime.threads import usable_cores
from autotransfer.search.jobs import Executor, Inline
from autotransfer.settings import Settings, parse_duration
from autotransfer.workers.assignment import Assignment
from autotransfer.workers.local import LocalWorkers
from autotransfer.workers.ray_cluster import RayWorkers

__all__ = ["WorkerPool", "open_pool"]


class WorkerPool:
    """Those who evaluate candidates: the process of the search, unless a subclass says otherwise.

    Args:
        settings: The settings.

    Attributes:
        is_alone: Whether nothing is evaluated beside what this process does.
    """

    is_alone = True

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def share_cores(self) -> None:
        """Leave the cores to the workers: what this process measures from now on is what a worker takes."""

    def executor(self, evaluator: Evaluator, checkpoints: Path) -> Executor:
        """Tell the workers what they work on; return who takes jobs.

        Args:
            evaluator: What evaluates candidates in this process.
            checkpoints: Folder of paused trainings.
        """
        return Inline(evaluator, trial_timeout=parse_duration(self._settings.compute.trial_timeout))

    def close(self) -> None:
        """End the workers."""

    def _assignment(self, evaluator: Evaluator, checkpoints: Path, *, threads: int, share: int) -> Assignment:
        folds = tuple(evaluator.folds)
        return Assignment.of(
            self._settings, evaluator.extractor, folds, threads=threads, share=share, checkpoints=checkpoints.absolute()
        )


class _Local(WorkerPool):
    """Processes on this machine."""

    is_alone = False

    def __init__(self, settings: Settings, workers: int) -> None:
        super().__init__(settings)
        self._workers = workers
        self._local = LocalWorkers(workers, trial_timeout=parse_duration(settings.compute.trial_timeout))
        self._threads = torch.get_num_threads()

    def share_cores(self) -> None:
        """Compute with as many threads as a worker."""
        torch.set_num_threads(self._local.threads)

    def executor(self, evaluator: Evaluator, checkpoints: Path) -> Executor:
        """Tell the processes what they work on; return who gives them jobs."""
        assignment = self._assignment(evaluator, checkpoints, threads=self._local.threads, share=self._workers)
        sampling = evaluator.sample is not None
        self._local.assign(replace(assignment, sampling=sampling), learn=evaluator.learn)
        return self._local

    def close(self) -> None:
        """End the processes."""
        self._local.close()
        torch.set_num_threads(self._threads)


class _Ray(WorkerPool):
    """A Ray cluster."""

    is_alone = False

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        compute = settings.compute
        self._ray = RayWorkers(
            compute.ray_address, trial_timeout=parse_duration(compute.trial_timeout), max_tasks=compute.workers
        )

    def executor(self, evaluator: Evaluator, checkpoints: Path) -> Executor:
        """Put the data into the object store; return who takes jobs."""
        assignment = self._assignment(evaluator, checkpoints, threads=1, share=usable_cores())
        self._ray.assign(assignment, learn=evaluator.learn)
        return self._ray

    def close(self) -> None:
        """End what still runs."""
        self._ray.close()


@contextmanager
def open_pool(settings: Settings) -> Iterator[WorkerPool]:
    """Start the workers, which takes as long as decoding the examples; end them afterwards."""
    if settings.compute.executor == "ray":
        worker_pool: WorkerPool = _Ray(settings)
    elif settings.compute.workers is not None:
        worker_pool = _Local(settings, settings.compute.workers)
    else:
        worker_pool = WorkerPool(settings)
    try:
        yield worker_pool
    finally:
        worker_pool.close()
