"""Metrics of decisions as functions of counts, for every threshold at once: a scorer takes a millisecond for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotransfer.tasks.task import Task

__all__ = ["Counts", "DecisionMetric"]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Right and wrong decisions, arrays of one shape; they need not be whole numbers.

    Attributes:
        tp: True positives.
        fp: False positives.
        fn: False negatives.
        tn: True negatives.
    """

    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    tn: np.ndarray

    @classmethod
    def of(
        cls, truth: np.ndarray, probabilities: np.ndarray, cuts: np.ndarray, weights: np.ndarray | None = None
    ) -> Counts:
        """Count decisions by each of several thresholds (K,), for one label.

        Args:
            truth: Truth (n,), or the belief in it from 0 to 1.
            probabilities: Probabilities (n,) of the label.
            cuts: The thresholds.
            weights: What each example counts (n,); None counts all alike.
        """
        weights = np.ones(len(truth)) if weights is None else weights
        order = np.argsort(probabilities, kind="stable")
        below = np.searchsorted(probabilities[order], cuts, side="right")
        true, false = (
            np.concatenate([[0.0], np.cumsum((weights * part)[order], dtype=np.float64)]) for part in (truth, 1 - truth)
        )
        fn, tn = true[below], false[below]
        return cls(tp=true[-1] - fn, fp=false[-1] - tn, fn=fn, tn=tn)

    @property
    def swapped(self) -> Counts:
        """The counts with positives and negatives in each other's place."""
        return Counts(tp=self.tn, fp=self.fn, fn=self.fp, tn=self.tp)


Function = Callable[[Counts], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class DecisionMetric:
    """A metric that thresholds improve.

    Attributes:
        function: Its value for one label, from counts.
        average: How scikit-learn averages it over labels: ``"binary"``, ``"macro"``, ``"micro"``, ``"weighted"`` or
            ``"samples"``.
    """

    function: Function
    average: str

    @classmethod
    def of(cls, task: Task) -> DecisionMetric | None:
        """Return the metric of a task; None where it is another one, or an example has one of many classes."""
        from sklearn.metrics import get_scorer

        if task.kind not in ("binary", "multilabel"):
            return None
        scorer = get_scorer(task.metric) if task.scorer is None else task.scorer.scorer
        settings: Mapping[str, Any] = getattr(scorer, "_kwargs", {})
        name = getattr(getattr(scorer, "_score_func", None), "__name__", "")
        make, average = _FUNCTIONS.get(name), settings.get("average", "binary")
        if make is None or getattr(scorer, "_sign", 0) < 0 or "sample_weight" in settings:
            return None
        if task.kind == "binary" and average in ("micro", "samples"):  # the accuracy
            return None
        return cls(function=make(settings), average=average or "macro")

    def values(self, counts: Counts) -> np.ndarray:
        """Return the value of the metric in a task of two classes, for each of several counts."""
        if self.average == "binary":
            return self.function(counts)
        positive, negative = self.function(counts), self.function(counts.swapped)
        share = (counts.tp + counts.fn) / (counts.tp + counts.fn + counts.fp + counts.tn)
        share = np.full_like(share, 0.5) if self.average == "macro" else share
        return np.asarray(share * positive + (1 - share) * negative)


def _f_beta(settings: Mapping[str, Any]) -> Function:
    squared = float(settings.get("beta", 1.0)) ** 2

    def f_beta(counts: Counts) -> np.ndarray:
        return _ratio((1 + squared) * counts.tp, (1 + squared) * counts.tp + squared * counts.fn + counts.fp)

    return f_beta


def _jaccard(settings: Mapping[str, Any]) -> Function:
    return lambda counts: _ratio(counts.tp, counts.tp + counts.fp + counts.fn)


def _balanced_accuracy(settings: Mapping[str, Any]) -> Function:
    def mean_recall(counts: Counts) -> np.ndarray:
        recalls = _ratio(counts.tp, counts.tp + counts.fn), _ratio(counts.tn, counts.tn + counts.fp)
        return np.asarray((recalls[0] + recalls[1]) / 2)

    return mean_recall


def _matthews(settings: Mapping[str, Any]) -> Function:
    def matthews(counts: Counts) -> np.ndarray:
        tp, fp, fn, tn = counts.tp, counts.fp, counts.fn, counts.tn
        return _ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))

    return matthews


def _kappa(settings: Mapping[str, Any]) -> Function:
    def kappa(counts: Counts) -> np.ndarray:
        tp, fp, fn, tn = counts.tp, counts.fp, counts.fn, counts.tn
        return _ratio(2 * (tp * tn - fn * fp), (tp + fp) * (fp + tn) + (tp + fn) * (fn + tn))

    return kappa


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divide; 0 where there is nothing to divide by, as scikit-learn has it."""
    return np.asarray(np.divide(above, below, out=np.zeros_like(above, dtype=np.float64), where=below > 0))


# Makes the function of counts from the settings of a scorer, by the name of scikit-learn's function.
_FUNCTIONS: Mapping[str, Callable[[Mapping[str, Any]], Function]] = {
    "f1_score": _f_beta,
    "fbeta_score": _f_beta,
    "jaccard_score": _jaccard,
    "balanced_accuracy_score": _balanced_accuracy,
    "matthews_corrcoef": _matthews,
    "cohen_kappa_score": _kappa,
}
