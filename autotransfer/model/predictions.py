"""Predictions by the name of each example, for people, JSON and CSV; an unreadable one has a row with the reason."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotransfer.model.transfer_model import TransferModel
from autotransfer.runtime.text import cell
from autotransfer.tasks.task import Task

__all__ = ["Prediction", "predict_by_name", "to_csv"]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The prediction for one example; ``pandas.DataFrame`` takes a list of predictions.

    Attributes:
        path: Its path, or ``item 3`` for an example that has none.
        prediction: The label, a list of labels, a number or a list of numbers; None when the example cannot be read.
        probabilities: Probability of each class; None for a regression, or when the example cannot be read.
        error: Why it cannot be read.
        warning: What is lost of the example where its values are outside of the range of the training examples.
    """

    path: str
    prediction: Any = None
    probabilities: Mapping[Any, float] | None = None
    error: str = ""
    warning: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return path, prediction and probabilities by class (null for a regression), and error or warning if any."""
        by_class = self.probabilities and {str(label): value for label, value in self.probabilities.items()}
        row = {"path": self.path, "prediction": self.prediction, "probabilities": by_class}
        notes = {"error": self.error, "warning": self.warning}
        return row | {name: text for name, text in notes.items() if text}

    def cells(self) -> tuple[str, str, str]:
        """Return path, prediction and probability as text; several predictions are joined by commas."""
        values = self.prediction if isinstance(self.prediction, list) else [self.prediction]
        of = self.probabilities
        if of is None:
            return self.path, ",".join(map(_digits, values)), ""
        return self.path, ",".join(map(str, values)), ",".join(f"{of[value]:.4f}" for value in values)


def predict_by_name(model: TransferModel, data: Any, **reading: Any) -> list[Prediction]:
    """Predict for examples, in the order in which they are given and in the batches in which ``fit`` scores its test.

    Args:
        model: The model.
        data: Everything that ``find_examples`` takes: files, folders, tables, arrays, data sets, or a list of them.
        reading: How it is read: the other arguments of ``find_examples``.

    Returns:
        One prediction for each example found, those that cannot be read included; then what is none, with the reason.

    Raises:
        DataNotFoundError: A file or folder is missing.
        DataError: There is no example, or none can be read.
    """
    examples = model.find_examples(data, **reading)
    store = model.decode(examples)
    predictions = model.predict_store(store)
    values, classes = model.task.predict(predictions).tolist(), model.task.classes
    rows = {
        int(i): Prediction(
            path=examples.names[i],
            prediction=list(value) if isinstance(value, tuple) else value,
            probabilities=dict(zip(classes, row.tolist(), strict=True)) if classes else None,
            warning=store.remarks.get(int(i), ""),
        )
        for i, value, row in zip(store.kept, values, predictions, strict=True)
    }
    unread = [i for i in range(len(examples)) if i not in rows]
    for i, left_out in zip(unread, store.skipped, strict=True):
        rows[i] = Prediction(path=left_out.name, error=left_out.reason)
    found = [Prediction(path=left_out.name, error=left_out.reason) for left_out in examples.skipped]
    return [rows[i] for i in range(len(examples))] + found


def to_csv(rows: Sequence[Prediction], task: Task) -> str:
    """Return a table: path, prediction, and ``p_CLASS`` for each class.

    Several values of a regression are ``prediction_NAME`` each, or ``prediction_0``, … where they have no names.
    An unreadable example has empty cells. Names that a spreadsheet would run as a formula get an apostrophe in front.
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
            cells = row.prediction
        else:
            value = ",".join(map(str, row.prediction)) if isinstance(row.prediction, list) else row.prediction
            cells = [value, *(row.probabilities or {}).values()]
        writer.writerow(map(cell, [row.path, *cells]))
    return text.getvalue()


def _digits(value: float) -> str:
    """Return a value with six digits, or with as many as four decimal places take: large values differ by little."""
    whole = math.floor(math.log10(abs(value))) + 1 if value else 0
    return f"{value:.{min(max(6, whole + 4), 17)}g}"
