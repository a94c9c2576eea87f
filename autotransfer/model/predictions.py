"""Predictions by the name of each example, for people, JSON and CSV; an unreadable one has a row with the reason."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotransfer.model.conformal import require_conformal
from autotransfer.model.outliers import mark_unknown, require_outliers
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
        prediction_set: Labels that hold the truth at a rate, the most probable first; the ends of an interval of a
            regression, or of one for each target. None where no rate was given.
        outlier_score: How unlike the training examples it is: above 1, like none. None where no label was given for
            unknown examples.
    """

    path: str
    prediction: Any = None
    probabilities: Mapping[Any, float] | None = None
    error: str = ""
    warning: str = ""
    prediction_set: list[Any] | None = None
    outlier_score: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return path, prediction and probabilities by class (null for a regression), and what else there is.

        Numbers that JSON does not have, such as the end of an interval without one, are null.
        """
        by_class = self.probabilities and {str(label): value for label, value in self.probabilities.items()}
        row = {"path": self.path, "prediction": _finite(self.prediction), "probabilities": by_class}
        more = {"set": _finite(self.prediction_set), "outlier_score": self.outlier_score}
        row |= {name: value for name, value in more.items() if value is not None}
        notes = {"error": self.error, "warning": self.warning}
        return row | {name: text for name, text in notes.items() if text}

    def cells(self) -> tuple[str, ...]:
        """Return path, prediction, probability, and the set if there is one, as text.

        Several predictions are joined by commas; ends of an interval by "to". A label for unknown examples has no
        probability.
        """
        values = self.prediction if isinstance(self.prediction, list) else [self.prediction]
        held, of = self.prediction_set, self.probabilities
        if of is None:
            intervals = [] if held is None else held if isinstance(held[0], list) else [held]
            texts = [",".join(" to ".join(map(_digits, ends)) for ends in intervals)] if held is not None else []
            return self.path, ",".join(map(_digits, values)), "", *texts
        shares = ",".join(f"{of[value]:.4f}" for value in values if value in of)
        return self.path, ",".join(map(str, values)), shares, *([] if held is None else [",".join(map(str, held))])


def predict_by_name(
    model: TransferModel, data: Any, *, coverage: float | None = None, unknown: Any = None, **reading: Any
) -> list[Prediction]:
    """Predict for examples, in the order in which they are given and in the batches in which ``fit`` scores its test.

    Args:
        model: The model.
        data: Everything that ``find_examples`` takes: files, folders, tables, arrays, data sets, or a list of them.
        coverage: Rate at which sets, or intervals, hold the truth; None makes none.
        unknown: Label for examples that are unlike anything seen; None looks for none.
        reading: How it is read: the other arguments of ``find_examples``.

    Returns:
        One prediction for each example found, those that cannot be read included; then what is none, with the reason.

    Raises:
        ConfigError: The coverage is no rate, or the model knows nothing of held-out or unlike examples.
        DataNotFoundError: A file or folder is missing.
        DataError: There is no example, or none can be read.
    """
    conformal = None if coverage is None else require_conformal(model.conformal, coverage)
    if unknown is not None:
        require_outliers(model.outliers)
    examples = model.find_examples(data, **reading)
    store, task = model.decode(examples), model.task
    scores: list[Any] | None = None
    if unknown is None:
        predictions = model.predict_store(store)
        predicted = task.predict(predictions)
    else:
        predictions, distances = model.predict_with_scores(store)
        predicted, scores = mark_unknown(task, task.predict(predictions), distances > 1, unknown), distances.tolist()
    count, sets = len(predictions), None
    if conformal is not None and coverage is not None:
        sets = conformal.predict(task, predictions, store.digests, coverage).tolist()
    values, classes = predicted.tolist(), task.classes
    more = zip(sets or [None] * count, scores or [None] * count, strict=True)
    rows = {
        int(i): Prediction(
            path=examples.names[i],
            prediction=list(value) if isinstance(value, tuple) else value,
            probabilities=dict(zip(classes, row.tolist(), strict=True)) if classes else None,
            warning=store.remarks.get(int(i), ""),
            prediction_set=None if held is None else list(held),
            outlier_score=score,
        )
        for i, value, row, (held, score) in zip(store.kept, values, predictions, more, strict=True)
    }
    unread = [i for i in range(len(examples)) if i not in rows]
    for i, left_out in zip(unread, store.skipped, strict=True):
        rows[i] = Prediction(path=left_out.name, error=left_out.reason)
    found = [Prediction(path=left_out.name, error=left_out.reason) for left_out in examples.skipped]
    return [rows[i] for i in range(len(examples))] + found


def to_csv(rows: Sequence[Prediction], task: Task) -> str:
    """Return a table: path, prediction, and ``p_CLASS`` for each class.

    Several values of a regression are ``prediction_NAME`` each, or ``prediction_0``, … where they have no names.
    Sets are a column ``set`` of labels that are joined by commas, intervals ``low`` and ``high``, or such a pair for
    each value; outlier scores are ``outlier_score``. An unreadable example has empty cells. Names that a spreadsheet
    would run as a formula get an apostrophe in front.
    """
    several = not task.classes and task.width > 1
    names = task.target_names or range(task.width)
    values = [f"prediction_{name}" for name in names] if several else ["prediction"]
    pairs = ["low", "high"] if not several else [f"{end}_{name}" for name in names for end in ("low", "high")]
    sets = [] if all(row.prediction_set is None for row in rows) else ["set"] if task.classes else pairs
    scores = [] if all(row.outlier_score is None for row in rows) else ["outlier_score"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", *values, *(f"p_{label}" for label in task.classes), *sets, *scores])
    for row in rows:
        if row.error:
            cells: Sequence[Any] = [""] * (len(values) + len(task.classes) + len(sets) + len(scores))
        else:
            joined = ",".join(map(str, row.prediction)) if isinstance(row.prediction, list) else row.prediction
            held = row.prediction_set or []
            ends = [end for one in held for end in (one if isinstance(one, list) else [one])]
            cells = [
                *(row.prediction if several else [joined]),
                *(row.probabilities or {}).values(),
                *([",".join(map(str, held))] if task.classes else ends)[: len(sets)],
                *([row.outlier_score] if scores else []),
            ]
        writer.writerow(map(cell, [row.path, *cells]))
    return text.getvalue()


def _finite(value: Any) -> Any:
    """Return a value, or a list of them, with None in place of numbers that JSON does not have."""
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _digits(value: float) -> str:
    """Return a value with six digits, or with as many as four decimal places take: large values differ by little."""
    if not math.isfinite(value):
        return str(value)
    whole = math.floor(math.log10(abs(value))) + 1 if value else 0
    return f"{value:.{min(max(6, whole + 4), 17)}g}"
