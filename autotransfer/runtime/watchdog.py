"""Ending what hangs in this process, such as code of a plugin that never returns."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from autotransfer.errors import TrialError

__all__ = ["ended_when_silent", "hung", "silence_allowed"]

# A trial may be silent for so many times what it is predicted to take, and a while.
_FACTOR = 10.0


def silence_allowed(patience: float, expected: float) -> float:
    """Return the seconds without a sign of life after which a trial hangs.

    Args:
        patience: Seconds that every trial is granted.
        expected: Seconds that this one is predicted to take.
    """
    return patience + _FACTOR * expected


def hung(silent: float) -> TrialError:
    """Return the error of a trial that gave no sign of life for so many seconds."""
    return TrialError(f"it hung: no sign of life for {silent:.0f} s, so it was ended")


class _Watch:
    """Interrupts the main thread when there was no sign of life for so many seconds."""

    def __init__(self, limit: float) -> None:
        self.limit, self.heard, self.over = limit, time.monotonic(), threading.Event()

    def run(self) -> None:
        while not self.over.wait(max(self.heard + self.limit - time.monotonic(), 0.0)):
            if time.monotonic() - self.heard >= self.limit:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
                self.over.wait(1.0)  # what swallows the error is interrupted again


_WATCHES: list[_Watch] = []


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise where the main thread is; a signal that comes too late does nothing."""
    if _WATCHES and (silent := time.monotonic() - _WATCHES[-1].heard) >= _WATCHES[-1].limit:
        raise hung(silent)


@contextlib.contextmanager
def ended_when_silent(limit: float) -> Iterator[Callable[[], None]]:
    """Raise ``TrialError`` within the block when what it yields was not called for so many seconds.

    Python code is ended, and what waits in the system, not a loop in a library of another language: only a process can
    be ended then. Outside of the main thread, or where the program uses the signal SIGUSR1, nothing is ended.
    """
    kept = threading.current_thread() is threading.main_thread() and hasattr(signal, "pthread_kill")
    kept = kept and limit < math.inf and signal.getsignal(signal.SIGUSR1) in (signal.SIG_DFL, _interrupt)
    if not kept:
        yield lambda: None
        return
    signal.signal(signal.SIGUSR1, _interrupt)  # and it stays: one that comes late must not end the program
    watch = _Watch(limit)

    def alive() -> None:
        watch.heard = time.monotonic()

    _WATCHES.append(watch)
    threading.Thread(target=watch.run, daemon=True).start()
    try:
        yield alive
    finally:
        _WATCHES.remove(watch)
        watch.over.set()
