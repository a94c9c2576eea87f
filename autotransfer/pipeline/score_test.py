"""The test examples: the model is scored on them once, at the end."""

from __future__ import annotations

from autotransfer.analysis.train_test_overlap import warn_of_overlap
from autotransfer.contract.modality import Store
from autotransfer.data.examples import Examples
from autotransfer.errors import DataError
from autotransfer.model.scoring import score_predictions
from autotransfer.model.transfer_model import TransferModel
from autotransfer.pipeline.context import FitContext
from autotransfer.pipeline.search import SearchResult
from autotransfer.selection.result import SelectionResult
from autotransfer.tasks.preconditions import check_scored
from autotransfer.tasks.score import Score, format_score
from autotransfer.warnings import WarningList

__all__ = ["score_store", "score_test", "warn_if_below"]


def score_test(context: FitContext, found: SearchResult, selection: SelectionResult) -> Score | None:
    """Score the model on the test examples, once, and warn where the score is not what it seems.

    Returns:
        The score. None without test examples; None, with a warning, where none can be read: the search must not be
        lost.
    """
    model, test, warnings = selection.model, context.test, context.warnings
    if test is None:
        return None
    context.progress.phase(f"scoring {len(test)} test {model.modality.noun}s")
    try:
        store = model.decode(test)
    except DataError as error:
        warnings.warn("test_not_scored", f"The test examples are not scored: {error}", examples=len(test))
        return None
    _warn_of_store(store, test, model, warnings)
    score = score_store(model, test, store, warnings)
    if score is not None:
        warn_of_overlap(store, found.data, found.evaluator, context.budget, warnings)
        warn_if_below(score, selection.validation, warnings)
    return score


def score_store(model: TransferModel, test: Examples, store: Store, warnings: WarningList) -> Score | None:
    """Score a model on the test examples that could be read; those of one group, and copies, count together.

    Returns:
        The score; None, with a warning, where the metric is not defined on these examples.
    """
    assert test.targets is not None  # refused before the search
    encoded = model.task.encode([test.targets[i] for i in store.kept])
    try:
        warnings.add(*check_scored(model.task, encoded, "test"))
    except DataError as error:
        warnings.warn("test_not_scored", str(error))
        return None
    return score_predictions(model.task, test, store, model.predict_store(store))


def warn_if_below(test: Score, validation: Score, warnings: WarningList) -> None:
    """Warn where all of the test score's interval is below that of the validation score."""
    if not test.ci95[1] < validation.ci95[0]:
        return
    (test_low, test_high), (low, high) = test.ci95, validation.ci95
    warnings.warn(
        "test_below_validation",
        f"The test score {format_score(test.score)} (95% interval {format_score(test_low, test.score)} to "
        f"{format_score(test_high, test.score)}) is below the validation score {format_score(validation.score)} "
        f"({format_score(low, validation.score)} to "
        f"{format_score(high, validation.score)}). Either examples depend on each other (bursts, "
        "series, patients: give groups), or the test examples are of another kind.",
        test=test.to_json(),
        validation=validation.to_json(),
    )


def _warn_of_store(store: Store, test: Examples, model: TransferModel, warnings: WarningList) -> None:
    if store.skipped:
        text = f"{len(store.skipped)} of {len(test)} test {store.modality.noun}s cannot be read and are not scored: "
        names = [skipped.name for skipped in store.skipped]
        warnings.warn("test_not_scored", text + ", ".join(names[:3]) + ", …" * (len(names) > 3), names=names)
    if store.remarks:
        first, noun = next(iter(store.remarks)), store.modality.noun
        warnings.warn(
            store.modality.remark_code,
            f"{len(store.remarks)} of {len(store)} test {noun}s have values that the training {noun}s lack; the first, "
            f"{test.names[first]}: {store.remarks[first]}.",
            count=len(store.remarks),
        )
