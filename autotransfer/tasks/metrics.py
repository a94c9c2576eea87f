"""Metrics: scikit-learn's scorers by name, and scorers that the user gives as objects."""

from __future__ import annotations

import math
import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from inspect import Parameter, signature
from typing import Any

import numpy as np

from autotransfer.errors import ConfigError
from autotransfer.tasks.metric_names import unknown_metric
from autotransfer.tasks.targets import Kind

__all__ = [
    "UNBOUNDED",
    "Metric",
    "ScorerInput",
    "decide",
    "find_metric",
    "refuse_weights",
    "scorer_positive_class",
    "score",
    "scores_regression",
    "takes_weights",
    "unsuitable_metric",
]

UNBOUNDED = frozenset({"positive_likelihood_ratio", "mutual_info_score"})
"""Scorers whose values can exceed 1."""
# scikit-learn's functions whose names end so are losses: smaller values are better.
_LOSS_SUFFIXES = ("_error", "_loss", "_deviance")


@dataclass(frozen=True, kw_only=True)
class ScorerInput:
    """Targets and predictions, with the properties of the task that a scorer needs.

    Attributes:
        kind: Kind of task.
        classes: Labels in the order of the outputs; empty for regression.
        positive: Position of the positive class in a binary task; None leaves the choice to the scorer.
        truth: Encoded targets (N, ...).
        outputs: Probabilities (N, classes), or values (N, width).
        weights: Weight (N,) of each example; None weights all examples equally.
        thresholds: As in ``Task``.
    """

    kind: Kind
    classes: tuple[Any, ...]
    positive: int | None = None
    truth: np.ndarray
    outputs: np.ndarray
    weights: np.ndarray | None = None
    thresholds: tuple[float, ...] = ()

    @property
    def single_label(self) -> bool:
        """Whether each example has exactly one class."""
        return self.kind in ("binary", "multiclass")


@dataclass(frozen=True, eq=False)
class Metric:
    """A scorer that the user gave as an object.

    Pickling stores the scorer by value, so that workers get a scorer that a script or a notebook defines.

    Attributes:
        name: Name of the metric in results.
        scorer: Called as ``scorer(estimator, X, y)``; greater is better.
    """

    name: str
    scorer: Callable[..., Any]

    def __reduce__(self) -> tuple[Any, ...]:
        import cloudpickle  # type: ignore[import-untyped]

        return _unpickle_metric, (self.name, cloudpickle.dumps(self.scorer))

    def __call__(self, inputs: ScorerInput) -> float:
        """Call the scorer with the labels of the user.

        Returns:
            The score; NaN where the scorer returns no finite number.

        Raises:
            TypeError: The scorer returns something else than a number.
        """
        scorer, labels = self.scorer, np.array(inputs.classes)
        if inputs.single_label:
            more: dict[str, Any] = {"labels": labels} if _takes_labels(scorer) else {}
            if _needs_positive_class(scorer):
                positive = len(labels) - 1 if inputs.positive is None else inputs.positive
                more["pos_label"] = inputs.classes[positive] if inputs.kind == "binary" else None
            truth, scorer = labels[inputs.truth], _with(scorer, more) if more else scorer
        else:
            truth = _scorer_targets(inputs)
        return _call_scorer(scorer, inputs, truth)


def _unpickle_metric(name: str, scorer: bytes) -> Metric:
    return Metric(name, pickle.loads(scorer))  # from the process that started this one


def find_metric(metric: Any) -> tuple[str, Metric | None]:
    """Return the name of a metric, and the metric itself where scikit-learn has no scorer of this name.

    Args:
        metric: The name of a scikit-learn scorer; a scorer; a callable ``(estimator, X, y)`` whose greater values are
            better; or one of scikit-learn's functions of ``(y_true, y_pred)``.

    Raises:
        UnknownNameError: No scorer has this name.
        ConfigError: ``metric`` is neither a name nor a callable.
    """
    from sklearn.metrics import get_scorer, get_scorer_names

    if isinstance(metric, str):
        if metric not in get_scorer_names():
            raise unknown_metric(metric, get_scorer_names())
        return metric, None
    if not callable(metric):
        raise ConfigError(f"A metric is the name of a scikit-learn scorer, or a scorer; got {metric!r:.80}.")
    scorer = _as_scorer(metric)
    for name in get_scorer_names():
        if _is_scorer(scorer) and _scorer_identity(get_scorer(name)) == _scorer_identity(scorer):
            return name, None
    name = _name_of(scorer)
    return (f"custom {name}" if name in get_scorer_names() else name), Metric(name, scorer)


