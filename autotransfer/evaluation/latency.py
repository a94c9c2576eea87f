"""Measuring how long a prediction takes: the median of warm runs on examples in memory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from autotransfer.contract.modality import InputFormat, Item, Modality, Store

__all__ = ["Clock", "LatencySample", "median_seconds"]

Clock = Callable[[], float]
"""Returns seconds, from any start."""

# Runs before the first that counts, fewest and most runs that count, and seconds after which no further run begins.
WARM_UP_RUNS, MIN_RUNS, MAX_RUNS, MAX_SECONDS = 1, 5, 25, 0.3
# Times of these seconds after which fewer than the fewest runs do.
MAX_OVERRUN = 10.0
# Examples that are measured in turns: texts differ in length, images in size.
MAX_EXAMPLES = 8


def median_seconds(
    run: Callable[[int], None], clock: Clock = time.perf_counter, *, max_seconds: float = MAX_SECONDS
) -> float:
    """Return the median seconds of a run, called with its number, after a run that warms up."""
    for number in range(WARM_UP_RUNS):
        run(number)
    taken, began = list[float](), clock()
    while _goes_on(len(taken), clock() - began, max_seconds):
        start = clock()
        run(WARM_UP_RUNS + len(taken))
        taken.append(clock() - start)
    return median(taken)


def _goes_on(runs: int, seconds: float, max_seconds: float) -> bool:
    """Whether another run is measured; long runs vary by less, so that fewer of them do."""
    if runs < MIN_RUNS:
        return runs == 0 or seconds < MAX_OVERRUN * max_seconds
    return runs < MAX_RUNS and seconds < max_seconds


@dataclass(frozen=True, kw_only=True)
class LatencySample:
    """A few examples in memory, on which latency is measured.

    Attributes:
        modality: What kind of examples they are.
        items: The examples, decoded; no file has to be read.
        reading: How those to train on were read; None reads these as if there were no others.
        batch: Number of examples that are predicted at once.
    """

    modality: Modality
    items: tuple[Item, ...]
    reading: Mapping[str, Any] | None
    batch: int = 1

    @classmethod
    def of(
        cls,
        modality: Modality,
        items: Sequence[Item],
        rows: Sequence[int],
        reading: Mapping[str, Any] | None,
        batch: int,
    ) -> LatencySample:
        """Take a few of the examples at some positions, evenly spaced, and decode them; none that cannot be read.

        Args:
            modality: What kind of examples they are.
            items: All examples.
            rows: Positions of those that can be read.
            reading: How they were read.
            batch: Number of examples that are predicted at once.
        """
        chosen = dict.fromkeys(np.linspace(0, len(rows) - 1, MAX_EXAMPLES).astype(int).tolist())
        decoded = list[Item]()
        for i in chosen if len(rows) else ():
            with contextlib.suppress(Exception):  # a data set is the user's code; reading all of it says what is wrong
                decoded.append(modality.decoded(items[int(rows[i])]))
        return cls(modality=modality, items=tuple(decoded), reading=reading, batch=batch)

    def examples(self, number: int) -> list[Item]:
        """Return the examples of a run by its number: each run begins with another one."""
        return [self.items[(number + i) % len(self.items)] for i in range(self.batch)]

    def load(self, number: int, formats: Sequence[InputFormat], options: Mapping[str, Any] | None = None) -> Store:
        """Preprocess the examples of a run, as a model does before it predicts."""
        items = self.examples(number)
        names = [f"item {i}" for i in range(len(items))]
        return self.modality.load(items, names, formats, options=options or {}, reading=self.reading)
