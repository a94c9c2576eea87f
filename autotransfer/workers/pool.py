"""Who evaluates the candidates of a search: this process, workers beside it, or other machines."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from autotransfer.errors import TrialError
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.pipeline.prepare import Prepared
from autotransfer.run.folder import RunFolder
from autotransfer.runtime.storage import close_storage, open_storage
from autotransfer.runtime.threads import usable_cores
from autotransfer.search.jobs import Executor, Finished, Inline, Job
from autotransfer.settings import SearchConfig
from autotransfer.workers.assignment import Assignment
from autotransfer.workers.joining import about_search
from autotransfer.workers.mailbox import Mailbox
from autotransfer.workers.processes import LocalWorkers
from autotransfer.workers.ray_cluster import RayWorkers

__all__ = ["Brief", "WorkerPool", "open_pool"]


@dataclass(frozen=True, kw_only=True)
class Brief:
    """What is worked on.

    Attributes:
        evaluator: What evaluates here.
        data: The examples.
        backbones: Names of the backbones.
        run: The run folder.
        call: The arguments of ``fit``; None where JSON cannot hold them.
        say: Is told what a user should know.
    """

    evaluator: Evaluator
    data: Prepared
    backbones: Sequence[str]
    run: RunFolder
    call: Mapping[str, Any] | None
    say: Callable[[str], None]

    def assignment(self, config: SearchConfig, *, threads: int, share: int) -> Assignment:
        """Return it for workers with so many threads each, so many of which share this machine's memory."""
        checkpoints = self.run.checkpoints.absolute()
        return Assignment.of(
            config, self.data.extractor, self.data.folds, threads=threads, share=share, checkpoints=checkpoints
        )


class WorkerPool:
    """Those who evaluate candidates: this process alone, unless a subclass says otherwise.

    Args:
        config: The settings.
    """

    def __init__(self, config: SearchConfig) -> None:
        self._config = config

    def share_cores(self) -> None:
        """Leave the cores to the workers: what this process measures from now on is what a worker takes."""

    def executor(self, brief: Brief) -> Executor:
        """Tell everybody what they work on; return who takes jobs."""
        return Inline(brief.evaluator, patience=self._config.trial_timeout)

    def close(self) -> None:
        """Let everybody go."""


class _Local(WorkerPool):
    """Processes on this machine, and with a storage all who join."""

    def __init__(self, config: SearchConfig) -> None:
        super().__init__(config)
        self._mailbox: Mailbox | None = None
        self._local = LocalWorkers(config.processes, patience=config.trial_timeout)
        self._threads = torch.get_num_threads()

    def share_cores(self) -> None:
        """Compute with as many threads as a worker."""
        torch.set_num_threads(self._local.threads)

    def executor(self, brief: Brief) -> Executor:
        """Tell everybody what they work on; return who takes jobs."""
        config, judge = self._config, brief.evaluator.judge
        assignment = brief.assignment(config, threads=self._local.threads, share=max(config.processes, 1))
        sampling = brief.evaluator.sample is not None
        self._local.assign(replace(assignment, sampling=sampling), judge=judge)
        if config.spread == "local" or config.storage is None:
            return self._local
        if brief.call is None:
            brief.say("no one can join: the data, or the metric, are not in files that others could read")
            return self._local
        name = brief.run.settings()["study"]
        about = about_search(brief.data, brief.backbones, brief.call)
        storage = open_storage(config.storage)
        self._mailbox = Mailbox(storage, name, about, judge=judge, patience=config.trial_timeout)
        brief.say(f"others join with: autotransfer worker --storage URL --study {name}")
        return _Several(self._local, self._mailbox)

    def close(self) -> None:
        """End the processes, and let those who joined go."""
        if self._mailbox is not None:
            with contextlib.suppress(Exception):  # a database that is gone has nobody to tell
                self._mailbox.close()
            close_storage(self._mailbox.storage)
        self._local.close()
        torch.set_num_threads(self._threads)


class _Ray(WorkerPool):
    """A Ray cluster."""

    def __init__(self, config: SearchConfig) -> None:
        super().__init__(config)
        self._ray = RayWorkers(config.ray_address, patience=config.trial_timeout, most=config.workers)

    def executor(self, brief: Brief) -> Executor:
        """Put the data into the object store; return who takes jobs."""
        assignment = brief.assignment(self._config, threads=1, share=usable_cores())
        self._ray.assign(assignment, judge=brief.evaluator.judge)
        return self._ray

    def close(self) -> None:
        """End what still runs."""
        self._ray.close()


class _Several:
    """Workers here and elsewhere, as one."""

    def __init__(self, local: LocalWorkers, mailbox: Mailbox) -> None:
        self._local, self._mailbox = local, mailbox
        self._returned: list[Job] = []

    def free(self) -> int:
        """Return how many jobs can be taken on, after those that came back because nobody began them."""
        while self._returned and self._local.free() + self._mailbox.free() > 0:
            self.submit(self._returned.pop(0))
        return self._local.free() + self._mailbox.free()

    def submit(self, job: Job) -> None:
        """Give a job to whoever has nothing to do, here first."""
        (self._local if self._local.free() > 0 else self._mailbox).submit(job)

    def poll(self) -> list[Finished]:
        """Return the jobs that have ended."""
        finished = [*self._mailbox.poll(), *self._local.poll()]
        self._returned += self._mailbox.take_back()
        for job in [job for job in self._returned if job.expired()]:
            self._returned.remove(job)
            finished.append((job, TrialError("the time ran out before anybody began it")))
        return finished


@contextmanager
def open_pool(config: SearchConfig) -> Iterator[WorkerPool]:
    """Start the workers, which takes as long as decoding the images; end them afterwards."""
    if config.spread == "ray":
        worker_pool: WorkerPool = _Ray(config)
    elif config.spread == "storage" or config.workers is not None:
        worker_pool = _Local(config)
    else:
        worker_pool = WorkerPool(config)
    try:
        yield worker_pool
    finally:
        worker_pool.close()
