"""What is learned: each loss is smallest where it should be, and pulls the right way."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from autotransfer.pretraining.losses import from_answers, from_features, from_labels, standardise
from autotransfer.tasks.task import infer_task

CPU = torch.device("cpu")
ROWS = torch.arange(2)


def test_labels_of_every_kind_of_task() -> None:
    for targets, right, wrong in (
        (["a", "b", "c", "a"], [[9.0, 0, 0], [0, 9, 0]], [[0.0, 9, 0], [9, 0, 0]]),
        ([("a",), ("b", "a"), ("b",), ()], [[9.0, -9], [9, 9]], [[-9.0, 9], [-9, -9]]),
        ([0.5, 1.5, 2.5, 0.25], [[0.5], [1.5]], [[1.5], [0.5]]),
    ):
        task = infer_task(targets)
        objective = from_labels(task, task.encode(targets), CPU)
        assert objective.outputs == task.outputs
        assert objective.loss(torch.tensor(right), ROWS) < objective.loss(torch.tensor(wrong), ROWS)


def test_answers_are_matched_best_by_the_teachers_own() -> None:
    task = infer_task(["a", "b", "c"])
    predictions = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], dtype=np.float32)
    objective = from_answers(task, predictions, CPU)
    own = torch.from_numpy(predictions).log()
    assert float(objective.loss(own, ROWS)) == pytest.approx(0, abs=1e-6)
    assert float(objective.loss(own.flip(0), ROWS)) > 0.1


def test_answers_with_several_labels_and_values() -> None:
    several = infer_task([("a",), ("b",), ("a", "b")])
    predictions = np.array([[0.9, 0.1], [0.5, 0.5]], dtype=np.float32)
    objective = from_answers(several, predictions, CPU)
    outputs = torch.from_numpy(predictions).logit().requires_grad_()
    torch.autograd.backward(objective.loss(outputs, ROWS))
    assert outputs.grad is not None
    assert float(outputs.grad.abs().max()) < 1e-6, "the teacher's own answers are the minimum"
    numbers = from_answers(infer_task([0.5, 1.25, 9.75]), np.array([[1.0], [2.0]], dtype=np.float32), CPU)
    assert float(numbers.loss(torch.tensor([[1.0], [2.0]]), ROWS)) == 0


def test_features_cost_one_where_only_their_mean_is_known() -> None:
    raw = np.random.default_rng(0).normal(3, 5, (200, 4)).astype(np.float32)
    raw[:, 3] = 7  # what never changes cannot be standardised, and must not become NaN
    features = standardise(raw, np.arange(200))
    assert np.allclose(features.mean(0), 0, atol=1e-5)
    assert np.allclose(features.std(0), [1, 1, 1, 0], atol=1e-5)
    objective = from_features(features[:, :3], CPU)
    assert float(objective.loss(torch.zeros(200, 3), torch.arange(200))) == pytest.approx(1, abs=1e-4)
