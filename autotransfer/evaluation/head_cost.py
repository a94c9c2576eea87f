"""What a head alone takes to predict, and to be saved: known by its shape, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from autotransfer.contract.plugin_call import plugin_call
from autotransfer.evaluation.inference_cost import held_bytes, state_bytes
from autotransfer.evaluation.latency import median_seconds
from autotransfer.evaluation.setup import Setup
from autotransfer.tasks.task import Task

__all__ = ["HeadCost", "measure_head"]

# Examples on which a closed form is solved to see whether its solution holds the examples.
_FEW_EXAMPLES = (16, 32)
# Most seconds that heads are measured for.
MAX_HEAD_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class HeadCost:
    """What a head takes.

    Attributes:
        seconds: Median seconds of a pass of a batch through it.
        state_bytes: Bytes of its tensors in the file of a model.
        memory_bytes: Bytes of its tensors in memory.
        tensors: Number of its tensors.
    """

    seconds: float
    state_bytes: int
    memory_bytes: int
    tensors: int


def measure_head(
    setup: Setup, task: Task, examples: int, device: torch.device, batch: int, clock: Callable[[], float]
) -> HeadCost:
    """Return what the head of a candidate takes once it is trained.

    Args:
        setup: The candidate.
        task: The task.
        examples: Number of examples that the head is trained on: nearest neighbours keep all of them.
        device: Where it runs.
        batch: Number of examples that pass at once.
        clock: Returns seconds.
    """
    head = _trained_head(setup, task, examples).to(device).eval()
    seconds = 0.0
    if not setup.loaded.sparse:  # a product of a sparse row takes no time beside the counting of words
        shape = setup.head_shape
        features = torch.zeros((batch, sum(shape)) if setup.head.features == "stages" else (batch, *shape))
        features = features.to(device)

        def run(number: int) -> None:
            with plugin_call(f"The head {setup.head.name!r}"), torch.inference_mode():
                head(features).float().cpu()

        seconds = median_seconds(run, clock, max_seconds=MAX_HEAD_SECONDS)
    return HeadCost(
        seconds=seconds,
        state_bytes=state_bytes(head),
        memory_bytes=held_bytes([head]),
        tensors=len(head.state_dict()),
    )


def _trained_head(setup: Setup, task: Task, examples: int) -> nn.Module:
    """Return a head of the size that it has after training; its values mean nothing."""
    if setup.head.solve is None or setup.loaded.sparse:
        return setup.untrained_head(task)
    few = [_solved(setup, task, count) for count in _FEW_EXAMPLES]
    if None in few or state_bytes(few[0]) == state_bytes(few[1]):  # type: ignore[arg-type]  # none of them is None
        return few[1] or setup.untrained_head(task)
    return _solved(setup, task, examples) or few[1] or setup.untrained_head(task)


def _solved(setup: Setup, task: Task, count: int) -> nn.Module | None:
    """Return the head, solved on made-up features of so many examples; None where that fails."""
    rng, head = np.random.default_rng(0), setup.untrained_head(task)
    features = rng.standard_normal((count, setup.head_width), dtype=np.float32)
    try:
        assert setup.head.solve is not None  # asked for closed forms alone
        with plugin_call(f"The head {setup.head.name!r}"):
            setup.head.solve(head, features, _targets(task, count, rng), task, setup.candidate.head_params, None)
    except Exception:  # a plugin's head may refuse such features; its size before the solution has to do
        return None
    return head


def _targets(task: Task, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return made-up encoded targets."""
    if task.single_label:
        return np.arange(count) % task.outputs
    values = rng.standard_normal((count, task.outputs))
    return values if task.kind == "regression" else values > 0
