"""A worker process: it evaluates the candidates that the search sends through a connection.

Messages are tuples. The search sends ``("assignment", Assignment)``, ``("job", Candidate, until, seconds)``,
``("answer", stop)`` to a report, and ``("stop",)``. The worker sends ``("ready",)``, ``("heartbeat",)``,
``("report", epoch, score)``, ``("done", Evaluation)``, ``("failed", reason)``, and ``("forked after CUDA",)``.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from importlib import import_module
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from autotransfer.runtime.threads import configure_threads

if TYPE_CHECKING:
    from autotransfer.evaluation.evaluator import Evaluator

__all__ = ["HEARTBEAT_SECONDS", "import_libraries", "main"]

# Seconds between two heartbeats.
HEARTBEAT_SECONDS = 1.0
# A worker gives the search this many seconds to end it when it hangs; then the kernel does, for the search is gone.
_ALARM_MARGIN_SECONDS = 5.0


def import_libraries() -> None:
    """Import what takes seconds: torch, and what plugins need."""
    configure_threads()  # it counts before torch is loaded
    from autotransfer.contract.registry import Registry

    import_module("autotransfer.workers.assignment")
    log = logging.getLogger("autotransfer")
    before = log.level
    log.setLevel(logging.ERROR)  # the search has said what is wrong with plugins
    with contextlib.suppress(Exception):  # an error shows again where the plugin is needed
        Registry.load().import_all()
    log.setLevel(before)


def main(connection: Connection, threads: int, environment: Mapping[str, str]) -> None:
    """Evaluate candidates until the search ends.

    Args:
        connection: The connection to the search.
        threads: Number of threads that compute.
        environment: Environment variables of the search: a fork server may have started under others.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the search decides what Ctrl-C ends
    threading.Thread(target=_end_with_the_search, daemon=True).start()
    os.environ.update({**environment, "OMP_NUM_THREADS": str(threads)})
    sys.stdout.flush()
    os.dup2(2, 1)  # standard output is for the answer of the search: what plugins print goes to standard error
    import_libraries()
    logging.getLogger("autotransfer").setLevel(logging.ERROR)
    from threadpoolctl import threadpool_limits
    from torch import cuda

    if cuda._is_in_bad_fork():  # a plugin uses the GPU when it is imported
        connection.send(("forked after CUDA",))
        return
    with threadpool_limits(threads), contextlib.suppress(EOFError, BrokenPipeError):  # the search has ended
        _evaluate_jobs(_Search(connection))


def _end_with_the_search() -> None:
    """End this process when the search has ended, however it did."""
    if (search := parent_process()) is not None:
        wait([search.sentinel])
        os._exit(0)


class _Search:
    """The search, as a worker sees it.

    Args:
        connection: The connection to it.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stopped, self._heartbeat, self._limit = False, 0.0, math.inf

    def send(self, *message: Any) -> None:
        """Send a message."""
        self._connection.send(message)

    def receive(self, kind: str) -> tuple[Any, ...]:
        """Return what the next message of that kind holds; a request to stop may come before it."""
        while True:
            found, *about = self._connection.recv()
            if found == kind:
                return tuple(about)
            self._stopped = found == "stop"

    def begin(self, limit: float) -> None:
        """Begin a job that hangs after so many seconds without a heartbeat; requests to stop meant earlier ones."""
        self._stopped, self._limit = False, limit
        self._show_life()

    def end(self) -> None:
        """End a job."""
        _set_alarm(math.inf)

    def report(self, epoch: int, score: float) -> bool:
        """Send the score of an epoch; return whether to stop."""
        self._show_life()
        self.send("report", epoch, score)
        return bool(self.receive("answer")[0])

    def expired(self) -> bool:
        """Return whether to stop. It is asked between batches, which is a heartbeat."""
        if time.monotonic() - self._heartbeat > HEARTBEAT_SECONDS:
            self._show_life()
            self.send("heartbeat")
        while self._connection.poll():
            self._connection.recv()
            self._stopped = True
        return self._stopped

    def _show_life(self) -> None:
        self._heartbeat = time.monotonic()
        _set_alarm(self._limit + _ALARM_MARGIN_SECONDS)


def _set_alarm(seconds: float) -> None:
    """Let the kernel end this process after so many seconds, also where code in C holds Python's lock."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds if seconds < math.inf else 0.0)


def _evaluate_jobs(search: _Search) -> None:
    """Do one job after the other."""
    from autotransfer.runtime.memory import keep_freed_memory
    from autotransfer.search.jobs import describe

    evaluator: Evaluator = search.receive("assignment")[0].evaluator()
    search.send("ready")
    with keep_freed_memory():
        while True:
            candidate, until, limit = search.receive("job")
            search.begin(limit)
            try:
                search.send("done", evaluator.measure(candidate, search.report, search.expired, until))
            except Exception as error:
                search.send("failed", describe(error))
            search.end()
