"""What a network learns from: labels, a teacher's answers, or a teacher's features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from autotransfer.tasks.task import Task
from autotransfer.training.optimization import task_loss

__all__ = ["Objective", "from_answers", "from_features", "from_labels", "standardise"]

_SMALLEST = 1e-6
_TEMPERATURE = 2.0
_SMOOTHING = 0.1


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One thing that is learned; the losses of several are added.

    Attributes:
        head: Name of the head whose outputs it looks at.
        outputs: Number of these outputs.
        loss: ``loss(outputs, rows)`` returns the mean loss of these examples; outputs are float32 (N, outputs).
    """

    head: str
    outputs: int
    loss: Callable[[Tensor, Tensor], Tensor]


def from_labels(task: Task, encoded: np.ndarray, device: torch.device) -> Objective:
    """Learn the right answers, with label smoothing where there are classes.

    Args:
        task: What is predicted.
        encoded: Targets as ``Task.encode`` returns them; standardised ones of a regression.
        device: Where the network is.
    """
    targets = torch.as_tensor(encoded, device=device)

    def loss(outputs: Tensor, rows: Tensor) -> Tensor:
        return task_loss(task, outputs, targets[rows], label_smoothing=_SMOOTHING)

    return Objective(head="answers", outputs=task.outputs, loss=loss)


def from_answers(task: Task, predictions: np.ndarray, device: torch.device) -> Objective:
    """Learn a teacher's answers (Hinton et al., 2015): for one label, its probabilities, softened.

    Args:
        task: What is predicted.
        predictions: The teacher's probabilities (N, classes); standardised values (N, width) of a regression.
        device: Where the network is.
    """
    given = torch.as_tensor(predictions, device=device)
    if task.single_label:
        given = (given.clamp(min=_SMALLEST).log() / _TEMPERATURE).softmax(1)

    def loss(outputs: Tensor, rows: Tensor) -> Tensor:
        if not task.single_label:
            return task_loss(task, outputs, given[rows])
        # Softening makes gradients smaller by the square of the temperature.
        return _TEMPERATURE**2 * F.kl_div((outputs / _TEMPERATURE).log_softmax(1), given[rows], reduction="batchmean")

    return Objective(head="answers", outputs=task.outputs, loss=loss)


def from_features(features: np.ndarray, device: torch.device) -> Objective:
    """Learn a teacher's features, through a linear layer that is thrown away (Romero et al., 2015).

    Args:
        features: Standardised features (N, width); a loss of 1 is that of their mean.
        device: Where the network is.
    """
    given = torch.as_tensor(features, device=device)
    return Objective(
        head="features",
        outputs=features.shape[1],
        loss=lambda outputs, rows: F.mse_loss(outputs, given[rows]),
    )


def standardise(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return values (N, width) with the mean 0 and the deviation 1 over ``rows``; what is constant becomes 0."""
    centred = values - values[rows].mean(0)
    return np.asarray(centred / np.maximum(values[rows].std(0), _SMALLEST), dtype=np.float32)
