"""The peak of memory is that of the tensors that are there at the same time."""

from __future__ import annotations

import torch

from autotransfer.evaluation.peak_memory import peak_bytes
from autotransfer.runtime.device import resolve_device

CPU = resolve_device("cpu")


def test_peak_counts_what_is_there_at_the_same_time() -> None:
    def run() -> None:
        for _ in range(3):
            first = torch.ones(1000)
            second = first + 1
            del first, second

    assert peak_bytes(run, CPU) == 8000


def test_peak_leaves_out_what_was_there_before() -> None:
    weight = torch.ones(500, 500)

    def run() -> None:
        with torch.inference_mode():
            _ = weight.T @ torch.ones(500, 2)

    assert peak_bytes(run, CPU) == 2 * 500 * 2 * 4
