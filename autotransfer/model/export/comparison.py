"""Whether what was exported predicts as the model does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from autotransfer.data.examples import Examples
from autotransfer.errors import ExportError
from autotransfer.model.export.exporters import Predict
from autotransfer.model.transfer_model import TransferModel
from autotransfer.tasks.task import Task

__all__ = ["MAX_DIFFERENCE", "MIN_LABEL_AGREEMENT", "Agreement", "compare"]

MIN_LABEL_AGREEMENT = 0.999
"""Share of the examples on which what was exported must predict the label that the model predicts."""
MAX_DIFFERENCE = 1e-3
"""Largest difference of a probability; of a regression, as a share of the standard deviation of the target."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far what was exported predicts as the model does.

    The model predicts in float32 here, from examples in memory, as what was exported does. Otherwise, a model may
    predict in 16 bit, where probabilities differ by up to a hundredth, and decode large files in a shorter way:
    ``labels_agree_with_predict`` compares with that.

    Attributes:
        examples: Number of examples that were compared.
        labels_agree: Share of them with equal labels; None for a regression.
        largest_difference: Largest difference of a probability; of a regression, as a share of the standard deviation
            of the training targets.
        labels_agree_with_predict: Share of them with the labels that ``predict`` gives on the model's device for the
            examples as they are; None for a regression.
        labels_agree_at_one_half: Share of them where whoever takes the most probable of two classes, or of several
            labels those above one half, gets the labels of the model; None where the model has no thresholds. The other
            shares are by the thresholds.
    """

    examples: int
    labels_agree: float | None
    largest_difference: float
    labels_agree_with_predict: float | None = None
    labels_agree_at_one_half: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the labels agree in 99.9%, and no probability differs by more than 0.001."""
        labels = self.labels_agree is None or self.labels_agree >= MIN_LABEL_AGREEMENT
        return labels and self.largest_difference <= MAX_DIFFERENCE

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return {
            "examples": self.examples,
            "labels_agree": self.labels_agree,
            "largest_difference": self.largest_difference,
            "labels_agree_with_predict": self.labels_agree_with_predict,
            "labels_agree_at_one_half": self.labels_agree_at_one_half,
        }

    def __str__(self) -> str:
        plain = self.labels_agree_at_one_half
        by = "" if plain is None else f" by the model's thresholds and in {plain:.2%} at one half"
        labels = "" if self.labels_agree is None else f"labels agree in {self.labels_agree:.2%}{by}, "
        here = self.labels_agree_with_predict
        rounded = "" if here is None else f"; with predict on this device, labels agree in {here:.2%}"
        unit = " of the target's standard deviation" if self.labels_agree is None else ""
        return f"on {self.examples} examples, {labels}largest difference {self.largest_difference:.2g}{unit}{rounded}"


def compare(model: TransferModel, examples: Examples, predict: Predict, originals: Examples) -> Agreement:
    """Compare what was exported with the model.

    Args:
        model: The model.
        examples: The examples as what was exported is given them.
        predict: Predicts with what was exported.
        originals: The same examples as they are, such as files.

    Raises:
        ExportError: It gives predictions of another shape, or that are not finite.
    """
    exact = replace(model, device=replace(model.device, half=None))
    expected, found = exact.predict_store(exact.decode(examples, strict=True)), predict(examples)
    if found.shape != expected.shape or not np.isfinite(found).all():
        raise ExportError(
            f"What was exported gives predictions of the shape {found.shape}, or some that are not finite; the model "
            f"gives {expected.shape}. Nothing was written."
        )
    here = expected
    if model.task.kind != "regression":
        here = model.predict_store(model.decode(originals, strict=True))
    return Agreement(
        examples=len(examples),
        labels_agree=_labels_agree(model.task, expected, found),
        largest_difference=float((np.abs(expected.astype(np.float64) - found) / _unit(model)).max(initial=0)),
        labels_agree_with_predict=_labels_agree(model.task, here, found),
        labels_agree_at_one_half=_labels_agree_at_one_half(model.task, expected, found),
    )


def _labels_agree_at_one_half(task: Task, expected: np.ndarray, found: np.ndarray) -> float | None:
    """Return how far labels agree for a user of the export who knows of no thresholds."""
    return _labels_agree(task, expected, found, user=replace(task, thresholds=())) if task.thresholds else None


def _labels_agree(task: Task, expected: np.ndarray, found: np.ndarray, user: Task | None = None) -> float | None:
    """Return the share of equal labels, where a user of the export decides as the model does, or by another task."""
    if task.kind == "regression":
        return None
    pairs = zip(task.predict(expected), (user or task).predict(found.astype(expected.dtype)), strict=True)
    return float(np.mean([one == other for one, other in pairs]))


def _unit(model: TransferModel) -> np.ndarray | float:
    """Return what differences are measured in: 1 for probabilities, the deviation of each target of a regression."""
    if model.task.kind != "regression":
        return 1.0
    return np.asarray(model.members[0].network.scale.clamp(min=np.finfo(np.float64).tiny).numpy())
