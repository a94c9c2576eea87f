"""How well each class is recognised, on examples that no network of the model trained on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.metrics import precision_recall_fscore_support

from autotransfer.tasks.task import Task

__all__ = ["ClassScore", "score_classes"]

# Probability from which on an example that may have several labels is taken to have one.
LABEL_THRESHOLD = 0.5


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """How well one class is recognised.

    Attributes:
        label: The class.
        precision: Share of the examples predicted as this class that are of it; 0 where none is predicted.
        recall: Share of the examples of this class that are predicted as it; 0 where there are none.
        f1: Harmonic mean of precision and recall.
        examples: Number of examples of this class.
    """

    label: Any
    precision: float
    recall: float
    f1: float
    examples: int

    def to_json(self) -> dict[str, Any]:
        """Return the scores as JSON."""
        return asdict(self)


def score_classes(task: Task, targets: np.ndarray, probabilities: np.ndarray) -> tuple[ClassScore, ...]:
    """Return the scores of each class, in the order of the classes; none for a regression.

    Args:
        task: The task.
        targets: Encoded targets (n, ...).
        probabilities: Probabilities (n, classes).
    """
    if task.kind == "regression":
        return ()
    if task.single_label:
        truth, found = (
            np.eye(task.outputs, dtype=int)[targets],
            np.eye(task.outputs, dtype=int)[probabilities.argmax(1)],
        )
    else:
        truth, found = (targets > 0).astype(int), (probabilities > LABEL_THRESHOLD).astype(int)
    if task.outputs == 1:  # scikit-learn takes one column for two classes
        truth, found = (np.concatenate([1 - one, one], axis=1) for one in (truth, found))
    columns = precision_recall_fscore_support(truth, found, average=None, zero_division=0.0)
    rows = list(zip(*columns, strict=True))[-task.outputs :]
    return tuple(
        ClassScore(label=label, precision=float(row[0]), recall=float(row[1]), f1=float(row[2]), examples=int(row[3]))
        for label, row in zip(task.classes, rows, strict=True)
    )
