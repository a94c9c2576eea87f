"""Predictions by the name of each image, for people, JSON and CSV; an unreadable image has a row with the reason."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autotransfer.data.sources import find_images
from autotransfer.model import TransferModel
from autotransfer.task import Task
from autotransfer.text import cell

__all__ = ["Prediction", "predict_by_name", "to_csv"]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What is predicted for one image.

    Attributes:
        name: Its path.
        task: What is predicted.
        value: The label, a list of labels, a number or a list of numbers; None when the image cannot be read.
        scores: Probability of each class, or the values of a regression; empty when the image cannot be read.
        error: Why it cannot be read.
    """

    name: str
    task: Task
    value: Any = None
    scores: tuple[float, ...] = ()
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return path, prediction and probabilities by class (null for a regression), and the error if there is one."""
        known = dict(zip(map(str, self.task.classes), self.scores, strict=False)) if self.scores else None
        row = {"path": self.name, "prediction": self.value, "probabilities": known or None}
        return row | ({"error": self.error} if self.error else {})

    def cells(self) -> tuple[str, str, str]:
        """Return path, prediction and probability as text; several predictions are joined by commas."""
        values = self.value if isinstance(self.value, list) else [self.value]
        if not self.task.classes:
            return self.name, ",".join(map(_shown, values)), ""
        of = dict(zip(self.task.classes, self.scores, strict=True))
        return self.name, ",".join(map(str, values)), ",".join(f"{of[value]:.4f}" for value in values)


def predict_by_name(model: TransferModel, paths: Sequence[Any]) -> list[Prediction]:
    """Predict for images and for those in folders, in the order and batches in which ``fit`` scores test images.

    Returns:
        One prediction for each image found, those that cannot be read included.

    Raises:
        DataNotFoundError: A file or folder is missing.
        DataError: There is no image, or none can be read.
    """
    examples = find_images(paths)
    images = model.decode(examples)
    scores = model.predict_images(images)
    values = model.task.predict(scores).tolist()
    rows = {
        int(i): Prediction(name=examples.names[i], task=model.task, value=_plain(value), scores=tuple(row.tolist()))
        for i, value, row in zip(images.kept, values, scores, strict=True)
    }
    unread = [i for i in range(len(examples)) if i not in rows]
    for i, left_out in zip(unread, images.skipped, strict=True):
        rows[i] = Prediction(name=left_out.name, task=model.task, error=left_out.reason)
    found = [Prediction(name=left_out.name, task=model.task, error=left_out.reason) for left_out in examples.skipped]
    return [rows[i] for i in range(len(examples))] + found


def to_csv(rows: Sequence[Prediction], task: Task) -> str:
    """Return a table: path, prediction, and ``p_CLASS`` for each class.

    Several values of a regression are ``prediction_NAME`` each, or ``prediction_0``, … where they have no names.
    An unreadable image has empty cells. Names that a spreadsheet would run as a formula get an apostrophe before them.
    """
    several = not task.classes and task.width > 1
    names = task.target_names or range(task.width)
    values = [f"prediction_{name}" for name in names] if several else ["prediction"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", *values, *(f"p_{label}" for label in task.classes)])
    for row in rows:
        if row.error:
            cells: Sequence[Any] = [""] * (len(values) + len(task.classes))
        elif several:
            cells = row.scores
        else:
            value = ",".join(map(str, row.value)) if isinstance(row.value, list) else row.value
            cells = [value, *(row.scores if task.classes else ())]
        writer.writerow(map(cell, [row.name, *cells]))
    return text.getvalue()


def _shown(value: float) -> str:
    """Return a value with six digits, or as many as its fourth decimal place takes: 1.7e9 and some is not 1.7e9."""
    whole = math.floor(math.log10(abs(value))) + 1 if value else 0
    return f"{value:.{min(max(6, whole + 4), 17)}g}"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
