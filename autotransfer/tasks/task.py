"""The task: its kind, classes, targets as arrays, and metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, get_args

import numpy as np

from autotransfer.errors import ConfigError, DataError, UnknownNameError
from autotransfer.tasks import metrics
from autotransfer.tasks.class_weights import balanced_class_weights, class_weights_from
from autotransfer.tasks.log_loss import log_loss
from autotransfer.tasks.metrics import Metric, ScorerInput
from autotransfer.tasks.positive_class import uses_positive_class
from autotransfer.tasks.saved_task import is_saved_task
from autotransfer.tasks.targets import (
    Kind,
    Labels,
    are_indicators,
    check_no_missing_targets,
    check_not_constant,
    counted,
    find_classes,
    flat,
    infer_kind,
    is_collection,
    to_float_targets,
)

__all__ = ["Kind", "Task", "infer_task"]

# Ratio of the largest to the smallest class above which the default metric is the balanced accuracy.
_MAX_CLASS_RATIO_FOR_ACCURACY = 3.0
# Most outputs, examples times classes, with which a metric is tried; 80 MB as float64.
_MAX_OUTPUTS_TO_CHECK_METRIC = 10_000_000


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task: its kind, its classes or regression targets, and its metric.

    Attributes:
        kind: Kind of task.
        classes: Labels in the order of the outputs; empty for regression.
        metric: Name of the metric; greater is better.
        width: Number of regression targets.
        positive_class: The positive one of two classes; None where the metric needs none and the user gave none.
        target_names: Names of several regression targets; empty where their columns have none.
        thresholds: For each output the probability above which a label is predicted, of two classes the second one;
            empty for the most probable class, and for labels more probable than not.
        scorer: A metric that the user gave as an object; JSON holds its name only.
    """

    kind: Kind
    classes: tuple[Any, ...] = ()
    metric: str = "accuracy"
    width: int = 1
    positive_class: Any = None
    target_names: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = ()
    scorer: Metric | None = field(default=None, compare=False, repr=False)

    @property
    def outputs(self) -> int:
        """Number of outputs of a head."""
        return len(self.classes) or self.width

    @property
    def single_label(self) -> bool:
        """Whether each example has exactly one class."""
        return self.kind in ("binary", "multiclass")

    @property
    def dtype(self) -> type[np.floating[Any]]:
        """Type of predictions: float32 for probabilities, float64 for values of a regression."""
        return np.float64 if self.kind == "regression" else np.float32

    def encode(self, targets: Sequence[Any] | np.ndarray) -> np.ndarray:
        """Turn targets into an array; labels may be spelled differently from the classes (see ``Labels``).

        Returns:
            int64 (N,) class indices; float32 (N, classes) indicators for multilabel; float64 (N, width) for regression.

        Raises:
            DataError: A label is no class of the task, or a value is no finite number.
        """
        if self.kind == "regression":
            return to_float_targets(targets, self.width)
        position = self._positions()
        if self.single_label:
            return np.array([position(target) for target in flat(targets)], dtype=np.int64)
        if wrong := [target for target in targets if not is_collection(target)]:
            raise DataError(f"Multilabel targets are lists of labels or rows of 0 and 1; got {wrong[0]!r}.")
        if are_indicators(targets, len(self.classes)):
            return np.array([list(row) for row in targets], dtype=np.float32)
        encoded = np.zeros((len(targets), len(self.classes)), dtype=np.float32)
        for row, labels in zip(encoded, targets, strict=True):
            row[[position(label) for label in labels]] = 1
        return encoded

    def _positions(self) -> Callable[[Any], int]:
        labels, known = Labels(self.classes), list(self.classes)[:20]

        def position(label: Any) -> int:
            if (found := labels.find(label)) is None:
                raise DataError(f"Unknown label {label!r}; the classes are {known}.")
            return found

        return position

    def predict(self, predictions: np.ndarray) -> np.ndarray:
        """Turn probabilities (N, classes), or regression values (N, width), into predictions.

        Returns:
            Labels (N,); an object array of label tuples for multilabel; float64 (N,) or (N, width) for regression.
        """
        if self.kind == "regression":
            return predictions[:, 0] if self.width == 1 else predictions
        labels, decided = np.empty(len(self.classes), dtype=object), self.decide(predictions)
        labels[:] = self.classes
        if self.single_label:
            chosen = labels[decided]
            kinds = {type(label) for label in self.classes}
            return np.array(chosen.tolist()) if len(kinds) == 1 else chosen
        rows = np.empty(len(predictions), dtype=object)
        rows[:] = [tuple(labels[row]) for row in decided]
        return rows

    def decide(self, predictions: np.ndarray) -> np.ndarray:
        """Turn probabilities (N, classes) into decisions, by the thresholds where there are any.

        Returns:
            The position (N,) of the predicted class; truth values (N, classes) for multilabel.
        """
        return metrics.decide(self.kind, predictions, self.thresholds)

    @property
    def perfect_score(self) -> float:
        """The score of perfect predictions: 0 for negated losses, 1 for most other metrics."""
        if self.scorer is not None:
            return _perfect_score(self, self.scorer)
        if self.metric in metrics.UNBOUNDED:
            return math.inf
        return 0.0 if self.metric.startswith("neg_") else 1.0

    @property
    def metric_label(self) -> str:
        """The metric with its positive class, if any: ``recall of 'defect'``."""
        return f"{self.metric} of {self.positive_class!r}" if self.uses_positive_class else self.metric

    @property
    def uses_positive_class(self) -> bool:
        """Whether the metric depends on the choice of the positive class."""
        return self.kind == "binary" and uses_positive_class(self.metric, self.scorer, self.classes)

    def score(
        self,
        encoded: np.ndarray,
        predictions: np.ndarray,
        metric: str | None = None,
        *,
        weights: np.ndarray | None = None,
    ) -> float:
        """Score predictions against targets.

        Args:
            encoded: Targets (N, ...), as ``encode`` returns them.
            predictions: Probabilities (N, classes), or values (N, width).
            metric: Name of a scikit-learn scorer; None takes the metric of the task.
            weights: Weight (N,) of each example; None weights all examples equally.

        Returns:
            The score, greater is better; NaN where the metric is not defined on these examples.

        Raises:
            ConfigError: The metric was given as an object, and the task was read from a file.
        """
        try:
            return self._score(encoded, predictions, metric, weights)
        except ValueError as error:  # for example the area under the curve of examples that lack a class
            if isinstance(error, ConfigError):
                raise
            return math.nan

    def _score(
        self,
        encoded: np.ndarray,
        predictions: np.ndarray,
        metric: str | None = None,
        weights: np.ndarray | None = None,
    ) -> float:
        positive = None if self.positive_class is None else self.classes.index(self.positive_class)
        outcome = ScorerInput(
            kind=self.kind,
            classes=self.classes,
            positive=positive,
            truth=encoded,
            outputs=predictions,
            weights=weights,
            thresholds=self.thresholds,
        )
        if self.scorer is not None and metric in (None, self.metric):
            return self.scorer(outcome)
        return metrics.score(metric or self.metric, outcome)

    def perfect_outputs(self, encoded: np.ndarray) -> np.ndarray:
        """Return the predictions (N, outputs) that equal the targets."""
        if self.single_label:
            return np.asarray(np.eye(len(self.classes), dtype=np.float32)[encoded])
        return encoded

    def log_loss(self, encoded: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> float:
        """Return the mean log loss of probabilities (N, classes), by weights (N,) if any; 0 for a regression."""
        if self.kind == "regression":
            return 0.0
        return log_loss(encoded, predictions, weights, single_label=self.single_label)

    def class_weights(self, encoded: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Return class weights (classes,), inverse to the class frequency, with a mean of 1 over the examples.

        Args:
            encoded: Targets (N, ...).
            weights: Weight (N,) of each example; None counts each example once.
        """
        if self.single_label:
            counts = np.bincount(encoded, weights, minlength=len(self.classes)).astype(np.float32)
        else:
            counts = encoded.sum(0) if weights is None else weights @ encoded
        return balanced_class_weights(counts)

    def class_weights_from(self, given: Mapping[Any, float]) -> np.ndarray:
        """Return class weights (classes,) from a dictionary; a class that it lacks has the weight 1.

        Raises:
            ConfigError: A key is no class of this task.
        """
        return class_weights_from(self.classes, given)

    def to_json(self) -> dict[str, Any]:
        """Return the task as JSON; a metric that the user gave as an object is its name."""
        return {
            "kind": self.kind,
            "classes": list(self.classes),
            "metric": self.metric,
            "width": self.width,
            "positive_class": self.positive_class,
            "target_names": list(self.target_names),
            "thresholds": list(self.thresholds),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Task:
        """Read what ``to_json`` wrote.

        Raises:
            ConfigError: A key is missing, or a value is not allowed.
        """
        if not is_saved_task(data):
            raise ConfigError(f"The task {dict(data)!r:.200} is none: it has a kind, classes, a metric and a width.")
        return cls(
            kind=data["kind"],
            metric=data["metric"],
            width=data["width"],
            classes=tuple(data["classes"]),
            positive_class=data.get("positive_class"),
            target_names=tuple(data.get("target_names", ())),
            thresholds=tuple(data.get("thresholds", ())),
        )


def infer_task(
    targets: Sequence[Any] | np.ndarray,
    kind: Kind | None = None,
    metric: Any = None,
    *,
    positive_class: Any = None,
    names: Sequence[str] = (),
    weighted: bool = False,
) -> Task:
    """Infer the task from the targets.

    Text and whole numbers are classes. Floats that are not whole numbers are a regression. Collections of labels and
    0/1 matrices are multilabel. Rows of other floats are a regression with several targets. ``kind`` overrides this.

    Args:
        targets: One target for each example.
        kind: Kind of task; None infers it.
        metric: Name of a scikit-learn scorer, or a scorer; None takes the default of the kind.
        positive_class: The positive one of two classes. None takes the rarer class where the metric needs one, and the
            class that is sorted last, as scikit-learn does, where both are equally frequent.
        names: Names of the columns of several targets.
        weighted: Whether the examples have weights, which the metric has to take.

    Raises:
        DataError: Targets are missing, hold one class or value only, or do not fit the kind.
        ConfigError: The kind or the metric is unknown, or the positive class is no class.
    """
    if kind is not None and kind not in get_args(Kind):
        raise UnknownNameError("kind of task", kind, get_args(Kind))
    if len(targets) == 0:
        raise DataError("There are no targets.")
    if kind != "multilabel":
        targets = flat(targets)
    check_no_missing_targets(targets)
    kind = kind or infer_kind(targets)
    name, scorer = (None, None) if metric is None else metrics.find_metric(metric)
    if kind == "regression":
        values = to_float_targets(targets)
        check_not_constant(values, names)
        named = tuple(names) if len(names) == values.shape[1] > 1 else ()
        task = Task(kind=kind, width=values.shape[1], target_names=named)
    else:
        classes = find_classes(targets, kind, names)
        if kind != "multilabel":
            kind = "binary" if len(classes) == 2 else "multiclass"
        task = Task(kind=kind, classes=classes)
    task = replace(task, metric=name or _default_metric(targets, kind), scorer=scorer)
    task = replace(task, positive_class=_positive_class(task, targets, positive_class))
    _check_metric(task, targets, weighted=weighted)
    return task


def _default_metric(targets: Sequence[Any] | np.ndarray, kind: Kind) -> str:
    if kind == "regression":
        return "r2"
    if kind == "multilabel":
        return "f1_macro"
    counts = counted(targets).values()
    return "balanced_accuracy" if max(counts) > _MAX_CLASS_RATIO_FOR_ACCURACY * min(counts) else "accuracy"


def _positive_class(task: Task, targets: Sequence[Any] | np.ndarray, given: Any) -> Any:
    """Return the given positive class, else the rarer class where the metric needs a positive class."""
    fixed = metrics.scorer_positive_class(task.scorer)
    if given is None and fixed is not None and task.kind == "binary":
        given = fixed
    if given is None:
        if not task.uses_positive_class:
            return None
        counts = counted(targets)
        first, last = task.classes
        return first if counts[first] < counts[last] else last
    if task.kind != "binary":
        raise ConfigError(f"A positive class is one of two classes, and this is a {task.kind} task; got {given!r}.")
    if (position := Labels(task.classes).find(given)) is None:
        raise ConfigError(f"The positive class {given!r} is no class; the classes are {list(task.classes)}.")
    positive = task.classes[position]
    if fixed is not None and Labels(task.classes).find(fixed) != position:
        raise ConfigError(f"The metric takes {fixed!r} for the positive class; positive_class says {positive!r}.")
    return positive


@lru_cache(maxsize=16)
def _perfect_score(task: Task, scorer: Metric) -> float:
    """Return the score of perfect predictions for two examples of each class, or a few values."""
    count = 2 * task.outputs
    encoded: np.ndarray
    if task.single_label:
        encoded = np.arange(count) % task.outputs
    elif task.kind == "multilabel":
        encoded = np.concatenate([np.eye(task.outputs), 1 - np.eye(task.outputs)]).astype(np.float32)
    else:
        encoded = np.linspace(1.0, 2.0, 2 * count).reshape(-1, task.width)
    try:
        found = replace(task, scorer=scorer).score(encoded, task.perfect_outputs(encoded))
    except Exception:
        return 1.0
    return found if math.isfinite(found) else 1.0


def _check_metric(task: Task, targets: Sequence[Any] | np.ndarray, *, weighted: bool) -> None:
    """Score perfect predictions, so that an unsuitable metric is refused before any training."""
    for_regression = metrics.scores_regression(task.metric, task.scorer)
    if for_regression is not None and for_regression != (task.kind == "regression"):
        # Some of these metrics accept the targets: class indices as values, or whole numbers as classes.
        what = "values" if for_regression else "classes"
        raise metrics.unsuitable_metric(task.metric, task.scorer, task.kind, f"it scores {what}.")
    encoded = task.encode(targets)
    if (
        task.single_label and encoded.size * len(task.classes) > _MAX_OUTPUTS_TO_CHECK_METRIC
    ):  # one example of each class is enough
        encoded = encoded[np.unique(encoded, return_index=True)[1]]
    try:
        value = task._score(encoded, task.perfect_outputs(encoded))
    except (ValueError, TypeError, AttributeError) as error:
        raise metrics.unsuitable_metric(task.metric, task.scorer, task.kind, error) from None
    if not math.isfinite(value):
        raise ConfigError(f"The metric {task.metric!r} is not defined for a {task.kind} task with these targets.")
    if weighted:
        metrics.refuse_weights(task.metric, task.scorer)
        if math.isnan(task.score(encoded, task.perfect_outputs(encoded), weights=np.ones(len(encoded)))):
            raise ConfigError(
                f"The metric {task.metric!r} takes no sample weights for a {task.kind} task: leave them out."
            )
