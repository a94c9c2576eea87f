"""Losses, learning rates and optimizer steps, for fine-tuning and pretraining alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from autotransfer.runtime.device import Device
from autotransfer.runtime.memory import halve_batch_size
from autotransfer.tasks.task import Task

__all__ = ["StepTaker", "task_loss", "warm_up_and_cosine"]


def task_loss(
    task: Task,
    outputs: Tensor,
    targets: Tensor,
    *,
    weights: Tensor | None = None,
    sample_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the mean loss of a task: squared error, binary cross-entropy or cross-entropy.

    Args:
        task: What is predicted.
        outputs: Logits or standardised values (N, outputs).
        targets: Class indices (N,), labels or values (N, outputs).
        weights: Weight of each class (outputs,); None weights all the same.
        sample_weights: Factor (N,) on the loss of each example; None weights all the same. The divisor of the mean is
            what it is without them, so that a batch of light examples is a small step.
        label_smoothing: Share of each label that is spread over the classes (Szegedy et al., 2016).
    """
    reduction = "mean" if sample_weights is None else "none"
    if task.kind == "regression":
        losses = F.mse_loss(outputs, targets, reduction=reduction)
    elif task.kind == "multilabel":
        smoothed = targets * (1 - label_smoothing) + label_smoothing / 2
        losses = F.binary_cross_entropy_with_logits(outputs, smoothed, pos_weight=weights, reduction=reduction)
    else:
        losses = F.cross_entropy(outputs, targets, weight=weights, label_smoothing=label_smoothing, reduction=reduction)
    if sample_weights is None:
        return losses
    if not task.single_label:
        return (losses.mean(1) * sample_weights).mean()
    divisor = len(losses) if weights is None else weights[targets].sum()  # as the weighted mean has it
    return (losses * sample_weights).sum() / divisor


def warm_up_and_cosine(position: float, *, warm_up: float, end: float, offset: float = 0.0) -> float:
    """Return the factor on the learning rate: a linear warm-up, then half a cosine (Loshchilov and Hutter, 2017).

    Args:
        position: Where the training is, in the unit of ``end``.
        warm_up: Where the warm-up ends.
        end: Where the rate is 0.
        offset: Added to position and end of the warm-up, so that a first step at position 0 has a rate above 0.
    """
    if position < warm_up:
        return (position + offset) / (warm_up + offset)
    progress = (position - warm_up) / max(end - warm_up, 1e-9)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class StepTaker:
    """Takes optimizer steps, in 16 bit with scaled gradients; out of memory, a batch is computed in smaller parts.

    Args:
        optimizer: The optimizer.
        device: Where the network is.
        batch_size: Examples in one step.
        autocast: Whether 16 bit may be used.

    Attributes:
        scaler: Scales the loss where 16 bit would underflow.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, device: Device, *, batch_size: int, autocast: bool) -> None:
        self.optimizer = optimizer
        self.scaler = torch.amp.GradScaler(device.torch.type, enabled=autocast and device.half == torch.float16)
        self._part_size = batch_size  # halved when memory runs out, and kept for later steps

    def step(
        self, count: int, loss: Callable[[slice], Tensor], clipped: Sequence[Tensor], max_norm: float = math.inf
    ) -> Tensor:
        """Take one step and return its loss.

        Args:
            count: Number of examples.
            loss: ``loss(part)`` returns the loss of a part of the examples, times its share in the loss of all.
            clipped: Parameters whose gradients are clipped together; none clips nothing.
            max_norm: Largest norm of their gradients (Pascanu et al., 2013).

        Raises:
            TrialError: One example does not fit into memory.
        """
        while True:
            size, losses = min(self._part_size, count), list[Tensor]()
            try:
                self.optimizer.zero_grad(set_to_none=True)
                for start in range(0, count, size):
                    part = loss(slice(start, start + size))
                    torch.autograd.backward(self.scaler.scale(part))
                    losses.append(part.detach())
                break
            except (RuntimeError, MemoryError) as error:
                self._part_size = halve_batch_size(size, error)
        if clipped:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(clipped, max_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()
