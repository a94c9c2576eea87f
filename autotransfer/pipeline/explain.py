"""Single examples: what the model gets wrong, and which labels are probably wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from autotransfer.analysis.cross_fit import cross_fitted_predictions
from autotransfer.analysis.example_values import ShownExamples
from autotransfer.analysis.label_errors import LabelErrors, find_label_errors, to_csv
from autotransfer.analysis.result import Analysis
from autotransfer.analysis.worst_errors import find_worst_errors
from autotransfer.pipeline.context import FitContext
from autotransfer.pipeline.search import SearchResult
from autotransfer.runtime.files import write_atomically
from autotransfer.search.budget import TimeBudget
from autotransfer.selection.result import SelectionResult

__all__ = ["explain_examples"]

# Most seconds that it takes where a search leaves more.
MAX_EXPLANATION_SECONDS = 30.0


def explain_examples(
    context: FitContext, found: SearchResult, selection: SelectionResult, analysis: Analysis
) -> Analysis:
    """Return the analysis with single examples, and write ``label_errors.csv``.

    What there is no time for is left out.
    """
    context.progress.phase("looking for errors of the model, and of labels")
    expired = _deadline(context.budget)
    shown = ShownExamples(examples=context.examples, store=found.data.store, expired=expired)
    worst = find_worst_errors(selection.out_of_fold, selection.out_of_fold_predictions, shown)
    labels = _label_errors(found, selection, shown, expired)
    with context.run.writing():
        write_atomically(context.run.label_errors, to_csv(labels))
    return replace(analysis, worst_errors=worst, label_errors=labels)


def _deadline(budget: TimeBudget) -> Callable[[], bool]:
    """Return what says whether the time for explanations has run out; without a time budget, it never has."""
    if budget.limit.seconds is None:
        return lambda: False
    ends = budget.spent + min(budget.left_for("explanations"), MAX_EXPLANATION_SECONDS)
    return lambda: budget.spent > ends


def _label_errors(
    found: SearchResult, selection: SelectionResult, shown: ShownExamples, expired: Callable[[], bool]
) -> LabelErrors:
    """Examine all examples where heads can be cross-fitted, else those that were held out."""
    evaluator, held_out = found.evaluator, selection.out_of_fold
    predictions = np.full((len(evaluator.targets), evaluator.task.outputs), np.nan, dtype=evaluator.task.dtype)
    predictions[held_out.rows] = selection.out_of_fold_predictions
    heads = cross_fitted_predictions(evaluator, selection.records, expired)
    if heads is not None:
        known = ~np.isnan(predictions).any(1)
        predictions = np.where(known[:, None], (predictions + heads) / 2, heads)
    rows = np.flatnonzero(~np.isnan(predictions).any(1))
    return find_label_errors(evaluator.task, evaluator.targets[rows], predictions[rows], rows, shown)
