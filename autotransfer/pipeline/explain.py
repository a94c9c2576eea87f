"""Single examples: what the model gets wrong, which labels are probably wrong, and where the model looks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from autotransfer.analysis.attention import Attention, Question, answer
from autotransfer.analysis.cross_fit import cross_fitted_predictions
from autotransfer.analysis.example_values import ShownExamples, true_values
from autotransfer.analysis.label_errors import LabelErrors, find_label_errors, to_csv
from autotransfer.analysis.result import Analysis
from autotransfer.analysis.worst_errors import WorstError, find_worst_errors
from autotransfer.pipeline.context import FitContext
from autotransfer.pipeline.search import SearchResult
from autotransfer.runtime.files import write_atomically
from autotransfer.search.budget import TimeBudget
from autotransfer.search.jobs import describe
from autotransfer.selection.out_of_fold import OutOfFold
from autotransfer.selection.result import SelectionResult

__all__ = ["deadline", "explain_examples"]

log = logging.getLogger("autotransfer")

# Most seconds that it takes where a search leaves more.
MAX_EXPLANATION_SECONDS = 30.0
# Seconds for pictures, words and clips of examples even where the budget is spent: a list of names says little.
MIN_PREVIEW_SECONDS = 1.0
# Errors, and examples that the model gets right, in which it is shown where the model looks.
MAX_ATTENTION_ERRORS, MAX_ATTENTION_RIGHT = 8, 4


def explain_examples(
    context: FitContext, found: SearchResult, selection: SelectionResult, analysis: Analysis
) -> Analysis:
    """Return the analysis with single examples, and write ``label_errors.csv``.

    What there is no time for is left out.
    """
    context.progress.phase("looking for errors of the model, and of labels")
    expired = deadline(context.budget)
    has_previews = context.settings.run.previews
    previews_end = deadline(context.budget, least=MIN_PREVIEW_SECONDS) if has_previews else lambda: True
    shown = ShownExamples(examples=context.examples, store=found.data.store, expired=previews_end)
    worst = find_worst_errors(
        selection.out_of_fold, selection.out_of_fold_predictions, shown, selection.decided_predictions
    )
    labels = _label_errors(found, selection, shown, expired)
    with context.run.writing():
        write_atomically(context.run.label_errors, to_csv(labels))
    attention = _attention(selection, worst, shown, context.settings.seed) if has_previews else ()
    return replace(analysis, worst_errors=worst, label_errors=labels, attention=attention)


def deadline(budget: TimeBudget, least: float = 0.0) -> Callable[[], bool]:
    """Return what says whether the time for explanations has run out; without a time budget, it never has.

    Args:
        budget: The budget.
        least: Seconds that there are in any case.
    """
    if budget.limit.seconds is None:
        return lambda: False
    ends = budget.spent + min(max(budget.left_for("explanations"), least), MAX_EXPLANATION_SECONDS)
    return lambda: budget.spent >= ends


def _label_errors(
    found: SearchResult, selection: SelectionResult, shown: ShownExamples, expired: Callable[[], bool]
) -> LabelErrors:
    """Examine all examples where heads can be cross-fitted, else those that were held out."""
    evaluator, held_out = found.evaluator, selection.out_of_fold
    predictions = np.full((len(evaluator.targets), evaluator.task.outputs), np.nan, dtype=evaluator.task.dtype)
    predictions[held_out.rows] = selection.out_of_fold_predictions
    heads = cross_fitted_predictions(evaluator, selection.records, expired)
    if heads is not None:
        known = np.asarray(~np.isnan(predictions).any(1))
        predictions = np.where(known[:, None], (predictions + heads) / 2, heads)
    rows = np.flatnonzero(~np.isnan(predictions).any(1))
    return find_label_errors(evaluator.task, evaluator.targets[rows], predictions[rows], rows, shown)


def _attention(
    selection: SelectionResult, worst: Sequence[WorstError], shown: ShownExamples, seed: int
) -> tuple[Attention, ...]:
    """Ask the model where it looks: in the worst errors for what was predicted, and in some examples that are right."""
    held_out, decided, task = selection.out_of_fold, selection.decided_predictions, selection.model.task
    true = true_values(task, held_out.targets)
    place = {int(row): i for i, row in enumerate(held_out.rows)}
    questions = []
    for error in worst[:MAX_ATTENTION_ERRORS]:
        i = place[error.row]
        questions.append(Question(row=error.row, output=error.output, true=true[i], correct=False))
    for i in _right(held_out, decided, seed):
        questions.append(Question(row=int(held_out.rows[i]), true=true[i], correct=True))
    if task.kind == "regression":
        questions = [replace(question, correct=None) for question in questions]
    try:
        return answer(selection.model, shown, questions)
    except Exception as error:  # code of plugins and of models: the search has its result
        log.info("Nobody knows where the model looks: %s", describe(error))
        return ()


def _right(held_out: OutOfFold, decided: np.ndarray, seed: int) -> list[int]:
    """Return positions of a few examples that are predicted right, of different classes as far as there are any."""
    task, targets = held_out.task, held_out.targets
    if task.kind == "regression":
        nearest = np.argsort(np.abs(decided - targets).sum(1), kind="stable")
        return [int(i) for i in nearest[:MAX_ATTENTION_RIGHT]]
    said = decided.argmax(1) if task.single_label else decided > 0.5
    right = np.flatnonzero(said == targets if task.single_label else (said == (targets > 0.5)).all(1))
    right = np.random.default_rng(seed).permutation(right)
    if task.single_label:
        _, first = np.unique(targets[right], return_index=True)
        right = np.concatenate([right[np.sort(first)], np.delete(right, first)])
    return [int(i) for i in right[:MAX_ATTENTION_RIGHT]]
