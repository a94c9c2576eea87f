"""A worker process: it takes messages on standard input.

Messages are pickled tuples between a search and the process that it has started, nobody else. The search says
``("assignment", Assignment)``, ``("job", Candidate, until)``, ``("answer", stop)`` and ``("stop",)``; the worker says
``("ready",)``, ``("alive",)``, ``("report", epoch, score)``, ``("done", Evaluation)`` and ``("failed", reason)``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import queue
import signal
import sys
import threading
import time
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO

from autotransfer.runtime.threads import configure_threads

if TYPE_CHECKING:
    from autotransfer.evaluation.evaluator import Evaluator

__all__ = ["main", "prepare"]

# Seconds between two signs of life.
_BEAT = 1.0


class _Line:
    """The connection to the search."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source, self._sink = source, sink
        self._messages: queue.Queue[tuple[Any, ...]] = queue.Queue()
        self._stopped = threading.Event()
        self._beat = 0.0
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, *message: Any) -> None:
        pickle.dump(message, self._sink, protocol=pickle.HIGHEST_PROTOCOL)
        self._sink.flush()

    def receive(self) -> tuple[Any, ...]:
        return self._messages.get()

    def report(self, epoch: int, score: float) -> bool:
        """Tell the score of an epoch; return whether to stop."""
        self.send("report", epoch, score)
        return bool(self.receive()[1])

    def expired(self) -> bool:
        """Whether to stop; asking is a sign of life."""
        if (now := time.monotonic()) - self._beat > _BEAT:
            self._beat = now
            self.send("alive")
        return self._stopped.is_set()

    def begin(self) -> None:
        """Forget a stop that came when the job that it meant had ended."""
        self._stopped.clear()

    def _listen(self) -> None:
        while True:
            try:
                message = pickle.load(self._source)  # from the process that started this one, through a pipe
            except Exception:  # the search has ended, however it did
                os._exit(0)
            if message[0] == "stop":
                self._stopped.set()
            else:
                self._messages.put(message)


def prepare() -> None:
    """Import what takes seconds, while the search decodes the images: torch, and what plugins need."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the search says when to end
    logging.getLogger("autotransfer").setLevel(logging.ERROR)  # what is wrong with plugins, the search has said
    configure_threads()
    from autotransfer.contract.registry import Registry

    import_module("autotransfer.workers.assignment")
    with contextlib.suppress(Exception):  # whatever is wrong shows again when it is needed
        Registry.load().import_all()


def main() -> None:
    """Evaluate candidates until the search ends."""
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what plugins print must not come between messages
    try:
        _work(_Line(sys.stdin.buffer, sink))
    except Exception:
        traceback.print_exc()
        os._exit(1)  # an orderly end would wait for the thread that listens


def _work(line: _Line) -> None:
    """Carry out one job after the other."""
    from autotransfer.runtime.memory import keep_freed_memory
    from autotransfer.search.jobs import describe

    evaluator: Evaluator = line.receive()[1].evaluator()
    line.send("ready")
    with keep_freed_memory():
        while True:
            _, candidate, until = line.receive()
            line.begin()
            try:
                line.send("done", evaluator.measure(candidate, line.report, line.expired, until))
            except Exception as error:
                line.send("failed", describe(error))


if __name__ == "__main__":
    prepare()
    main()
