"""Workers on this machine: processes of their own that share the decoded images and the activation cache."""

from __future__ import annotations

import contextlib
import pickle
import queue
import threading
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from autotransfer.errors import SearchError, TrialError
from autotransfer.runtime.device import device_names
from autotransfer.runtime.threads import usable_cores
from autotransfer.runtime.watchdog import hung, silence_allowed
from autotransfer.search.jobs import Finished, Job, Judge, as_found, judged
from autotransfer.workers.assignment import Assignment
from autotransfer.workers.nursery import Child, Nursery

__all__ = ["LocalWorkers", "threads_each"]

# Seconds that are waited for a message before it is looked whether time is up.
_TICK = 0.2
# Workers that end before they are ready, one after the other, mean that none will ever be.
_VAIN_STARTS = 3


def threads_each(workers: int) -> int:
    """Return the number of threads of each worker: together they have one for each core."""
    return max(usable_cores() // max(workers, 1), 1)


class _Worker:
    """A worker process as the search sees it."""

    def __init__(self, place: int, news: queue.Queue[tuple[_Worker, tuple[Any, ...]]], process: Child) -> None:
        self.place, self.process = place, process
        self.ready, self.stopped, self.heard = False, False, time.monotonic()
        self.job: Job | None = None
        self._ear = threading.Thread(target=self._listen, args=(news,), daemon=True)
        self._ear.start()

    def send(self, *message: Any) -> None:
        assert self.process.stdin is not None  # it is a pipe
        with contextlib.suppress(OSError):  # it has ended, which is heard, too
            pickle.dump(message, self.process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            self.process.stdin.flush()

    def close(self) -> None:
        """Let go of one that was killed, or ends when its input does."""
        assert self.process.stdin is not None  # it is a pipe
        assert self.process.stdout is not None
        with contextlib.suppress(OSError):  # what was not sent cannot be any more
            self.process.stdin.close()
        self._ear.join()
        self.process.stdout.close()

    def _listen(self, news: queue.Queue[tuple[_Worker, tuple[Any, ...]]]) -> None:
        assert self.process.stdout is not None  # it is a pipe
        while True:
            try:
                message = pickle.load(self.process.stdout)  # from a process that was started here, through a pipe
            except Exception:  # it has ended, perhaps within a message
                news.put((self, ("ended",)))
                return
            news.put((self, message))


class LocalWorkers:
    """Processes that evaluate candidates, started at once and kept until the end.

    One that dies costs the trial that it evaluates, and is replaced.

    Args:
        count: How many.
        patience: Seconds without a sign of life, beside ten times what a trial was predicted to take, after which it
            hangs, and its process is ended.
    """

    def __init__(self, count: int, *, patience: float) -> None:
        self._patience = patience
        self.threads = threads_each(count)
        self._news: queue.Queue[tuple[_Worker, tuple[Any, ...]]] = queue.Queue()
        self._assignment: Assignment | None = None
        self._judge: Judge = as_found
        self._folder = TemporaryDirectory(prefix="autotransfer-", ignore_cleanup_errors=True)
        self._vain = 0
        self._finished: list[Finished] = []
        self._nursery = Nursery(self.threads)
        self._workers = [self._start(place) for place in range(count)]

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.process.kill()
        self._nursery.close()
        for worker in self._workers:
            worker.close()
            worker.process.wait()
        self._workers = []
        self._folder.cleanup()

    def assign(self, assignment: Assignment, *, judge: Judge = as_found) -> None:
        """Tell all workers, those to come included, what they work on.

        Args:
            assignment: What they need.
            judge: Makes what one of them found comparable with what others found.
        """
        folder = Path(self._folder.name)
        if assignment.checkpoints is None:
            assignment = replace(assignment, checkpoints=folder / "checkpoints")
        self._assignment, self._judge = assignment.shared(folder), judge
        for worker in self._workers:
            self._instruct(worker, self._assignment)

    def _start(self, place: int) -> _Worker:
        return _Worker(place, self._news, self._nursery.start())

    def _instruct(self, worker: _Worker, assignment: Assignment) -> None:
        devices = device_names(assignment.device)
        worker.send("assignment", replace(assignment, device=devices[worker.place % len(devices)]))

    def free(self) -> int:
        """Return the number of workers that are ready and have nothing to do; what has ended is to be polled first."""
        self._hear(0.0)
        return 0 if self._finished else sum(worker.ready and worker.job is None for worker in self._workers)

    def submit(self, job: Job) -> None:
        """Give a job to a worker that has nothing to do."""
        worker = next(worker for worker in self._workers if worker.ready and worker.job is None)
        worker.job, worker.stopped, worker.heard = job, False, time.monotonic()
        worker.send("job", job.candidate, job.until)

    def poll(self, seconds: float = _TICK) -> list[Finished]:
        """Return the jobs that have ended; waits for a moment if none has.

        Raises:
            SearchError: No worker can be started.
        """
        self._hear(0.0 if self._finished else seconds)
        for worker in self._workers:
            if worker.job is None:
                continue
            if not worker.stopped and worker.job.expired():
                worker.stopped = True
                worker.send("stop")
            silent = time.monotonic() - worker.heard
            if silent > silence_allowed(self._patience, worker.job.expected):
                self._finished.append((worker.job, hung(silent)))
                worker.job, worker.ready = None, False  # until it is replaced, when its end is heard
                worker.process.kill()
        finished, self._finished = self._finished, []
        return finished

    def _hear(self, seconds: float) -> None:
        """Take in what workers say; the first message is waited for."""
        while True:
            try:
                worker, message = self._news.get(timeout=seconds) if seconds else self._news.get_nowait()
            except queue.Empty:
                return
            seconds = 0.0
            worker.heard = time.monotonic()
            self._take_in(worker, *message)

    def _take_in(self, worker: _Worker, kind: str, *about: Any) -> None:
        job = worker.job
        if kind == "ended":
            self._replace(worker)
        elif kind == "ready":
            worker.ready, self._vain = True, 0
        elif kind == "report" and job is not None:
            worker.send("answer", job.report(*about))
        elif kind in ("done", "failed") and job is not None:
            worker.job = None
            self._finished.append((job, judged(self._judge, job, about[0]) if kind == "done" else TrialError(about[0])))

    def _replace(self, worker: _Worker) -> None:
        """Start another worker in the place of one that has ended."""
        worker.process.kill()
        how = _ending(worker.process.wait())
        worker.close()
        self._vain += not worker.ready
        if self._vain >= _VAIN_STARTS * len(self._workers):
            raise SearchError(
                f"No worker process can be started: the last one ended with {how} before it was ready; "
                "see what it printed, or search without workers."
            )
        self._workers[worker.place] = new = self._start(worker.place)
        if self._assignment is not None:
            self._instruct(new, self._assignment)
        if worker.job is not None:
            died = TrialError(f"its worker process ended with {how}")
            self._finished.append((worker.job, died))


def _ending(code: int | None) -> str:
    if code is None:
        return "the process that had started it"
    return f"signal {-code}" if code < 0 else f"exit code {code}"
