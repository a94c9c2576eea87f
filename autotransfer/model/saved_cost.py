"""What a saved model takes: where its latency is limited, the upper end of what several processes measure."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from autotransfer.evaluation.inference_cost import InferenceCost
from autotransfer.evaluation.latency import Clock, LatencySample
from autotransfer.model.latency import measure_model
from autotransfer.model.latency_process import LatencyRequest, latency_in_new_process
from autotransfer.model.transfer_model import TransferModel
from autotransfer.settings import Limits

__all__ = ["NEW_PROCESS_SECONDS", "measure_saved_model", "upper_latency"]

# Seconds of each measurement after which no further run begins, with a limit on the latency, and without.
MEASURING_SECONDS, MEASURING_SECONDS_WITHOUT_LIMIT = 0.5, 0.1
# Medians that keep the limit, and medians of which one may exceed it where one of the first does.
MEDIANS, MAX_MEDIANS = 2, 4
# About the seconds that a new process takes to start, load a model and measure it.
NEW_PROCESS_SECONDS = 3.0


def measure_saved_model(
    model: TransferModel, sample: LatencySample, folder: Path, limits: Limits, *, clock: Clock = time.perf_counter
) -> InferenceCost:
    """Measure what a saved model takes.

    Args:
        model: The model.
        sample: The examples.
        folder: The folder that it was saved in.
        limits: The limits. With one on the latency, new processes load the model and measure it, too.
        clock: Returns seconds.
    """

    def here(seconds: float) -> InferenceCost:
        memory = limits.memory is not None
        return measure_model(model, sample, folder, memory=memory, max_seconds=seconds, clock=clock)

    if limits.latency is None:
        return here(MEASURING_SECONDS_WITHOUT_LIMIT)
    found, first = here(MEASURING_SECONDS), list[float]()
    request = LatencyRequest(
        folder=folder.absolute(),
        device=str(model.device.torch),
        sample=sample,
        max_seconds=MEASURING_SECONDS,
        threads=torch.get_num_threads(),
        clock=clock,
    )

    def measure() -> float:
        if not first:
            first.append(found.latency_seconds)
            return first[0]
        elsewhere = latency_in_new_process(request)
        return here(MEASURING_SECONDS).latency_seconds if elsewhere is None else elsewhere

    return replace(found, latency_seconds=upper_latency(measure, limits.latency_seconds))


def upper_latency(measure: Callable[[], float], limit: float) -> float:
    """Return the upper end of repeated medians: a user who measures finds about as much, and not the least of them.

    Processes differ in what they measure of one model. The greater of two medians counts. Where one of them exceeds the
    limit, two more are measured, and the second greatest counts: another program may have run beside one of them.

    Args:
        measure: Returns median seconds, of another process each time.
        limit: The limit, in seconds.
    """
    medians = [measure() for _ in range(MEDIANS)]
    while sum(median > limit for median in medians) == 1 and len(medians) < MAX_MEDIANS:
        medians.append(measure())
    return max(medians) if max(medians) <= limit else sorted(medians)[-2]
