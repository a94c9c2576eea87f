"""After the search: the finals, what is made of the best, its training on all examples, and its scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from autotransfer.candidate import Candidate
from autotransfer.data.examples import Examples, Images
from autotransfer.data.split import assign_group_ids
from autotransfer.errors import DataError, SearchError
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.model.ensemble_member import EnsembleMember
from autotransfer.model.transfer_model import TransferModel
from autotransfer.pipeline.prepare import Prepared
from autotransfer.run.progress import Progress
from autotransfer.search.budget import TimeBudget
from autotransfer.search.effort import Effort
from autotransfer.search.jobs import describe
from autotransfer.search.trials import TrialRecord, Trials
from autotransfer.selection.calibration import Calibration, calibrate
from autotransfer.selection.ensemble import Ensemble, choose_ensemble, diverse
from autotransfer.selection.finals import (
    Finals,
    FoldRunner,
    finalists,
    finals_seconds,
    hold_finals,
    refit_seconds,
    search_seconds,
)
from autotransfer.selection.out_of_fold import OutOfFold
from autotransfer.selection.refit import Recipe, as_member, refit
from autotransfer.selection.selected import Selected
from autotransfer.selection.soup import Ingredient, Soup, cook, ingredients
from autotransfer.settings import Budget, Settings
from autotransfer.tasks.preconditions import check_scored
from autotransfer.tasks.score import Score
from autotransfer.training.network import Network

__all__ = ["Ending", "as_model", "choose_winner", "ending_seconds", "finish", "score_test"]

# Largest share of the time budget that the search leaves to the other members of an ensemble.
_TOGETHER = 0.06


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What came after the search.

    Attributes:
        best: The trial that won.
        selected: What the model is: that trial's candidate, an ensemble or a soup.
        records: The trials, with what the finals have added to what is known of them.
        model: The trained model.
        validation: Its score on examples that were held out.
        finals: How the best candidates compared again; None where they were not.
        ensemble: What an ensemble brings; None where it was not tried.
        soup: What a soup brings; None where it was not tried.
        calibration: What a temperature brings; None where it was not tried.
        seconds: Wall time of the finals, with all that is chosen after them; the rest is the refit.
    """

    best: TrialRecord
    selected: Selected
    records: tuple[TrialRecord, ...]
    model: TransferModel
    validation: Score
    finals: Finals | None
    ensemble: Ensemble | None
    soup: Soup | None
    calibration: Calibration | None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is to be trained on all examples.

    Attributes:
        parts: For each network of the model its weight, and whose weights are averaged in it.
        predictions: Predictions (N, outputs) for examples that were held out; NaN for the others.
    """

    parts: Recipe
    predictions: np.ndarray

    @property
    def selected(self) -> Selected:
        """What it is."""
        numbers = tuple(one.number for _, averaged_ones in self.parts for one in averaged_ones)
        kind: Literal["single", "ensemble", "soup"] = "ensemble" if len(self.parts) > 1 else "soup"
        return Selected(kind="single" if len(numbers) == 1 else kind, trials=numbers, predictions=self.predictions)


def ending_seconds(trials: Trials, fold_runner: FoldRunner, budget: Budget, tested: int, *, ensemble: bool) -> float:
    """Return the seconds of a budget that a search leaves to finals, an ensemble and more views, as it stands.

    Args:
        trials: The search.
        fold_runner: What the finals run on.
        budget: The budget.
        tested: Number of test examples.
        ensemble: Whether there may be one.
    """
    seconds = finals_seconds(trials, fold_runner, budget)
    if budget.seconds is None or trials.best is None or trials.best.candidate is None:
        return seconds
    # One pass of the test examples is no part of the budget.
    seconds += (trials.best.candidate.views - 1) * _pass_seconds(trials.best, fold_runner.evaluator, tested)
    if ensemble and trials.best.predictions is not None:
        seconds += _members(trials.best, trials, fold_runner.evaluator, _TOGETHER * budget.seconds, tested)[1]
    return seconds


def finish(
    trials: Trials,
    data: Prepared,
    evaluator: Evaluator,
    budget: TimeBudget,
    settings: Settings,
    show: Progress,
    tested: int = 0,
) -> Ending:
    """Compare the best again, decide between one, an ensemble and a soup, train that on all examples, calibrate it.

    Args:
        trials: The search.
        data: The examples.
        evaluator: What scored them.
        budget: The budget.
        settings: The settings.
        show: Progress.
        tested: Number of test examples, which every backbone of an ensemble has to see.

    Raises:
        SearchError: No trial is complete.
    """
    best, started = choose_winner(trials), budget.spent
    finals = _finals(trials, data, evaluator, budget, settings, show)
    best, again = (best, ()) if finals is None else (finals.winner, finals.records)
    renewed = {record.number: record for record in again}
    records = [renewed.get(record.number, record) for record in trials]
    alone = plan = _alone(best)
    ensemble = _ensemble(best, records, evaluator, budget, tested) if settings.selection.ensemble else None
    soup = None
    if ensemble is not None and ensemble.pays:
        plan = _together(ensemble, records, alone)
    elif settings.selection.soup and (soup := _soup(best, records, evaluator, budget, show)) is not None and soup.pays:
        plan = _Plan(parts=((1.0, soup.ingredients),), predictions=soup.predictions)
    seconds = budget.spent - started

    show.phase(f"refitting {plan.selected} on all {len(data.images)} examples: {plan.parts[0][1][0].candidate}")
    found = {record.number: record.predictions for record in records}
    try:
        members = refit(plan.parts, found, evaluator, budget, show.warnings)
    except Exception as error:
        if plan is alone:
            raise
        show.warnings.warn(
            "refit_cut",
            f"{plan.selected} could not be trained on all examples, so that {alone.selected} is the model: "
            f"{describe(error)}",
            trials=list(plan.selected.trials),
            reason=describe(error),
        )
        plan, ensemble, soup = alone, None, None
        members = refit(plan.parts, found, evaluator, budget, show.warnings)
    held_out = OutOfFold.of(evaluator.folds, plan.predictions, seed=settings.seed)
    predictions = plan.predictions[held_out.rows]
    # Class weights are meant to shift probabilities: nothing is to bring them back.
    calibrates = settings.selection.calibrate and settings.search.class_weight is None
    calibration = calibrate(held_out, predictions) if calibrates else None
    return Ending(
        best=best,
        selected=plan.selected,
        records=tuple(records),
        model=_as_model(members, data, evaluator, temperature=calibration.temperature if calibration else 1.0),
        validation=Score.of(held_out.task, held_out.targets, predictions, held_out.group_ids),
        finals=finals,
        ensemble=ensemble,
        soup=soup,
        calibration=calibration,
        seconds=seconds,
    )


def choose_winner(trials: Trials) -> TrialRecord:
    """Return the best complete trial.

    Raises:
        SearchError: There is none.
    """
    if (best := trials.best) is not None:
        return best
    reasons = list(dict.fromkeys(record.reason for record in trials if record.reason))[:3]
    why = "; ".join([*reasons, trials.misfit] if trials.misfit else reasons) or "the budget was too small for any"
    raise SearchError(f"None of {len(trials)} trials succeeded: {why}.")


def as_model(network: Network, candidate: Candidate, data: Prepared, evaluator: Evaluator) -> TransferModel:
    """Return a trained network with all that it needs to predict."""
    return _as_model([as_member(network, candidate, evaluator)], data, evaluator)


def score_test(
    model: TransferModel,
    test: Examples,
    validation: Score,
    show: Progress,
    check: Callable[[Images], None] = lambda images: None,
) -> Score | None:
    """Score the model on the test examples, and say where it keeps less than validation has promised.

    Args:
        model: The model.
        test: The test examples.
        validation: What validation has promised.
        show: Progress.
        check: Is given the decoded test images.

    Returns:
        The score; None, with a warning, where no example can be read: the search must not be lost.
    """
    show.phase(f"scoring {len(test)} test images")
    try:
        images = model.decode(test)
    except DataError as error:
        show.warnings.warn("test_not_scored", f"The test examples are not scored: {error}", examples=len(test))
        return None
    if images.skipped:
        text = f"{len(images.skipped)} of {len(test)} test images cannot be read and are not scored: "
        names = [skipped.name for skipped in images.skipped]
        show.warnings.warn("test_not_scored", text + ", ".join(names[:3]) + ", …" * (len(names) > 3), names=names)
    if images.remarks:
        first = test.names[next(iter(images.remarks))]
        show.warnings.warn(
            "value_range",
            f"{len(images.remarks)} of {len(images)} test images do not suit the values of the training images; the "
            f"first, {first}: {images.remarks[next(iter(images.remarks))]}.",
            range=list(model.decoding.value_range),
            count=len(images.remarks),
        )
    assert test.targets is not None  # refused before the search
    encoded = model.task.encode([test.targets[i] for i in images.kept])
    try:
        show.warnings.add(*check_scored(model.task, encoded, "test"))
    except DataError as error:  # what could be read of them
        show.warnings.warn("test_not_scored", str(error))
        return None
    groups = None if test.groups is None else [test.groups[i] for i in images.kept]
    score = Score.of(model.task, encoded, model.predict_images(images), assign_group_ids(images.digests, groups))
    check(images)
    _warn_if_below(score, validation, show)
    return score


def _warn_if_below(test: Score, validation: Score, show: Progress) -> None:
    """Say where all of the test score's interval is below that of the validation score."""
    if not test.ci95[1] < validation.ci95[0]:
        return
    (low, high), (least, most) = test.ci95, validation.ci95
    show.warnings.warn(
        "test_below_validation",
        f"The test score, {test.score:.4f} ({low:.4f} to {high:.4f}), lies below what validation promised, "
        f"{validation.score:.4f} ({least:.4f} to {most:.4f}): the examples depend on each other (bursts, series, "
        "patients: give groups), or the test examples are of another kind.",
        test=test.to_json(),
        validation=validation.to_json(),
    )


