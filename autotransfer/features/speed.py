"""How long an example takes through a backbone that is frozen, and through one that trains."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import numpy as np
import torch

from autotransfer.backbones.frozen import batch_sizes
from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.contract.modality import Store
from autotransfer.features.batches import Rows
from autotransfer.runtime.memory import halve_batch_size

__all__ = ["measure_seconds_per_example", "measure_training_seconds_per_example"]

# Examples of a training step that is timed: as many as a batch of a training has by default.
TRAINING_BATCH = 32
# A first step of more seconds than this is not timed again: what preparing kernels takes is little beside it.
MAX_SECONDS_TO_REPEAT = 1.0


def measure_seconds_per_example(loaded: LoadedBackbone, store: Store) -> float:
    """Return the seconds that one example takes through the backbone, the best of two passes over a batch.

    The batch is as large as those that features are computed in: a GPU is idle for most of a smaller one. Of examples
    of unequal length, those pass that are nearest to the mean.

    Raises:
        TrialError: One example does not fit into memory.
    """
    lengths = store.lengths(loaded.backbone.preprocessing)
    size = batch_sizes(loaded.device, lengths)[0]
    if lengths is not None:
        size = max(size // max(int(lengths.mean()), 1), 1)
    return _best_of_two(lambda rows: _pass_seconds(loaded, store, rows), store, lengths, size)


def measure_training_seconds_per_example(loaded: LoadedBackbone, store: Store) -> float:
    """Return the seconds that one example takes forward and backward through all stages of the backbone.

    How many forward passes of the frozen backbone that is depends on the architecture, the size of the examples and
    the hardware: on a CPU, 3 for a vision transformer, 20 for a network of depthwise convolutions on small images.

    Raises:
        TrialError: One example does not fit into memory.
    """
    backbone = copy.deepcopy(loaded.backbone).requires_grad_(True)
    lengths = store.lengths(backbone.preprocessing)

    def step(rows: Rows) -> float:
        begin = time.perf_counter()
        inputs = store.inputs(rows, backbone.preprocessing, loaded.device.torch)
        with torch.enable_grad(), loaded.device.autocast(not loaded.precise):
            total = backbone(inputs).float().sum()
        total.backward()
        total.item()  # a device that works by itself has ended all before it
        return time.perf_counter() - begin

    return _best_of_two(step, store, lengths, TRAINING_BATCH, enough=MAX_SECONDS_TO_REPEAT)


def _best_of_two(
    seconds_of: Callable[[Rows], float], store: Store, lengths: np.ndarray | None, size: int, enough: float = np.inf
) -> float:
    """Return the seconds for each example of a batch, the best of two batches; of one where it takes long enough.

    Raises:
        TrialError: One example does not fit into memory.
    """
    size, seconds = min(size, len(store)), list[float]()
    while len(seconds) < 2 and max(seconds, default=0.0) < enough:
        rows = slice(size) if lengths is None else _typical(lengths, size)
        try:
            seconds.append(seconds_of(rows))
        except (RuntimeError, MemoryError) as error:
            size, seconds = halve_batch_size(size, error), []
    return min(seconds) / size


def _typical(lengths: np.ndarray, size: int) -> np.ndarray:
    """Return the rows whose length is nearest to the mean."""
    rows: np.ndarray = np.argsort(np.abs(lengths - lengths.mean()), kind="stable")[:size]
    return rows


def _pass_seconds(loaded: LoadedBackbone, store: Store, rows: Rows) -> float:
    """Return the seconds that a batch of examples takes through the backbone."""
    with loaded.fast.running() as backbone:
        begin = time.perf_counter()
        inputs = store.inputs(rows, loaded.backbone.preprocessing, loaded.device.torch)
        backbone(loaded.fast.take(inputs)).float().cpu()
        return time.perf_counter() - begin
