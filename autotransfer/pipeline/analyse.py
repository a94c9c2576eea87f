"""After the selection: the test score, selection bias, transfer gain, importance; then the result and its files."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from autotransfer.analysis.backbone_ranking import BackboneScore, rank_backbones
from autotransfer.analysis.depths import best_by_depth
from autotransfer.analysis.importance import measure_importance
from autotransfer.analysis.result import Analysis
from autotransfer.analysis.selection_bias import estimate_selection_bias
from autotransfer.analysis.train_test_overlap import warn_of_repeats
from autotransfer.analysis.transfer_gain import TransferGain, measure_transfer_gain
from autotransfer.data.examples import Examples, Images
from autotransfer.data.split import assign_group_ids
from autotransfer.errors import DataError
from autotransfer.model.transfer_model import TransferModel
from autotransfer.pipeline.search import Searched
from autotransfer.run.progress import Progress
from autotransfer.search.budget import TimeBudget
from autotransfer.selection.result import SelectionResult
from autotransfer.settings import SearchConfig
from autotransfer.tasks.preconditions import check_scored
from autotransfer.tasks.score import Score
from autotransfer.warnings import WarningList

__all__ = ["analyse", "score_test"]


def analyse(
    selection: SelectionResult, found: Searched, budget: TimeBudget, config: SearchConfig, show: Progress
) -> Analysis:
    """Estimate how far the model's score can be trusted, and compare the model with random weights in the time left.

    Args:
        selection: The winner, and the model that it became.
        found: The search.
        budget: The budget.
        config: The settings.
        show: Progress, with the warnings of the fit.
    """
    show.phase("estimating selection bias and transfer gain")
    trials, evaluator = found.trials, found.evaluator
    fold = evaluator.folds[0]
    names = dict.fromkeys(r.candidate.backbone for r in trials if r.candidate and r.depth is not None)
    stages = {name: len(found.stages(name)) for name in names}
    soup = selection.soup if selection.selected.kind == "soup" else None
    bias = estimate_selection_bias(
        selection.selected, selection.records, fold, averages=soup.tried if soup else (), seed=config.seed
    )
    importance = measure_importance(trials, stages, seed=config.seed)
    gain = None
    if config.compare_scratch:
        gain = measure_transfer_gain(selection.best, selection.selected, trials, evaluator, budget, config.epochs)
    trained_on = {name: evaluator.registry.backbone(name).source for name in names}
    baseline = None if gain is None else gain.baseline_predictions
    backbones = rank_backbones(trials, stages, trained_on, fold, baseline)
    if gain is not None:
        _warn_of_transfer(gain, backbones, show.warnings)
    return Analysis(
        selection_bias=bias,
        transfer_gain=gain,
        backbones=backbones,
        importance=importance,
        depths=best_by_depth(trials, stages),
    )


def score_test(
    selection: SelectionResult, test: Examples, found: Searched, budget: TimeBudget, show: Progress
) -> Score | None:
    """Score the model on the test examples, once, and warn where the score is not what it seems.

    Args:
        selection: The model and its validation score.
        test: The test examples.
        found: The search: test images may repeat its images.
        budget: The budget.
        show: Progress, with the warnings of the fit.

    Returns:
        The score; None, with a warning, where no example can be read: the search must not be lost.
    """
    score = score_examples(
        selection.model,
        test,
        show,
        check=lambda images: warn_of_repeats(images, found.data, found.evaluator, budget, show.warnings),
    )
    if score is not None:
        warn_if_below(score, selection.validation, show.warnings)
    return score


def score_examples(
    model: TransferModel, test: Examples, show: Progress, check: Callable[[Images], None] = lambda images: None
) -> Score | None:
    """Score a model on test examples, and warn of those that cannot be read or do not suit the training images.

    Args:
        model: The model.
        test: The test examples.
        show: Progress, with the warnings of the fit.
        check: Is given the decoded test images.
    """
    show.phase(f"scoring {len(test)} test images")
    try:
        images = model.decode(test)
    except DataError as error:
        show.warnings.warn("test_not_scored", f"The test examples are not scored: {error}", examples=len(test))
        return None
    _warn_of_images(images, test, model, show.warnings)
    assert test.targets is not None  # refused before the search
    encoded = model.task.encode([test.targets[i] for i in images.kept])
    try:
        show.warnings.add(*check_scored(model.task, encoded, "test"))
    except DataError as error:  # of what could be read of them
        show.warnings.warn("test_not_scored", str(error))
        return None
    groups = None if test.groups is None else [test.groups[i] for i in images.kept]
    group_ids = assign_group_ids(images.digests, groups)
    score = Score.of(model.task, encoded, model.predict_images(images), group_ids)
    check(images)
    return score


def warn_if_below(test: Score, validation: Score, warnings: WarningList) -> None:
    """Warn where all of the test score's interval is below that of the validation score."""
    if not test.ci95[1] < validation.ci95[0]:
        return
    (test_low, test_high), (low, high) = test.ci95, validation.ci95
    warnings.warn(
        "test_below_validation",
        f"The test score {test.score:.4f} (95% interval {test_low:.4f} to {test_high:.4f}) is below the validation "
        f"score {validation.score:.4f} ({low:.4f} to {high:.4f}). Either examples depend on each other (bursts, "
        "series, patients: give groups), or the test examples are of another kind.",
        test=test.to_json(),
        validation=validation.to_json(),
    )


def _warn_of_images(images: Images, test: Examples, model: TransferModel, warnings: WarningList) -> None:
    if images.skipped:
        text = f"{len(images.skipped)} of {len(test)} test images cannot be read and are not scored: "
        names = [skipped.name for skipped in images.skipped]
        warnings.warn("test_not_scored", text + ", ".join(names[:3]) + ", …" * (len(names) > 3), names=names)
    if images.remarks:
        first = next(iter(images.remarks))
        warnings.warn(
            "value_range",
            f"{len(images.remarks)} of {len(images)} test images do not suit the values of the training images; the "
            f"first, {test.names[first]}: {images.remarks[first]}.",
            range=list(model.decoding.value_range),
            count=len(images.remarks),
        )


def _warn_of_transfer(gain: TransferGain, backbones: Sequence[BackboneScore], warnings: WarningList) -> None:
    """Warn of backbones that do harm, and where random weights were trained too little to say anything."""
    harmful, details = [row.backbone for row in backbones if row.negative_transfer], gain.to_json()
    if harmful or gain.verdict == "negative_transfer":
        names = ", ".join(harmful) or "the model"
        warnings.warn(
            "negative_transfer",
            f"Worse than random weights of the winner's architecture, by a paired test on {gain.examples} examples: "
            f"{names}. Try other backbones, or pretrain one on your data.",
            backbones=harmful,
            transfer_gain=details,
        )
    elif gain.verdict == "undertrained_baseline" and gain.from_scratch is not None:
        warnings.warn(
            "undertrained_baseline",
            f"The transfer gain is not known: random weights were trained for {gain.epochs} epoch"
            f"{'' if gain.epochs == 1 else 's'}, {gain.steps} steps, which is too little. A larger budget trains them "
            "for longer; compare_scratch=False (--no-compare-scratch) leaves the comparison out.",
            transfer_gain=details,
        )
