"""A latency is the median of runs that follow a warm one; the clocks are made up."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest

from autotransfer.evaluation.latency import MAX_RUNS, MIN_RUNS, WARM_UP_RUNS, LatencySample, median_seconds
from autotransfer_plugins.modalities.image.modality import IMAGE


class Clock:
    """Goes on by what a run takes."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_first_run_and_an_outlier_do_not_count() -> None:
    clock, runs = Clock(), list[int]()

    def run(number: int) -> None:
        runs.append(number)
        clock.now += {0: 100.0, 3: 5.0}.get(number, 0.2)

    assert median_seconds(run, clock, max_seconds=1.0) == pytest.approx(0.2)
    assert runs == list(range(WARM_UP_RUNS + MIN_RUNS))


def test_short_runs_are_many_but_not_more_than_a_limit() -> None:
    clock, ticks = Clock(), count()

    def run(number: int) -> None:
        next(ticks)
        clock.now += 1e-6

    median_seconds(run, clock)
    assert next(ticks) == WARM_UP_RUNS + MAX_RUNS


def test_long_runs_are_few() -> None:
    clock, runs = Clock(), list[int]()

    def run(number: int) -> None:
        runs.append(number)
        clock.now += 2.0

    assert median_seconds(run, clock, max_seconds=0.05) == pytest.approx(2.0)
    assert len(runs) == WARM_UP_RUNS + 1


def test_a_sample_takes_turns_and_fills_a_batch() -> None:
    images = list(np.arange(20, dtype=np.uint8)[:, None, None] * np.ones((20, 8, 8), np.uint8))
    sample = LatencySample.of(IMAGE, images, [1, 3, 5], None, 4)
    assert [int(image[0, 0]) for image in sample.examples(0)] == [1, 3, 5, 1]
    assert [int(image[0, 0]) for image in sample.examples(1)] == [3, 5, 1, 3]


class Broken(list[np.ndarray]):
    """A data set whose second example cannot be had."""

    def __getitem__(self, position: object) -> object:  # type: ignore[override]
        if position == 1:
            raise RuntimeError("the network is gone")
        return super().__getitem__(position)  # type: ignore[index]


def test_a_sample_leaves_out_what_cannot_be_read() -> None:
    images = Broken([np.zeros((8, 8), np.uint8)] * 3)
    assert len(LatencySample.of(IMAGE, images, range(3), None, 1).items) == 2
    assert LatencySample.of(IMAGE, images, [], None, 1).items == ()