def _finals(
    trials: Trials, data: Prepared, evaluator: Evaluator, budget: TimeBudget, settings: Settings, show: Progress
) -> Finals | None:
    """Hold the finals in the time that the longest refit of a finalist leaves, and no longer than the search took."""
    if budget.limit.seconds is None:
        effort = Effort(trials, evaluator)
        return hold_finals(trials, evaluator, data.resplit, effort=effort, say=show.phase)
    refits = [refit_seconds(record, evaluator) for record in finalists(trials)]
    needed = max(filter(budget.affords_refit, refits), default=0.0)
    seconds = min(budget.left_for("refit") - needed, search_seconds(trials) / (settings.compute.workers or 1))
    ends = budget.spent + seconds
    return hold_finals(
        trials, evaluator, data.resplit, seconds=seconds, expired=lambda: budget.spent > ends, say=show.phase
    )


def _alone(best: TrialRecord) -> _Plan:
    assert best.predictions is not None  # the leaders keep theirs
    return _Plan(parts=((1.0, (_ingredient(best),)),), predictions=best.predictions)


def _ensemble(
    best: TrialRecord, records: Sequence[TrialRecord], evaluator: Evaluator, budget: TimeBudget, tested: int
) -> Ensemble | None:
    """Choose an ensemble of candidates that all fit into what is left."""
    assert best.predictions is not None  # the leaders keep theirs
    refit = refit_seconds(best, evaluator)
    left = budget.left_for("refit")
    left -= refit if refit <= left else 0.0  # without time for a refit, the network of the search is the model
    others, _ = _members(best, records, evaluator, left, tested)
    return choose_ensemble([best, *others], OutOfFold.of(evaluator.folds, best.predictions))


