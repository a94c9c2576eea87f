"""The objective of a candidate: an estimate of its score on all folds, whichever folds it was scored on."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from autotransfer.data.folds import Fold
from autotransfer.evaluation.context import EvaluationContext
from autotransfer.evaluation.objective import compute_objective
from autotransfer.tasks.bootstrap import score_slope

__all__ = ["EpochObjectives", "ObjectiveEstimator"]


class ObjectiveEstimator:
    """Estimates the objective that a candidate has, or would have, on all folds.

    A frozen candidate is scored on all folds: its objective there needs no estimate. A candidate that trains stages is
    scored on the first fold alone, which may be an easy one or a hard one. A reference says which: one closed form on
    the same backbone, frozen, is scored on all folds. To the objective on the first fold is added what the reference
    lacks there, times a slope: how far the two scores rise and fall together, found on resamples of the examples that
    both have predictions for. This is the regression estimator of two-phase sampling (Cochran 1977, chapter 12). The
    reference of a backbone is always the same, so that no objective depends on what was tried before.

    Args:
        context: The examples.
        reference: Returns the predictions (N, outputs) of a backbone's reference for all examples.
    """

    def __init__(self, context: EvaluationContext, reference: Callable[[str], np.ndarray]) -> None:
        self._context, self._reference = context, reference
        self._references: dict[str, np.ndarray] = {}

    def objective(self, backbone: str, predictions: np.ndarray) -> float:
        """Return the objective of a candidate.

        Args:
            backbone: Its backbone.
            predictions: Its predictions (N, outputs); NaN for examples that were not scored.
        """
        scored = ~np.isnan(predictions).any(1)
        rows = np.flatnonzero(scored)
        objective = self._on(rows, predictions)
        if all(scored[fold.validation_rows].all() for fold in self._context.folds):
            return objective
        if backbone not in self._references:
            self._references[backbone] = self._reference(backbone)
        return self._carried_over(objective, rows, predictions, self._references[backbone])

    def _carried_over(
        self, objective: float, rows: np.ndarray, predictions: np.ndarray, reference: np.ndarray
    ) -> float:
        """Return the objective on all folds that one on some rows corresponds to."""
        context = self._context
        whole = np.concatenate([fold.validation_rows for fold in context.folds])
        missing = self._on(whole, reference) - self._on(rows, reference)
        if not math.isfinite(missing):  # the metric is not defined on the first fold alone
            return objective
        fold = context.folds[0]
        slope = score_slope(
            context.task,
            context.targets[rows],
            predictions[rows],
            reference[rows],
            fold.group_ids_of(rows),
            fold.weights_of(rows),
        )
        return min(objective + slope * missing, max(context.task.perfect_score, objective))

    def _on(self, rows: np.ndarray, predictions: np.ndarray) -> float:
        """Return the objective of predictions (N, outputs) on some rows."""
        context, weights = self._context, self._context.folds[0].weights_of(rows)
        return compute_objective(context.task, context.targets[rows], predictions[rows], weights)


class EpochObjectives:
    """The objective after each epoch of a training on the first fold, as if the training had ended there.

    A network that trains stages is that of its best epoch. The best of many scores is too high, so the objective is not
    that of the epoch which is best on all examples: on each half of the examples, that epoch is scored which is best on
    the other half. Of a head alone, the last epoch counts.

    Args:
        context: The examples.
        estimator: Estimates objectives.
        backbone: The candidate's backbone.
        keeps_best: Whether the best epoch counts, and not the last one.

    Attributes:
        values: The objectives.
    """

    def __init__(
        self, context: EvaluationContext, estimator: ObjectiveEstimator, backbone: str, *, keeps_best: bool
    ) -> None:
        self.values: list[float] = []
        self._context, self._estimator, self._backbone = context, estimator, backbone
        self._halves = _halves(context.folds[0]) if keeps_best else ()
        self._rows = context.folds[0].validation_rows
        self._best = [(-math.inf, np.empty(0)) for _ in self._halves]  # on each half, its score and predictions
        self._predictions = np.full((len(context.targets), context.task.outputs), np.nan, dtype=context.task.dtype)

    def add(self, predictions: np.ndarray) -> float:
        """Add an epoch, and return its objective.

        Args:
            predictions: Its predictions (n, outputs) for the validation examples of the first fold.
        """
        self._predictions[self._rows] = self._crossed(predictions) if self._halves else predictions
        self.values.append(self._estimator.objective(self._backbone, self._predictions))
        return self.values[-1]

    def _crossed(self, predictions: np.ndarray) -> np.ndarray:
        """Return predictions of each half by the epoch that is best on the other half, the later one of equals."""
        crossed = np.empty_like(predictions)
        for place, (half, other) in enumerate(zip(self._halves, self._halves[::-1], strict=True)):
            score = self._context.folds[0].score(self._rows[half], predictions[half])
            if not score < self._best[place][0]:  # where the metric is not defined on a half, the last epoch counts
                self._best[place] = score, predictions
            crossed[other] = self._best[place][1][other]
        return crossed


def _halves(fold: Fold) -> tuple[np.ndarray, ...]:
    """Divide the positions of the validation rows into halves at random; a group is in one of them.

    A single group cannot be divided: there are no halves then.
    """
    group_ids = fold.group_ids_of(fold.validation_rows)
    of = np.arange(len(fold.validation_rows)) if group_ids is None else np.unique(group_ids, return_inverse=True)[1]
    order = np.random.default_rng(0).permutation(of.max(initial=-1) + 1)
    if len(order) < 2:
        return ()
    is_first = np.isin(of, order[: len(order) // 2])
    return np.flatnonzero(is_first), np.flatnonzero(~is_first)
