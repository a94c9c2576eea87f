"""What is predicted: the kind of task, its classes, its targets as arrays, and its metric."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np

from autotransfer.errors import ConfigError, DataError, UnknownNameError

__all__ = ["Kind", "Task", "infer_task"]

Kind = Literal["binary", "multiclass", "multilabel", "regression"]

# Above this ratio of the largest to the smallest class, plain accuracy hides the small one.
_IMBALANCED = 3.0
# More outputs than this take memory that a look at a metric is not worth.
_MANY = 10_000_000


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is predicted.

    Attributes:
        kind: Kind of task.
        classes: Labels in the order of the outputs; empty for regression.
        metric: Name of a scikit-learn scorer; greater is better.
        width: Number of regression targets.
    """

    kind: Kind
    classes: tuple[Any, ...] = ()
    metric: str = "accuracy"
    width: int = 1

    @property
    def outputs(self) -> int:
        """Number of outputs of a head."""
        return len(self.classes) or self.width

    @property
    def single_label(self) -> bool:
        """Whether each example has exactly one class."""
        return self.kind in ("binary", "multiclass")

    def encode(self, targets: Sequence[Any] | np.ndarray) -> np.ndarray:
        """Turn targets into an array.

        Returns:
            int64 (N,) class indices; float32 (N, classes) indicators for multilabel; float32 (N, width) for regression.

        Raises:
            DataError: A label that the task does not know, or a value that is no finite number.
        """
        if self.kind == "regression":
            return self._numbers(targets)
        index = {label: i for i, label in enumerate(self.classes)}

        def position(label: Any) -> int:
            try:
                return index[_plain(label)]
            except (KeyError, TypeError):
                known = list(self.classes)[:20]
                raise DataError(f"Unknown label {label!r}; the classes are {known}.") from None

        if self.single_label:
            return np.array([position(target) for target in _flat(targets)], dtype=np.int64)
        if wrong := [target for target in targets if not _is_collection(target)]:
            raise DataError(f"Multilabel targets are lists of labels or rows of 0 and 1; got {wrong[0]!r}.")
        if _are_indicators(targets, len(self.classes)):
            return np.array([list(row) for row in targets], dtype=np.float32)
        encoded = np.zeros((len(targets), len(self.classes)), dtype=np.float32)
        for row, labels in zip(encoded, targets, strict=True):
            row[[position(label) for label in labels]] = 1
        return encoded

    def _numbers(self, targets: Sequence[Any] | np.ndarray) -> np.ndarray:
        try:
            with np.errstate(over="ignore"):  # what is too large for float32 is refused below
                values = np.asarray(targets, dtype=np.float64).reshape(len(targets), self.width).astype(np.float32)
        except (TypeError, ValueError) as error:
            raise DataError(f"The targets are not {self.width} number(s) for each example: {error}.") from None
        if not np.isfinite(values).all():
            raise DataError(f"The target at position {int(np.argwhere(~np.isfinite(values))[0, 0])} is not finite.")
        return values

    def predict(self, scores: np.ndarray) -> np.ndarray:
        """Turn probabilities (N, classes), or regression values (N, width), into predictions.

        Returns:
            Labels (N,); an object array of label tuples for multilabel; float32 (N,) or (N, width) for regression.
        """
        if self.kind == "regression":
            return scores[:, 0] if self.width == 1 else scores
        labels = np.empty(len(self.classes), dtype=object)
        labels[:] = self.classes
        if self.single_label:
            chosen = labels[scores.argmax(1)]
            kinds = {type(label) for label in self.classes}
            return np.array(chosen.tolist()) if len(kinds) == 1 else chosen
        rows = np.empty(len(scores), dtype=object)
        rows[:] = [tuple(labels[row > 0.5]) for row in scores]
        return rows

    @property
    def ceiling(self) -> float:
        """The best score that the metric has: 0 for errors, which scikit-learn negates, and 1 for the others."""
        return 0.0 if self.metric.startswith("neg_") else 1.0

    def score(self, encoded: np.ndarray, scores: np.ndarray, metric: str | None = None) -> float:
        """Score outputs against targets, both as ``encode`` and a model give them, with a scikit-learn scorer.

        Returns:
            The score, greater is better; NaN where the metric is not defined on these examples.
        """
        try:
            return _score(self, encoded, scores, metric or self.metric)
        except ValueError:  # for example the log loss of examples that lack a class
            return math.nan

    def log_loss(self, encoded: np.ndarray, scores: np.ndarray) -> float:
        """Return the mean log loss of probabilities (N, classes); 0 for a regression."""
        if self.kind == "regression":
            return 0.0
        if self.single_label:
            right = scores[np.arange(len(encoded)), encoded]
        else:
            right = np.where(encoded > 0, scores, 1 - scores)
        return float(-np.log(np.clip(right, 1e-7, 1.0)).mean())

    def class_weights(self, encoded: np.ndarray) -> np.ndarray:
        """Return weights (classes,) inverse to the class frequency, of mean 1 over the examples."""
        if self.single_label:
            counts = np.bincount(encoded, minlength=len(self.classes)).astype(np.float32)
        else:
            counts = encoded.sum(0)
        return np.asarray(counts.sum() / (len(counts) * np.maximum(counts, 1)), dtype=np.float32)

    def listed_weights(self, given: Mapping[Any, float]) -> np.ndarray:
        """Return weights (classes,) from those given by class; 1 for a class that is not among them.

        Raises:
            ConfigError: A weight is given for what is no class of this task.
        """
        if unknown := [label for label in given if label not in self.classes]:
            known = list(self.classes)[:20]
            raise ConfigError(
                f"A class weight is given for {unknown[0]!r}, which is no class; the classes are {known}."
            )
        return np.array([given.get(label, 1.0) for label in self.classes], dtype=np.float32)

    def to_json(self) -> dict[str, Any]:
        """Return the task as JSON."""
        return {**asdict(self), "classes": list(self.classes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Task:
        """Read what ``to_json`` wrote.

        Raises:
            ConfigError: A key is missing, or a value is none that it can have.
        """
        values: list[Any] = [data.get(key) for key in ("kind", "classes", "metric", "width")]
        kind, classes, metric, width = values
        right = (
            kind in get_args(Kind)
            and isinstance(classes, list)
            and all(isinstance(label, (str, int, float)) for label in classes)
            and len(set(classes)) == len(classes)
            and len(classes) >= {"regression": 0, "multilabel": 1}.get(kind, 2)
            and not (classes and kind == "regression")
            and isinstance(metric, str)
            and type(width) is int
            and width > 0
        )
        if not right:
            raise ConfigError(f"The task {dict(data)!r:.200} is none: it has a kind, classes, a metric and a width.")
        return cls(kind=kind, classes=tuple(classes), metric=metric, width=width)


def infer_task(targets: Sequence[Any] | np.ndarray, kind: Kind | None = None, metric: str | None = None) -> Task:
    """Find out what is to be predicted from the targets.

    Text and integers are classes, floats that are not whole numbers are a regression, collections of labels or an
    indicator matrix are multilabel, rows of floats with other values than 0 and 1 are a regression with several
    targets. ``kind`` overrules this.

    Raises:
        DataError: Missing targets, one class only, or targets that do not fit the kind.
        ConfigError: Unknown kind or metric.
    """
    if kind is not None and kind not in get_args(Kind):
        raise UnknownNameError("kind of task", kind, get_args(Kind))
    if len(targets) == 0:
        raise DataError("There are no targets.")
    if kind != "multilabel":
        targets = _flat(targets)
    _refuse_missing(targets)
    kind = kind or _infer_kind(targets)
    classes, width = _classes_of(targets, kind)
    if kind in ("binary", "multiclass"):
        kind = "binary" if len(classes) == 2 else "multiclass"
    task = Task(kind=kind, classes=classes, width=width, metric=metric or _default_metric(targets, kind))
    _check_metric(task, targets)
    return task


def _plain(value: Any) -> Any:
    """Turn a NumPy scalar into the Python value that JSON can hold."""
    return value.item() if isinstance(value, np.generic) else value


def _flat(targets: Sequence[Any] | np.ndarray) -> Sequence[Any] | np.ndarray:
    """Turn a column (N, 1) into (N,), as scikit-learn does."""
    return targets.ravel() if isinstance(targets, np.ndarray) and targets.shape[1:] == (1,) else targets


def _is_collection(value: Any) -> bool:
    return value.ndim > 0 if isinstance(value, np.ndarray) else isinstance(value, (list, tuple, set, frozenset))


def _are_indicators(targets: Sequence[Any] | np.ndarray, classes: int) -> bool:
    """Whether all of the targets are rows of 0 and 1; one row alone could be a list of the labels 0 and 1."""
    rows = classes > 1 and all(isinstance(row, (list, tuple, np.ndarray)) and len(row) == classes for row in targets)
    return rows and all(_plain(value) in (0, 1) for row in targets for value in row)


def _refuse_missing(targets: Sequence[Any] | np.ndarray) -> None:
    def missing(value: Any) -> bool:
        if _is_collection(value):
            return any(missing(v) for v in value)
        return value is None or (isinstance(value, (float, np.floating)) and not math.isfinite(value))

    if any(_is_collection(value) for target in targets if _is_collection(target) for value in target):
        raise DataError("Each target is a label, a number or one list of these; these targets nest deeper.")
    bad = [i for i, target in enumerate(targets) if missing(target)]
    if bad:
        raise DataError(
            f"{len(bad)} of {len(targets)} targets are missing or not finite (first at position {bad[0]}): "
            "drop these rows or fill them in."
        )


def _infer_kind(targets: Sequence[Any] | np.ndarray) -> Kind:
    if any(_is_collection(target) for target in targets):
        return "regression" if _are_vectors(targets) else "multilabel"
    values = [_plain(target) for target in targets]
    if any(isinstance(v, float) and not v.is_integer() for v in values):
        return "regression"
    return "multiclass"


def _are_vectors(targets: Sequence[Any] | np.ndarray) -> bool:
    """Whether the targets are rows of one length, of numbers among which are floats, and other ones than 0 and 1."""
    if not all(isinstance(row, (list, tuple, np.ndarray)) and len(row) == len(targets[0]) for row in targets):
        return False
    values = [_plain(value) for row in targets for value in row]
    numbers = all(isinstance(value, (int, float)) for value in values)
    return numbers and any(isinstance(value, float) for value in values) and not set(values) <= {0, 1}


def _classes_of(targets: Sequence[Any] | np.ndarray, kind: Kind) -> tuple[tuple[Any, ...], int]:
    if kind == "regression":
        try:
            values = np.asarray(targets, dtype=np.float64)
        except (TypeError, ValueError):
            raise DataError(f"A regression needs numbers as targets; got {targets[0]!r}.") from None
        if not values.size:
            raise DataError("The targets hold no numbers.")
        return (), 1 if values.ndim == 1 else values.shape[1]
    several = [target for target in targets if _is_collection(target)]
    if kind == "multilabel":
        if len(several) < len(targets):
            single = next(target for target in targets if not _is_collection(target))
            raise DataError(f"Multilabel targets are lists of labels or rows of 0 and 1; got {single!r}.")
        if _are_indicators(targets, len(targets[0])):
            return tuple(range(len(targets[0]))), 1
        given = [_plain(label) for target in targets for label in target]
    else:
        if several:
            raise DataError(f"A {kind} task needs one label for each example; got {several[0]!r}.")
        given = [_plain(target) for target in targets]
    if odd := [label for label in given if not isinstance(label, (str, int, float))]:
        raise DataError(f"Labels are text or numbers; got {odd[0]!r}, a {type(odd[0]).__name__}.")
    labels = set(given)
    if len({type(label) for label in labels}) > 1 and any(isinstance(label, str) for label in labels):
        raise DataError(f"Labels mix text and numbers ({_examples(labels)}): make them all text or all numbers.")
    classes = tuple(sorted(labels))
    if len(classes) < 2:
        raise DataError(f"Only one class is there ({_examples(labels)}): a classifier needs at least two.")
    if kind == "binary" and len(classes) > 2:
        raise DataError(f"A binary task has two classes; the targets hold {len(classes)}: {_examples(labels)}.")
    return classes, 1


def _examples(labels: set[Any]) -> str:
    shown = sorted(map(repr, labels))
    return ", ".join(shown[:5]) + (", …" if len(shown) > 5 else "")


def _default_metric(targets: Sequence[Any] | np.ndarray, kind: Kind) -> str:
    if kind == "regression":
        return "r2"
    if kind == "multilabel":
        return "f1_macro"
    counts = Counter(_plain(target) for target in targets).values()
    return "balanced_accuracy" if max(counts) > _IMBALANCED * min(counts) else "accuracy"


def _check_metric(task: Task, targets: Sequence[Any] | np.ndarray) -> None:
    """Try the metric on perfect outputs, so that a wrong one is refused before any training."""
    from sklearn.metrics import get_scorer, get_scorer_names

    if task.metric not in get_scorer_names():
        raise UnknownNameError("metric", task.metric, get_scorer_names(), "Any scikit-learn scorer's name will do.")
    for_values = get_scorer(task.metric)._score_func.__module__.endswith("_regression")
    if for_values != (task.kind == "regression"):  # some would take classes for numbers, or whole numbers for classes
        what = "values" if for_values else "classes"
        raise ConfigError(f"The metric {task.metric!r} does not suit a {task.kind} task: it scores {what}.")
    perfect = encoded = task.encode(targets)
    if task.single_label:
        if encoded.size * len(task.classes) > _MANY:  # an example of each class will do
            encoded = encoded[np.unique(encoded, return_index=True)[1]]
        perfect = np.eye(len(task.classes), dtype=np.float32)[encoded]
    try:
        value = _score(task, encoded, perfect, task.metric)
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"The metric {task.metric!r} does not suit a {task.kind} task: {error}") from None
    if not math.isfinite(value):
        raise ConfigError(f"The metric {task.metric!r} is not defined for a {task.kind} task with these targets.")


def _score(task: Task, encoded: np.ndarray, scores: np.ndarray, metric: str) -> float:
    from sklearn.metrics import get_scorer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes that are missing here: the score says enough
        return float(get_scorer(metric)(_outputs_of(task), scores, _as_truth(task, encoded)))


def _as_truth(task: Task, encoded: np.ndarray) -> np.ndarray:
    if task.kind == "regression" and task.width == 1:
        return encoded.ravel()
    return encoded.astype(int) if task.kind == "multilabel" else encoded


@lru_cache(maxsize=4)  # a score is asked for after each epoch, and defining a class costs more than it
def _outputs_of(task: Task) -> Any:
    """Return an estimator whose ``X`` are outputs that were computed before: scorers ask estimators."""
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

    class Regression(RegressorMixin, BaseEstimator):  # type: ignore[misc]
        def __sklearn_is_fitted__(self) -> bool:
            return True

        def predict(self, outputs: np.ndarray) -> np.ndarray:
            return outputs[:, 0] if task.width == 1 else outputs

    class Classification(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        # As scikit-learn's multilabel estimators have it: an array for each label.
        classes_ = np.arange(len(task.classes)) if task.single_label else [np.arange(2) for _ in task.classes]

        def __sklearn_is_fitted__(self) -> bool:
            return True

        def predict(self, outputs: np.ndarray) -> np.ndarray:
            return outputs.argmax(1) if task.single_label else (outputs > 0.5).astype(int)

        def predict_proba(self, outputs: np.ndarray) -> np.ndarray:
            return outputs.astype(np.float64) / outputs.sum(1, keepdims=True) if task.single_label else outputs

    return Regression() if task.kind == "regression" else Classification()