def score(metric: str, inputs: ScorerInput) -> float:
    """Score with a scikit-learn scorer.

    Raises:
        ValueError: The metric is not defined on these examples.
        ConfigError: No scorer has this name.
    """
    from sklearn.metrics import get_scorer_names

    if metric not in get_scorer_names():
        raise ConfigError(
            f"The metric {metric!r} was given as an object, which no file holds: give it again, or another one."
        )
    truth, outputs, thresholds = _scorer_targets(inputs), inputs.outputs, inputs.thresholds
    if inputs.kind == "binary" and inputs.positive == 0:  # for scikit-learn, the positive class is 1
        truth, outputs, thresholds = 1 - truth, outputs[:, ::-1], thresholds[::-1]
    classes = tuple(range(len(inputs.classes)))
    encoded = replace(inputs, classes=classes, positive=None, truth=truth, outputs=outputs, thresholds=thresholds)
    scorer = _named(metric, len(classes) if inputs.single_label else 0)
    return _call_scorer(scorer, encoded, truth)


def decide(kind: Kind, outputs: np.ndarray, thresholds: tuple[float, ...] = ()) -> np.ndarray:
    """Turn probabilities (N, classes) into positions (N,) of classes, or truth values (N, classes) for multilabel.

    Args:
        kind: A kind of classification.
        outputs: The probabilities.
        thresholds: As in ``Task``.
    """
    if kind == "multilabel":
        return np.asarray(outputs > (np.array(thresholds) if thresholds else 0.5))
    if thresholds:
        return (outputs[:, 1].astype(np.float64) > thresholds[1]).astype(np.int64)
    return np.asarray(outputs.argmax(1))


def scores_regression(metric: str, given: Metric | None) -> bool | None:
    """Whether a metric is one of regression; None for metrics that scikit-learn does not define."""
    from sklearn.metrics import get_scorer

    scorer = get_scorer(metric) if given is None else given.scorer
    module = getattr(getattr(scorer, "_score_func", None), "__module__", "") or ""
    return module.endswith("_regression") if module.startswith("sklearn.metrics") else None


def takes_weights(metric: str, given: Metric | None) -> bool:
    """Whether a metric takes a weight for each example."""
    from sklearn.metrics import get_scorer

    scorer: Any = get_scorer(metric) if given is None else given.scorer
    return "sample_weight" in _parameters(scorer._score_func if _is_scorer(scorer) else scorer)


def refuse_weights(metric: str, given: Metric | None) -> None:
    """Refuse a metric that takes no weights of examples.

    Raises:
        ConfigError: That is so.
    """
    if not takes_weights(metric, given):
        raise ConfigError(f"The metric {metric!r} takes no sample weights: leave them out, or choose another metric.")


def unsuitable_metric(metric: str, given: Metric | None, kind: Kind, reason: object) -> ConfigError:
    """Return the error for a metric that does not suit a kind of task; it suggests averaged variants of the metric."""
    from sklearn.metrics import get_scorer_names

    variants = [name for end in ("macro", "weighted", "micro", "samples", "ovr", "ovo") if (name := f"{metric}_{end}")]
    known = [
        name for name in variants if name in get_scorer_names() and (kind == "multilabel") >= name.endswith("samples")
    ]
    if given is None and known and kind in ("multiclass", "multilabel"):
        what = "several classes" if kind == "multiclass" else "several labels"
        return ConfigError(
            f"The metric {metric!r} is for two classes, and this is a {kind} task: for {what} take {_or(known)}."
        )
    return ConfigError(f"The metric {metric!r} does not suit a {kind} task: {reason}")


