"""Ctrl-C: once ends the search and keeps what it found, twice ends the program."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from autotransfer.search.budget import TimeBudget

__all__ = ["interruptible"]


@contextmanager
def interruptible(budget: TimeBudget, report: Callable[[str], None]) -> Iterator[None]:
    """Let the first interrupt end the search within, and the next one do what it always does.

    Where signals cannot be caught, outside of the main thread, or where the program catches them itself, nothing
    changes.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield
        return

    def halt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        budget.stop()
        report("interrupted: the search ends here, and the best so far is trained; once more stops at once")

    signal.signal(signal.SIGINT, halt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
