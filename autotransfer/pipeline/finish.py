"""From trained networks to a model: calibration, thresholds, and what it needs to say what it does not know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from autotransfer.candidate import Candidate
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.model.conformal import Conformal
from autotransfer.model.ensemble_member import EnsembleMember
from autotransfer.model.temperature import temper
from autotransfer.model.transfer_model import TransferModel
from autotransfer.pipeline.find_outliers import find_outliers
from autotransfer.pipeline.prepare import Prepared
from autotransfer.selection.calibration import Calibration, calibrate
from autotransfer.selection.out_of_fold import OutOfFold
from autotransfer.selection.refit import as_member
from autotransfer.selection.thresholds import Thresholds, choose_thresholds
from autotransfer.settings import Settings
from autotransfer.tasks.score import Score
from autotransfer.training.network import Network

__all__ = ["FinishedModel", "as_model", "finish_model"]


@dataclass(frozen=True, kw_only=True)
class FinishedModel:
    """A model with what is known of it from examples that it was not trained on.

    Attributes:
        model: The model.
        validation: Its score from out-of-fold predictions.
        out_of_fold: The examples that were held out.
        predictions: Predictions for them (n, outputs), at the model's temperature.
        decided: The same, shifted where the model has thresholds; see ``SelectionResult.decided_predictions``.
        calibration: What the temperature brings; None where none was tried.
        thresholds: What thresholds bring; None where none were tried.
    """

    model: TransferModel
    validation: Score
    out_of_fold: OutOfFold
    predictions: np.ndarray
    decided: np.ndarray
    calibration: Calibration | None
    thresholds: Thresholds | None


def finish_model(
    members: Sequence[EnsembleMember], predictions: np.ndarray, data: Prepared, evaluator: Evaluator, settings: Settings
) -> FinishedModel:
    """Calibrate trained networks, choose thresholds, and score them.

    Args:
        members: The networks.
        predictions: Out-of-fold predictions (N, outputs) of such networks; NaN for examples that were not held out.
        data: The examples.
        evaluator: What trained them.
        settings: The settings.
    """
    held_out = OutOfFold.of(evaluator.folds, predictions, seed=settings.seed)
    found, task = predictions[held_out.rows], held_out.task
    # Class weights are meant to shift probabilities: no temperature may bring them back.
    calibrates = settings.selection.calibrate and settings.search.class_weight is None
    calibration = calibrate(held_out, found) if calibrates else None
    temperature = calibration.temperature if calibration else 1.0
    tempered = temper(task, found, temperature)
    thresholds = choose_thresholds(held_out, tempered) if settings.selection.thresholds else None
    # Without thresholds, the score is that of the predictions as they were made.
    scored = thresholds.predictions if thresholds is not None and thresholds.thresholds else found
    model = replace(
        _as_model(members, data, evaluator),
        task=task if thresholds is None else replace(task, thresholds=thresholds.thresholds),
        temperature=temperature,
        conformal=_conformal(data, held_out.rows, tempered),
    )
    return FinishedModel(
        model=replace(model, outliers=find_outliers(model, data, evaluator, settings)),
        validation=Score.of(task, held_out.targets, scored, held_out.group_ids, held_out.weights),
        out_of_fold=held_out,
        predictions=tempered,
        decided=tempered if thresholds is None else thresholds.predictions,
        calibration=calibration,
        thresholds=thresholds,
    )


def as_model(
    network: Network, candidate: Candidate, data: Prepared, evaluator: Evaluator, predictions: np.ndarray
) -> TransferModel:
    """Return a trained network with all that it needs to predict.

    Args:
        network: The network.
        candidate: What trained it.
        data: The examples.
        evaluator: What scored it.
        predictions: What it predicts for the validation examples of the first fold (n, outputs).
    """
    model = _as_model([as_member(network, candidate, evaluator)], data, evaluator)
    return replace(model, conformal=_conformal(data, data.folds[0].validation_rows, predictions))


def _conformal(data: Prepared, rows: np.ndarray, predictions: np.ndarray) -> Conformal:
    """Take what sets are made of from predictions (n, outputs) for rows that were held out."""
    fold = data.folds[0]
    digests = [data.store.digests[row] for row in rows]
    return Conformal.of(fold.task, fold.targets[rows], predictions, digests, fold.group_ids_of(rows))


def _as_model(members: Sequence[EnsembleMember], data: Prepared, evaluator: Evaluator) -> TransferModel:
    return TransferModel(
        members=tuple(members),
        task=data.folds[0].task,
        modality=data.store.modality,
        reading=data.store.reading,
        columns=data.columns,
        device=evaluator.device,
    )