def _or(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _as_scorer(metric: Callable[..., Any]) -> Callable[..., Any]:
    """Return a scorer; one of scikit-learn's functions of truth and predictions is made into a scorer.

    Raises:
        ConfigError: Another function takes truth and predictions, so that the direction of the metric is unknown.
    """
    from sklearn.metrics import get_scorer, get_scorer_names, make_scorer

    if _is_scorer(metric):
        return metric
    name, parameters = getattr(metric, "__name__", ""), _parameters(metric)
    required = [p for p in parameters.values() if p.default is Parameter.empty and p.kind != Parameter.VAR_KEYWORD]
    function = next(iter(parameters), "") in ("y_true", "labels_true", "y_score") or len(required) == 2
    if not function:
        return metric
    if not (getattr(metric, "__module__", None) or "").startswith("sklearn.metrics"):
        raise ConfigError(
            f"The metric {name!r} takes truth and predictions; whether greater values are better, it does not say: "
            f"give sklearn.metrics.make_scorer({name}, greater_is_better=...), or a callable (estimator, X, y)."
        )
    for known in map(get_scorer, get_scorer_names()):
        if known._score_func is metric and set(known._kwargs) <= {"average"} and _has_default_kwargs(known):
            return known  # type: ignore[no-any-return]
    return make_scorer(metric, greater_is_better=not name.endswith(_LOSS_SUFFIXES))  # type: ignore[no-any-return]


def _has_default_kwargs(scorer: Any) -> bool:
    """Whether the settings of a scorer are the defaults of its function."""
    return all(_parameters(scorer._score_func)[key].default == value for key, value in scorer._kwargs.items())


def _parameters(function: Callable[..., Any]) -> Mapping[str, Parameter]:
    try:
        return signature(function).parameters
    except (TypeError, ValueError):  # built in C
        return {}


def _is_scorer(metric: Any) -> bool:
    return hasattr(metric, "_score_func") and hasattr(metric, "_kwargs") and hasattr(metric, "_response_method")


def _scorer_identity(scorer: Any) -> tuple[Any, ...]:
    """Return the identity of a scorer: function, sign, response method, and settings that differ from the defaults."""
    settings = {key: value for key, value in scorer._kwargs.items() if (key, value) != ("pos_label", None)}
    response = scorer._response_method
    methods = (response,) if isinstance(response, str) else tuple(response)
    return scorer._score_func, scorer._sign, methods, _non_default(scorer._score_func, settings)


def _non_default(function: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that differ from the defaults of a function."""
    known = _parameters(function)
    return {key: v for key, v in settings.items() if not (key in known and _equal(known[key].default, v))}


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except ValueError:  # arrays
        return False


def _name_of(scorer: Any) -> str:
    """Return a name such as ``fbeta_score(beta=2)``; losses start with ``neg_``."""
    if not _is_scorer(scorer):
        return str(getattr(scorer, "__name__", type(scorer).__name__))
    function = scorer._score_func
    name = getattr(function, "__name__", type(function).__name__)
    settings = ", ".join(f"{key}={value!r}" for key, value in scorer._kwargs.items())
    return ("neg_" if scorer._sign < 0 else "") + name + (f"({settings})" if settings else "")


def _takes_labels(scorer: Any) -> bool:
    """Whether a scorer of probabilities takes ``labels``, which lists classes that the examples may lack.

    Scorers of predicted classes are excluded: with them, ``labels`` selects the classes that count.
    """
    if not _is_scorer(scorer) or scorer._response_method == "predict" or "labels" in scorer._kwargs:
        return False
    return "labels" in _parameters(scorer._score_func)


def _needs_positive_class(scorer: Any) -> bool:
    """Whether a scorer takes a positive class that the user has not set."""
    return _is_scorer(scorer) and "pos_label" not in scorer._kwargs and "pos_label" in _parameters(scorer._score_func)


def scorer_positive_class(given: Metric | None) -> Any:
    """Return the positive class that a scorer was made with; None without one."""
    return getattr(given.scorer, "_kwargs", {}).get("pos_label") if given is not None else None


def _with(scorer: Any, settings: Mapping[str, Any]) -> Any:
    from sklearn.metrics import make_scorer

    greater = scorer._sign > 0
    response = scorer._response_method
    return make_scorer(
        scorer._score_func, response_method=response, greater_is_better=greater, **scorer._kwargs, **settings
    )


@lru_cache(maxsize=64)
def _named(metric: str, classes: int) -> Any:
    """Return a scorer by name, with the list of all classes where the scorer takes one."""
    from sklearn.metrics import get_scorer

    scorer = get_scorer(metric)
    return _with(scorer, {"labels": list(range(classes))}) if classes and _takes_labels(scorer) else scorer


def _call_scorer(scorer: Callable[..., Any], inputs: ScorerInput, truth: np.ndarray) -> float:
    estimator = _fixed_estimator(inputs.kind, inputs.classes, inputs.outputs.shape[1], inputs.thresholds)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", UserWarning)  # on classes that the examples lack
        weighted = {} if inputs.weights is None else {"sample_weight": inputs.weights}
        found = scorer(estimator, inputs.outputs, truth, **weighted)
    if isinstance(found, (str, bytes)) or np.ndim(found):
        raise TypeError(f"a metric returns one number; it returned {found!r:.80}")
    value = float(found)
    return value if not math.isinf(value) else math.nan


def _scorer_targets(inputs: ScorerInput) -> np.ndarray:
    if inputs.kind == "regression" and inputs.truth.shape[1] == 1:
        return inputs.truth.ravel()
    return inputs.truth.astype(int) if inputs.kind == "multilabel" else inputs.truth


@lru_cache(maxsize=16)  # defining a class takes longer than scoring an epoch
def _fixed_estimator(kind: Kind, classes: tuple[Any, ...], width: int, thresholds: tuple[float, ...]) -> Any:
    """Return an estimator that takes outputs as its ``X``: scikit-learn's scorers call an estimator."""
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

    single = kind in ("binary", "multiclass")

    class Regression(RegressorMixin, BaseEstimator):  # type: ignore[misc]
        def __sklearn_is_fitted__(self) -> bool:
            return True

        def predict(self, outputs: np.ndarray) -> np.ndarray:
            return outputs[:, 0] if width == 1 else outputs

    class Classification(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        # scikit-learn's multilabel estimators have an array of classes for each label.
        classes_ = np.array(classes) if single else [np.arange(2) for _ in classes]

        def __sklearn_is_fitted__(self) -> bool:
            return True

        def predict(self, outputs: np.ndarray) -> np.ndarray:
            decided = decide(kind, outputs, thresholds)
            return self.classes_[decided] if single else decided.astype(int)

        def predict_proba(self, outputs: np.ndarray) -> np.ndarray:
            return outputs.astype(np.float64) / outputs.sum(1, keepdims=True) if single else outputs

    return Regression() if kind == "regression" else Classification()
