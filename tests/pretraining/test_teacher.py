"""Targets from a teacher: what a linear probe on its features answers, for tasks of every kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from fixtures.lengths import SequenceStore

from autotransfer.contract.registry import Registry
from autotransfer.data.folds import Fold
from autotransfer.pretraining.dataset import PretrainingData
from autotransfer.pretraining.losses import Objective
from autotransfer.pretraining.teacher import teacher_objective
from autotransfer.runtime.device import Device
from autotransfer.tasks.task import infer_task

COUNT = 3000  # the probe of values is regularised for features of hundreds of columns
TRAIN, REST = np.arange(2900), np.arange(2900, COUNT)


@pytest.fixture
def features() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((COUNT, 3)).astype(np.float32)


def answers_on(features: np.ndarray, targets: Any, store: SequenceStore, cpu: Device) -> tuple[Objective, Fold]:
    """Return the objective of a probe that was fitted on the first 2,900 rows, and its fold."""
    task = infer_task(targets)
    fold = Fold(task=task, targets=task.encode(targets), train_rows=TRAIN, validation_rows=REST)
    dataset = PretrainingData(store=store, train_rows=TRAIN, validation_rows=REST, fold=fold)
    return teacher_objective(features, "answers", dataset, Registry.load(), cpu), fold


@pytest.mark.parametrize("width", [1, 2])
def test_values_are_answered_by_a_probe_of_values(
    width: int, features: np.ndarray, sequences: SequenceStore, cpu: Device
) -> None:
    values = (1000 + 7 * features @ np.array([[1.0, 0.5], [-2.0, 1.0], [0.5, 3.0]]))[:, :width]
    objective, fold = answers_on(features, values, sequences, cpu)
    right = torch.from_numpy(fold.standardised_targets()[REST]).float()
    rows = torch.from_numpy(REST)
    assert objective.outputs == width
    assert float(objective.loss(right, rows)) < 0.1, "the probe knows rows that it has not seen"
    assert float(objective.loss(right.flip(0), rows)) > 1


def test_classes_are_answered_by_a_probe_of_classes(
    features: np.ndarray, sequences: SequenceStore, cpu: Device
) -> None:
    objective, _ = answers_on(features, (features[:, 0] > 0).astype(int), sequences, cpu)
    logits = torch.from_numpy(np.stack([-4 * features[REST, 0], 4 * features[REST, 0]], 1))
    rows = torch.from_numpy(REST)
    assert float(objective.loss(logits, rows)) < float(objective.loss(-logits, rows)) / 4
