"""Workers on this machine: processes that share the examples and the activation cache."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from autotransfer.errors import SearchError, TrialError
from autotransfer.runtime.device import device_names
from autotransfer.runtime.threads import usable_cores
from autotransfer.search.jobs import Finished, Job, Learn, heartbeat_timeout, hung, learn_nothing
from autotransfer.workers import process
from autotransfer.workers.assignment import Assignment

__all__ = ["LocalWorkers"]

# Seconds that a message is waited for before it is looked whether a job's time is up.
_POLL_SECONDS = 0.2
# Seconds that a process which has ended its connection is given to end by itself, so that its exit code is its own.
_EXIT_SECONDS = 2.0
# So many ends before it is ready, for each worker, mean that none will ever be ready.
_MAX_FAILED_STARTS = 3


@dataclass(eq=False, kw_only=True)
class _Worker:
    """A worker process as the search sees it.

    Attributes:
        place: Its place among the workers.
        process: The process.
        connection: The connection to it.
        ready: Whether it takes jobs.
        job: What it does.
        stopped: Whether a request to stop was sent.
        heartbeat: Time of the last message from it.
    """

    place: int
    process: BaseProcess
    connection: Connection
    ready: bool = False
    job: Job | None = None
    stopped: bool = False
    heartbeat: float = field(default_factory=time.monotonic)

    def send(self, *message: Any) -> None:
        """Send a message; that the process has ended shows when its messages are read."""
        with contextlib.suppress(OSError):
            self.connection.send(message)


class LocalWorkers:
    """Processes that evaluate candidates, kept until the end of the search.

    On Linux they are forked from a server process that has imported the libraries, and stays until the program ends:
    later searches start at once. Elsewhere each imports them itself. A worker that dies costs the trial that it
    evaluated, and is replaced.

    Args:
        count: Number of processes.
        trial_timeout: Seconds without a heartbeat, beside ten times what a trial was predicted to take, after which it
            hangs, and its process is ended.
    """

    def __init__(self, count: int, *, trial_timeout: float) -> None:
        self._count, self._trial_timeout = count, trial_timeout
        self.threads = max(usable_cores() // count, 1)  # together they have one for each core
        self._context: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
        self._workers = list[_Worker]()
        self._finished = list[Finished]()
        self._failed_starts = 0
        self._assignment: Assignment | None = None
        self._learn: Learn = learn_nothing
        self._folder = TemporaryDirectory(prefix="autotransfer-", ignore_cleanup_errors=True)
        atexit.register(self.close)  # before multiprocessing waits for its processes
        if sys.platform == "linux":
            self._start_server()

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()
        self._workers = []
        self._folder.cleanup()
        atexit.unregister(self.close)

    def assign(self, assignment: Assignment, *, learn: Learn = learn_nothing) -> None:
        """Start the workers, and tell them, and those that replace them, what they work on.

        Args:
            assignment: What they need.
            learn: Learns from what one of them found.
        """
        folder = Path(self._folder.name)
        if assignment.checkpoints is None:
            assignment = replace(assignment, checkpoints=folder / "checkpoints")
        self._assignment, self._learn = assignment.shared(folder), learn
        self._workers = [self._start(place) for place in range(self._count)]
        for worker in self._workers:
            self._instruct(worker)

    def free(self) -> int:
        """Return the number of workers that are ready and have nothing to do; what has ended is to be polled first."""
        self._receive(0.0)
        return 0 if self._finished else sum(worker.ready and worker.job is None for worker in self._workers)

    def submit(self, job: Job) -> None:
        """Give a job to a worker that has nothing to do."""
        worker = next(worker for worker in self._workers if worker.ready and worker.job is None)
        worker.job, worker.stopped, worker.heartbeat = job, False, time.monotonic()
        worker.send("job", job.candidate, job.until, heartbeat_timeout(self._trial_timeout, job.expected))

    def poll(self, seconds: float = _POLL_SECONDS) -> list[Finished]:
        """Return the jobs that have ended; waits for a moment if none has.

        Raises:
            SearchError: No worker can be started.
        """
        self._receive(0.0 if self._finished else seconds)
        for worker in self._workers:
            if worker.job is None:
                continue
            if not worker.stopped and worker.job.expired():
                worker.stopped = True
                worker.send("stop")
            silent = time.monotonic() - worker.heartbeat
            if silent > heartbeat_timeout(self._trial_timeout, worker.job.expected):
                self._finished.append((worker.job, hung(silent)))
                worker.job, worker.ready = None, False  # until it is replaced, when its end is seen
                worker.process.kill()
        finished, self._finished = self._finished, []
        return finished

    def _start_server(self) -> None:
        """Start the process that workers are forked from; it imports the libraries while the search reads its data."""
        from multiprocessing import forkserver

        self._context.set_forkserver_preload([f"{__package__}.preload"])
        with _shielded():
            forkserver.ensure_running()

    def _start(self, place: int) -> _Worker:
        here, there = self._context.Pipe()
        started = self._context.Process(target=process.main, args=(there, self.threads, dict(os.environ)))
        with _shielded():
            started.start()
        there.close()
        return _Worker(place=place, process=started, connection=here)

    def _instruct(self, worker: _Worker) -> None:
        assert self._assignment is not None  # workers are started when there is one
        devices = device_names(self._assignment.device)
        worker.send("assignment", replace(self._assignment, device=devices[worker.place % len(devices)]))

    def _receive(self, seconds: float) -> None:
        """Take in the messages and ends of workers; the first one is waited for."""
        handles = [handle for worker in self._workers for handle in (worker.connection, worker.process.sentinel)]
        ready = wait(handles, seconds)
        for worker in list(self._workers):
            try:
                while worker.connection.poll():
                    self._take_in(worker, *worker.connection.recv())
            except (EOFError, OSError):  # it has ended, perhaps within a message
                self._replace(worker)
            else:
                if worker.process.sentinel in ready:
                    self._replace(worker)

    def _take_in(self, worker: _Worker, kind: str, *about: Any) -> None:
        worker.heartbeat = time.monotonic()
        job = worker.job
        if kind == "ready":
            worker.ready, self._failed_starts = True, 0
        elif kind == "forked after CUDA":
            self._context = multiprocessing.get_context("spawn")
        elif kind == "report" and job is not None:
            worker.send("answer", job.report(*about))
        elif kind in ("done", "failed") and job is not None:
            worker.job = None
            self._finished.append((job, about[0] if kind == "done" else TrialError(about[0])))
            if kind == "done":
                self._learn(job.candidate, about[0])

    def _replace(self, worker: _Worker) -> None:
        """Start another worker in the place of one that has ended."""
        worker.process.join(_EXIT_SECONDS)
        worker.process.kill()
        worker.process.join()
        worker.connection.close()
        code = worker.process.exitcode or 0
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        self._failed_starts += not worker.ready
        if self._failed_starts >= _MAX_FAILED_STARTS * len(self._workers):
            raise SearchError(
                f"No worker process can be started: the last one ended with {how} before it was ready; "
                "see what it printed, or search without workers."
            )
        self._workers[worker.place] = new = self._start(worker.place)
        self._instruct(new)
        if worker.job is not None:
            self._finished.append((worker.job, TrialError(f"its worker process ended with {how}")))


@contextlib.contextmanager
def _shielded() -> Iterator[None]:
    """Start a process that Ctrl-C does not reach, and that does not run the program of this one again.

    Without this, each worker would execute the user's script, which need not be guarded by ``__name__``.
    """
    main = sys.modules["__main__"]
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main_thread else None
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        if in_main_thread:
            signal.signal(signal.SIGINT, before)
