"""Pretraining on examples of unequal length: batches of similar length, outputs in the order of the rows."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from fixtures.lengths import WIDTH, SequenceFormat, SequenceNet, SequenceStore
from torch import nn

from autotransfer.pretraining.losses import from_labels
from autotransfer.pretraining.trainer import PretrainingSettings, PretrainingTrainer, Student
from autotransfer.runtime.device import Device
from autotransfer.tasks.task import infer_task


def test_batches_are_by_length_and_outputs_in_order(
    sequence_net: SequenceNet, sequences: SequenceStore, cpu: Device
) -> None:
    labels = np.arange(60) % 2
    task = infer_task(labels.tolist())
    settings: Any = {"epochs": 1, "batch_size": 10, "augmentation": "none", "lr": 1e-3}
    student = Student(copy.deepcopy(sequence_net), {"answers": nn.Linear(WIDTH, 2)})
    objective = from_labels(task, task.encode(labels), torch.device("cpu"))
    trainer = PretrainingTrainer(
        student, sequences, np.arange(60), [objective], PretrainingSettings(**settings), cpu, key="one"
    )
    trainer.run(lambda epoch, loss: None)
    padded = sum(rows * length for rows, length in sequences.passed)
    assert sum(rows for rows, _ in sequences.passed) == 60
    assert padded < 1.2 * sequences.lengths(SequenceFormat()).sum(), "random batches pad to 1.7 times"
    rows = np.arange(59, 29, -1)
    found = trainer.outputs(rows)["answers"]
    alone = np.concatenate([trainer.outputs(rows[i : i + 1])["answers"] for i in range(30)])
    np.testing.assert_allclose(found, alone, atol=1e-5)
