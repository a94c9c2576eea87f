"""The objective of a candidate, made comparable between candidates that were scored on one fold and on all folds."""

from __future__ import annotations

import math

import numpy as np

from autotransfer.evaluation.context import EvaluationContext
from autotransfer.evaluation.fold_correction import correct_for_fold
from autotransfer.evaluation.objective import compute_objective
from autotransfer.tasks.bootstrap import standard_error

__all__ = ["ObjectiveComparison"]

# Standard errors that are taken off an objective on one fold, which says less than one on all folds. Tuned on the five
# image sets of the benchmarks.
STANDARD_ERRORS_OFF = 0.5


class ObjectiveComparison:
    """Makes objectives comparable.

    A candidate that trains stages is scored on the first fold alone. The best frozen candidate of its backbone, which
    was scored on all folds, says how hard the first fold is.

    Args:
        context: The examples.
    """

    def __init__(self, context: EvaluationContext) -> None:
        self._context = context
        self._references: dict[str, tuple[float, float]] = {}  # by backbone, objectives on all folds and on the first

    def objective(self, backbone: str, predictions: np.ndarray) -> float:
        """Return the objective of a candidate, and remember it as a reference where it is one.

        Args:
            backbone: Its backbone.
            predictions: Its predictions (N, outputs); NaN for examples that were not scored.
        """
        context, folds = self._context, self._context.folds
        scored, first = ~np.isnan(predictions).any(1), folds[0].validation_rows
        rows = np.flatnonzero(scored)
        objective = self._objective(rows, predictions)
        if not all(scored[fold.validation_rows].all() for fold in folds):
            whole, known = self._references.get(backbone, (objective, objective))
            corrected = correct_for_fold(
                objective, first=known, whole=whole, examples=len(first), perfect_score=context.task.perfect_score
            )
            dependence = folds[0].group_ids_of(rows), folds[0].weights_of(rows)
            error = standard_error(context.task, context.targets[rows], predictions[rows], *dependence)
            return corrected - STANDARD_ERRORS_OFF * error
        if len(folds) > 1 and objective >= self._references.get(backbone, (-math.inf, 0.0))[0]:
            self._references[backbone] = objective, self._objective(first, predictions)
        return objective

    def _objective(self, rows: np.ndarray, predictions: np.ndarray) -> float:
        """Return the objective of predictions (N, outputs) on some rows."""
        context, weights = self._context, self._context.folds[0].weights_of(rows)
        return compute_objective(context.task, context.targets[rows], predictions[rows], weights)
