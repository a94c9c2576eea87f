"""Temperature scaling, which makes a classifier right as often as its probabilities say (Guo et al. 2017)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from autotransfer.model.temperature import fit_temperature, temper
from autotransfer.selection.out_of_fold import MIN_PROBABILITY, OutOfFold
from autotransfer.tasks.bootstrap import sum_standard_error
from autotransfer.tasks.task import Task

__all__ = ["Calibration", "calibrate", "expected_calibration_error"]

# Bins of equal width of the expected calibration error, as in Guo et al. 2017.
CALIBRATION_BINS = 15


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What a temperature changes, on examples that it was not fitted on.

    Attributes:
        temperature: What logits are divided by; 1 where no other temperature lowers the log loss.
        ece_before: Expected calibration error before; see ``expected_calibration_error``.
        ece_after: Expected calibration error after; that before where the temperature is 1.
        log_loss_before: Log loss before.
        log_loss_after: Log loss after; that before where the temperature is 1.
        error: Standard error of the difference between the two log losses; 0 where the temperature is 1.
    """

    temperature: float
    ece_before: float
    ece_after: float
    log_loss_before: float
    log_loss_after: float
    error: float = 0.0

    @property
    def is_better(self) -> bool:
        """Whether the temperature lowers the log loss by more than the standard error."""
        return self.log_loss_before - self.log_loss_after > self.error

    def to_json(self) -> dict[str, Any]:
        """Return the calibration as JSON."""
        return asdict(self)


def calibrate(held_out: OutOfFold, probabilities: np.ndarray) -> Calibration | None:
    """Fit a temperature to out-of-fold probabilities, and judge it by cross-fitting.

    Args:
        held_out: The examples.
        probabilities: Their probabilities (n, outputs).

    Returns:
        The temperature: 1 unless it lowers the log loss of examples that it was not fitted on. None for a regression.
    """
    task, targets = held_out.task, held_out.targets
    if task.kind == "regression" or len(held_out.parts) < 2:
        return None
    after = np.empty_like(probabilities)
    for part in held_out.parts:
        outside = held_out.outside(part)
        others = held_out.take(outside)
        temperature = fit_temperature(task, others.targets, probabilities[outside], others.weights)
        after[part] = temper(task, probabilities[part], temperature)
    losses = held_out.loss(probabilities), held_out.loss(after)
    is_better = losses[1] < losses[0]
    before = expected_calibration_error(task, targets, probabilities, held_out.weights)
    return Calibration(
        temperature=fit_temperature(task, targets, probabilities, held_out.weights) if is_better else 1.0,
        ece_before=before,
        ece_after=expected_calibration_error(task, targets, after, held_out.weights) if is_better else before,
        log_loss_before=losses[0],
        log_loss_after=losses[1] if is_better else losses[0],
        error=_difference_error(held_out, probabilities, after) if is_better else 0.0,
    )


def _difference_error(held_out: OutOfFold, before: np.ndarray, after: np.ndarray) -> float:
    """Return the standard error of the difference between the log losses of two probabilities (n, outputs)."""
    terms = [held_out.loss_terms(probabilities) for probabilities in (before, after)]
    logs = [np.log(np.clip(one, MIN_PROBABILITY, 1.0)).mean(1) for one in terms]
    gains, weights = logs[1] - logs[0], held_out.weights
    each = np.ones(len(gains)) if weights is None else weights
    return sum_standard_error(each * (gains - np.average(gains, weights=weights)) / each.sum(), held_out.group_ids)


def expected_calibration_error(
    task: Task, targets: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Return the mean distance between probabilities and the share of them that comes true, over bins of probability.

    Where an example has one label, the probability of the predicted label counts (Guo et al. 2017); where it may have
    several, that of each label.

    Args:
        task: The task.
        targets: Encoded targets (n, ...).
        probabilities: Probabilities (n, outputs).
        weights: Weight (n,) of each example; None weights all examples equally.
    """
    each = np.ones(len(targets)) if weights is None else weights
    if task.single_label:
        confidence, right = probabilities.max(1), probabilities.argmax(1) == targets
    else:
        confidence, right = probabilities.ravel(), targets.ravel() > 0
        each = np.repeat(each, task.outputs)
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weights=each * (right - confidence.astype(np.float64)))
    return float(np.abs(gaps).sum() / each.sum())