def _members(
    best: TrialRecord, records: Iterable[TrialRecord], evaluator: Evaluator, left: float, tested: int
) -> tuple[list[TrialRecord], float]:
    """Return what an ensemble around the best may hold, and the seconds that refits and passes of test images take."""
    assert best.candidate is not None  # complete trials have one
    found, taken, passes = list[TrialRecord](), 0.0, {_network(best): best.candidate.views}
    for record in diverse(best, records)[1:]:
        assert record.candidate is not None  # complete trials have one
        network, views = _network(record), record.candidate.views
        further = max(views - passes.get(network, 0), 0)
        seconds = refit_seconds(record, evaluator) + further * _pass_seconds(record, evaluator, tested)
        if taken + seconds <= left:
            taken += seconds
            found.append(record)
            passes[network] = passes.get(network, 0) + further
    return found, taken


def _pass_seconds(record: TrialRecord, evaluator: Evaluator, tested: int) -> float:
    """Return about how long one view of the test examples takes to pass through a record's backbone."""
    assert record.candidate is not None  # complete trials have one
    return evaluator.pass_seconds(record.candidate.backbone) * tested / len(evaluator.targets) if tested else 0.0


def _network(record: TrialRecord) -> tuple[str, int]:
    """Return what tells backbones apart in a model: those without a trained epoch are as they were loaded."""
    assert record.candidate is not None  # complete trials have one
    return record.candidate.backbone, record.number if record.epochs else -1


def _together(ensemble: Ensemble, records: Sequence[TrialRecord], alone: _Plan) -> _Plan:
    by_number = {record.number: record for record in records}
    predictions = np.full_like(alone.predictions, np.nan)
    predictions[~np.isnan(alone.predictions).any(1)] = ensemble.predictions
    parts = tuple((m.weight, (_ingredient(by_number[m.number]),)) for m in ensemble.members)
    return _Plan(parts=parts, predictions=predictions)


def _soup(
    best: TrialRecord, records: Sequence[TrialRecord], evaluator: Evaluator, budget: TimeBudget, show: Progress
) -> Soup | None:
    """Cook a soup where there are ingredients, and their training and refits fit into what is left."""
    found = ingredients(best, records, evaluator)
    while len(found) > 1 and sum(_cooking_seconds(record, evaluator) for record in found) > budget.left_for("refit"):
        found.pop()
    if len(found) < 2:
        return None
    try:
        return cook(found, evaluator)
    except Exception as error:  # what is only an attempt must not lose the search
        show.say(f"no soup: {describe(error)}")
        return None


def _cooking_seconds(record: TrialRecord, evaluator: Evaluator) -> float:
    assert record.candidate is not None  # complete trials have one
    return max(record.seconds, evaluator.predicted_seconds(record.candidate)) + refit_seconds(record, evaluator)


def _ingredient(record: TrialRecord) -> Ingredient:
    assert record.candidate is not None  # complete trials have one
    return Ingredient(number=record.number, candidate=record.candidate, epochs=record.best_epoch)


def _as_model(
    members: Sequence[EnsembleMember], data: Prepared, evaluator: Evaluator, temperature: float = 1.0
) -> TransferModel:
    return TransferModel(
        members=tuple(members),
        task=data.folds[0].task,
        side=data.images.side,
        decoding=data.images.decoding,
        device=evaluator.device,
        temperature=temperature,
    )
