"""What a user sees while a search runs: a live line on a terminal, elsewhere a line at least every ten seconds."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.status import Status
from rich.text import Text

from autotransfer.search.trials import TrialRecord, Trials
from autotransfer.settings import Budget
from autotransfer.tasks.score import format_score
from autotransfer.warnings import WarningList

__all__ = ["Progress"]

MAX_SECONDS_WITHOUT_A_LINE = 8.0  # off a terminal


class _Console(Console):
    """A console that prints nothing, and does not end the program, when its reader is gone."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Progress:
    """Shows how a search goes.

    Args:
        budget: What may be spent.
        stream: Where to; None means standard error.
        shown: Whether anything is shown at all.

    Attributes:
        warnings: What a user should know; printed once, at the end.
        trials: The trials of the search, which adds to them.
    """

    def __init__(self, budget: Budget, *, stream: TextIO | None = None, shown: bool = True) -> None:
        self.budget = budget
        self.shown = shown
        self.warnings = WarningList()
        self._console = _Console(file=stream or sys.stderr, highlight=False, soft_wrap=True)
        self._status: Status | None = None
        self.trials = Trials()
        self._shown_best = ""
        self._phase = ""
        self._started = self._last_line = time.monotonic()
        self._stop = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Progress:
        if self.shown:
            if self._console.is_terminal:
                self._status = self._console.status("", spinner="dots" if self._console.encoding == "utf-8" else "line")
                self._status.start()
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self.shown:
            self._ticker.join()
        if self._status:
            self._status.stop()
        for warning in self.warnings if self.shown and error is None else ():
            self._console.print(self._plain(f"warning: {warning}"))

    def phase(self, text: str) -> None:
        """Begin a phase and print it; the live line shows the text before a colon."""
        self._phase = text.partition(": ")[0]
        self.print(text)

    def print(self, text: str) -> None:
        """Print a line, without markup, since it may hold names from data."""
        if self.shown:
            self._last_line = time.monotonic()
            self._console.print(Text.assemble((self._clock(), "dim"), " ", self._plain(text)))
            self._refresh()

    def update(self, text: str) -> None:
        """Update the text of the live line without printing a line."""
        self._phase = text
        self._refresh()

    def trial(self, record: TrialRecord) -> None:
        """Show a finished trial: a new best one gets a line, unless its objective looks the same."""
        best, shown = self.trials.best, self._best()
        if best is not None and shown != self._shown_best:
            self._shown_best = shown
            self.print(f"{shown}  trial {best.number}: {best.candidate}")
        elif record.state == "failed" or record.failed_later:
            failed = "failed: " if record.state == "failed" else ""
            self.print(f"trial {record.number} {failed}{record.reason}")
        self._refresh()

    def resumed(self) -> None:
        """Show the trials of a run that is resumed, and the best of them."""
        best, self._shown_best = self.trials.best, self._best()
        shown = "" if best is None else f", {self._shown_best}: {best.candidate}"
        self.print(f"resuming after {len(self.trials)} trials{shown}")

    def summary(self) -> str:
        """Return the state of the search in one line: the figures first, since a narrow terminal cuts the end."""
        counts, text = self.trials.counts(), self._clock()
        text += f" {best}" if (best := self._best()) else ""
        if len(self.trials):
            failed = f", {counts['failed']} failed" if counts["failed"] else ""
            text += f" | {len(self.trials)} tried{failed}"
        return f"{text} | {self._phase}" if len(self.trials) else f"{text} {self._phase}"

    def _best(self) -> str:
        best = self.trials.best
        return "" if best is None or best.objective is None else f"best {format_score(best.objective)}"

    def _clock(self) -> str:
        spent = time.monotonic() - self._started
        total = f"/{_minutes(self.budget.seconds)}" if self.budget.seconds else ""
        return f"{_minutes(spent)}{total}"

    def _plain(self, text: str) -> Text:
        """Replace control characters, which a file name may hold, and what the stream cannot encode."""
        cleaned = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
        return Text(cleaned.encode(self._console.encoding, "replace").decode(self._console.encoding))

    def _line(self) -> Text:
        """Return the summary, as much of it as one line holds; a spinner takes two columns."""
        line = self._plain(self.summary())
        ellipsis_fits = self._console.encoding.startswith("utf")
        line.truncate(max(self._console.width - 3, 1), overflow="ellipsis" if ellipsis_fits else "crop")
        return line

    def _refresh(self) -> None:
        if self._status:
            self._status.update(self._line())

    def _tick(self) -> None:
        while not self._stop.wait(1.0):
            if self._status:
                self._refresh()
            elif time.monotonic() - self._last_line > MAX_SECONDS_WITHOUT_A_LINE:
                self._last_line = time.monotonic()
                self._console.print(self._line())


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
