"""Losses, learning rates and steps are those of the formulas."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from autotransfer.errors import TrialError
from autotransfer.runtime.device import Device
from autotransfer.tasks.task import infer_task
from autotransfer.training.optimization import StepTaker, task_loss, warm_up_and_cosine

CPU = Device(torch=torch.device("cpu"), half=None)


def test_rate_rises_linearly_then_falls_to_zero() -> None:
    rates = [warm_up_and_cosine(step, warm_up=4, end=12, offset=1.0) for step in range(13)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rates[4] == 1.0
    assert rates[8] == pytest.approx(0.5)
    assert rates[12] == pytest.approx(0.0)
    assert warm_up_and_cosine(13, warm_up=4, end=12) == pytest.approx(0.0)
    assert warm_up_and_cosine(0.025, warm_up=0.05, end=1.0) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [([0, 1, 0], torch.nn.CrossEntropyLoss()), ([0.5, 1.5, 2.0], torch.nn.MSELoss())],
)
def test_loss_is_that_of_the_task(targets: list[float], expected: torch.nn.Module) -> None:
    task = infer_task(targets)
    encoded = torch.as_tensor(task.encode(targets))
    outputs = torch.randn(3, task.outputs, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(task_loss(task, outputs, encoded), expected(outputs, encoded))


@pytest.mark.parametrize("room", [8, 3, 1])
def test_step_in_parts_has_the_gradient_of_the_whole(room: int) -> None:
    weight, values = torch.nn.Parameter(torch.ones(2)), torch.arange(16.0).reshape(8, 2)
    steps = StepTaker(torch.optim.SGD([weight], lr=0.1), CPU, batch_size=8, autocast=False)

    def loss(part: slice) -> Tensor:
        if len(values[part]) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return (values[part] @ weight).mean() * (len(values[part]) / 8)

    assert float(steps.step(8, loss, ())) == pytest.approx(15.0)
    torch.testing.assert_close(weight.detach(), 1 - 0.1 * values.mean(0))
    steps.step(8, loss, [weight], max_norm=1e-3)
    assert weight.grad is not None
    assert float(weight.grad.norm()) == pytest.approx(1e-3, rel=1e-3)


def test_step_without_memory_for_one_example_fails() -> None:
    def loss(part: slice) -> Tensor:
        raise MemoryError

    weight = torch.nn.Parameter(torch.ones(1))
    steps = StepTaker(torch.optim.SGD([weight], lr=0.1), CPU, batch_size=4, autocast=False)
    with pytest.raises(TrialError, match="one example at a time"):
        steps.step(4, loss, ())


@pytest.mark.parametrize("targets", [[0, 1, 2, 1], [[1, 0], [1, 1], [0, 1], [0, 0]], [0.5, 1.5, 2.0, 3.5]])
def test_weighted_loss_is_that_of_copies(targets: list[Any]) -> None:
    task, counts = infer_task(targets), torch.tensor([1, 3, 2, 2])
    encoded = torch.as_tensor(task.encode(targets))
    outputs = torch.randn(4, task.outputs, generator=torch.Generator().manual_seed(0))
    classes = None if task.kind == "regression" else torch.tensor([1.0, 4.0, 2.0])[: task.outputs]
    how = {"label_smoothing": 0.1}
    found = task_loss(task, outputs, encoded, sample_weights=counts / 2.0, **how)
    copied = task_loss(task, outputs.repeat_interleave(counts, 0), encoded.repeat_interleave(counts, 0), **how)
    torch.testing.assert_close(found, copied)
    if classes is not None:  # weights of classes and of examples multiply
        ones = task_loss(task, outputs, encoded, weights=classes, sample_weights=torch.ones(4), **how)
        torch.testing.assert_close(ones, task_loss(task, outputs, encoded, weights=classes, **how))
        twice = task_loss(task, outputs, encoded, weights=classes, sample_weights=torch.full((4,), 2.0), **how)
        torch.testing.assert_close(twice, 2 * ones)
