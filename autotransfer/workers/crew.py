"""Who evaluates the candidates of a search: this process, workers beside it, or other machines."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from autotransfer.config import SearchConfig
from autotransfer.errors import TrialError
from autotransfer.preparation import Prepared
from autotransfer.run import RunFolder
from autotransfer.search.evaluate import Evaluator
from autotransfer.search.work import Executor, Finished, Inline, Job
from autotransfer.storage import close_storage, open_storage
from autotransfer.threads import usable_cores
from autotransfer.workers.assignment import Assignment
from autotransfer.workers.cluster import RayWorkers
from autotransfer.workers.joining import about_search
from autotransfer.workers.local import LocalWorkers
from autotransfer.workers.mailbox import Mailbox

__all__ = ["Crew", "engage"]

Say = Callable[[str], None]


class Crew:
    """Those who evaluate candidates: this process alone, unless a subclass says otherwise.

    Args:
        config: The settings.
    """

    def __init__(self, config: SearchConfig) -> None:
        self._config = config

    def executor(
        self,
        evaluator: Evaluator,
        data: Prepared,
        backbones: Sequence[str],
        run: RunFolder,
        call: Mapping[str, Any] | None,
        say: Say,
    ) -> Executor:
        """Tell everybody what they work on; return who takes jobs.

        Args:
            evaluator: What evaluates here.
            data: The examples.
            backbones: Names of the backbones.
            run: The run folder.
            call: The arguments of ``fit``; None where JSON cannot hold them.
            say: Is told what a user should know.
        """
        return Inline(evaluator, patience=self._config.trial_timeout)

    def close(self) -> None:
        """Let everybody go."""


class _Local(Crew):
    """Processes on this machine, and with a storage all who join."""

    def __init__(self, config: SearchConfig) -> None:
        super().__init__(config)
        self._mailbox: Mailbox | None = None
        self._local = LocalWorkers(config.processes, patience=config.trial_timeout)
        self._threads = torch.get_num_threads()
        torch.set_num_threads(self._local.threads)  # what this process measures is what a worker takes

    def executor(
        self,
        evaluator: Evaluator,
        data: Prepared,
        backbones: Sequence[str],
        run: RunFolder,
        call: Mapping[str, Any] | None,
        say: Say,
    ) -> Executor:
        """Tell everybody what they work on; return who takes jobs."""
        config = self._config
        self._local.assign(
            _assignment(evaluator, data, config, run, threads=self._local.threads, share=max(config.processes, 1)),
            judge=evaluator.judge,
        )
        if config.spread == "local" or config.storage is None:
            return self._local
        if call is None:
            say("no one can join: the data are not in files that others could read")
            return self._local
        name = run.settings()["study"]
        about = about_search(data, backbones, call)
        self._mailbox = Mailbox(
            open_storage(config.storage), name, about, judge=evaluator.judge, patience=config.trial_timeout
        )
        say(f"others join with: autotransfer worker --storage URL --study {name}")
        return _Several(self._local, self._mailbox)

    def close(self) -> None:
        """End the processes, and let those who joined go."""
        if self._mailbox is not None:
            with contextlib.suppress(Exception):  # a database that is gone has nobody to tell
                self._mailbox.close()
            close_storage(self._mailbox.storage)
        self._local.close()
        torch.set_num_threads(self._threads)


class _Ray(Crew):
    """A Ray cluster."""

    def __init__(self, config: SearchConfig) -> None:
        super().__init__(config)
        self._ray = RayWorkers(config.ray_address, patience=config.trial_timeout, most=config.workers)

    def executor(
        self,
        evaluator: Evaluator,
        data: Prepared,
        backbones: Sequence[str],
        run: RunFolder,
        call: Mapping[str, Any] | None,
        say: Say,
    ) -> Executor:
        """Put the data into the object store; return who takes jobs."""
        self._ray.assign(_assignment(evaluator, data, self._config, run, share=usable_cores()), judge=evaluator.judge)
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
def engage(config: SearchConfig) -> Iterator[Crew]:
    """Start the workers, which takes as long as decoding the images; end them afterwards."""
    if config.spread == "ray":
        crew: Crew = _Ray(config)
    elif config.spread == "storage" or config.workers is not None:
        crew = _Local(config)
    else:
        crew = Crew(config)
    try:
        yield crew
    finally:
        crew.close()


def _assignment(
    evaluator: Evaluator,
    data: Prepared,
    config: SearchConfig,
    run: RunFolder,
    *,
    threads: int = 1,
    share: int = 1,
) -> Assignment:
    cache = data.extractor.cache
    return Assignment(
        images=data.images,
        lessons=data.lessons,
        seed=config.seed,
        zoos=tuple(folder.absolute() for folder in config.zoos),
        ahead=data.extractor.ahead,
        cache=cache.root.absolute(),
        memory=cache.memory_limit // share,
        checkpoints=run.checkpoints.absolute(),
        device=config.device,
        threads=threads,
    )
