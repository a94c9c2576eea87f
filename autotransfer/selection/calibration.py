"""Temperature scaling: probabilities that are right as often as they say (Guo et al. 2017, arXiv 1706.04599)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from autotransfer.model.temperature import fit_temperature, temper
from autotransfer.selection.out_of_fold import OutOfFold
from autotransfer.tasks.bootstrap import sum_standard_error
from autotransfer.tasks.task import Task

__all__ = ["Calibration", "calibrate", "expected_calibration_error"]

_BINS = 15


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What a temperature does to probabilities of examples that it was not fitted on.

    Attributes:
        temperature: What logits are divided by; 1 where that did not help.
        ece_before: Expected calibration error before, in ``expected_calibration_error``'s sense.
        ece_after: And after; the same where the temperature is 1.
        log_loss_before: Log loss before.
        log_loss_after: And after.
        error: Standard error of the difference between the two log losses; 0 where the temperature is 1.
    """

    temperature: float
    ece_before: float
    ece_after: float
    log_loss_before: float
    log_loss_after: float
    error: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)

    def __str__(self) -> str:
        if self.temperature == 1.0:
            return f"calibration error {self.ece_before:.4f}; no temperature makes it better"
        if self.log_loss_before - self.log_loss_after <= self.error:
            return (
                f"calibration error {self.ece_before:.4f}; a temperature of {self.temperature:.3g} makes no measurable "
                f"difference to the log loss of {self.log_loss_before:.4f} (standard error {self.error:.4f})"
            )
        return (
            f"calibration error {self.ece_before:.4f} to {self.ece_after:.4f}, log loss {self.log_loss_before:.4f} to "
            f"{self.log_loss_after:.4f}, by a temperature of {self.temperature:.3g}"
        )


def calibrate(held_out: OutOfFold, predictions: np.ndarray) -> Calibration | None:
    """Fit a temperature to probabilities of examples that were held out, and judge it by cross-fitting.

    Args:
        held_out: The examples.
        predictions: Their probabilities (n, outputs).

    Returns:
        The temperature, 1 unless it lowers the log loss of examples that it was not fitted on; None for a regression.
    """
    task, targets = held_out.task, held_out.targets
    if task.kind == "regression" or len(held_out.parts) < 2:
        return None
    after = np.empty_like(predictions)
    for part in held_out.parts:
        rest = held_out.but(part)
        after[part] = temper(task, predictions[part], fit_temperature(task, targets[rest], predictions[rest]))
    losses = held_out.loss(predictions), held_out.loss(after)
    helps = losses[1] < losses[0]
    before = expected_calibration_error(task, targets, predictions)
    return Calibration(
        temperature=fit_temperature(task, targets, predictions) if helps else 1.0,
        ece_before=before,
        ece_after=expected_calibration_error(task, targets, after) if helps else before,
        log_loss_before=losses[0],
        log_loss_after=losses[1] if helps else losses[0],
        error=_difference_error(held_out, predictions, after) if helps else 0.0,
    )


def _difference_error(held_out: OutOfFold, before: np.ndarray, after: np.ndarray) -> float:
    """Return the standard error of the difference between the log losses of two predictions (n, outputs)."""
    logs = [np.log(np.clip(held_out.evidence(predictions), 1e-7, 1.0)).mean(1) for predictions in (before, after)]
    gains = logs[1] - logs[0]
    return sum_standard_error((gains - gains.mean()) / len(gains), held_out.group_ids)


def expected_calibration_error(task: Task, targets: np.ndarray, predictions: np.ndarray) -> float:
    """Return how far probabilities are from the share that comes true, on average over 15 equal bins.

    For one label an example, of the label that is predicted (Guo et al. 2017); for several, of every label.
    """
    if task.single_label:
        confidence, right = predictions.max(1), predictions.argmax(1) == targets
    else:
        confidence, right = predictions.ravel(), targets.ravel() > 0
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    return float(np.abs(np.bincount(bins, weights=right - confidence.astype(np.float64))).sum() / len(confidence))
