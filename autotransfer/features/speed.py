"""How long an example takes through a frozen backbone."""

from __future__ import annotations

import time

import numpy as np

from autotransfer.backbones.frozen import batch_sizes
from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.contract.modality import Store
from autotransfer.features.batches import Rows
from autotransfer.runtime.memory import halve_batch_size

__all__ = ["measure_seconds_per_example"]


def measure_seconds_per_example(loaded: LoadedBackbone, store: Store) -> float:
    """Return the seconds that one example takes through the backbone, the best of two passes over a batch.

    The batch is as large as those that features are computed in: a GPU is idle for most of a smaller one. Of examples
    of unequal length, those pass that are nearest to the mean.

    Raises:
        TrialError: One example does not fit into memory.
    """
    lengths = store.lengths(loaded.backbone.preprocessing)
    size, seconds = batch_sizes(loaded.device, lengths)[0], list[float]()
    if lengths is not None:
        size = max(size // max(int(lengths.mean()), 1), 1)
    size = min(size, len(store))
    while len(seconds) < 2:
        rows = slice(size) if lengths is None else _typical(lengths, size)
        try:
            seconds.append(_pass_seconds(loaded, store, rows))
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
