"""Evaluating a head that is trained on a frozen backbone: cross-validated over all folds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from autotransfer.data.folds import Fold
from autotransfer.evaluation.context import EvaluationContext
from autotransfer.evaluation.objective_estimator import EpochObjectives, ObjectiveEstimator
from autotransfer.evaluation.setup import Setup
from autotransfer.search.jobs import EpochScore, Evaluation, Report

__all__ = ["cross_validate"]


def cross_validate(
    context: EvaluationContext,
    setup: Setup,
    estimator: ObjectiveEstimator,
    report: Report,
    expired: Callable[[], bool],
) -> Evaluation:
    """Train a head on all folds, as far as it is not stopped and the time allows; the first fold reports its epochs.

    Its seconds are those that all epochs of all folds would take.
    """
    objectives = EpochObjectives(context, estimator, setup.candidate.backbone, keeps_best=False)
    per_fold: list[list[np.ndarray]] = []
    seconds, trained = 0.0, 0
    for fold in context.folds:
        epochs, took = _train(context, setup, fold, None if per_fold else objectives, report, expired)
        seconds, trained = seconds + took, trained + len(epochs)
        if len(epochs) < (len(per_fold[0]) if per_fold else 1):
            break  # the time ran out in this fold
        per_fold.append(epochs)
        if len(epochs) < setup.settings.epochs:
            break  # pruned, or out of time
    whole = len(context.folds) * setup.settings.epochs
    evaluation = replace(context.best_epoch(setup, per_fold), seconds=seconds * whole / max(trained, 1))
    assert evaluation.predictions is not None  # the last epoch was scored
    objective = estimator.objective(setup.candidate.backbone, evaluation.predictions)
    return replace(evaluation, objective=objective, objectives=tuple(objectives.values))


def _train(
    context: EvaluationContext,
    setup: Setup,
    fold: Fold,
    objectives: EpochObjectives | None,
    report: Report,
    expired: Callable[[], bool],
) -> tuple[list[np.ndarray], float]:
    """Return the predictions of the validation examples after each epoch, and the seconds of the epochs.

    Epochs are reported with their objectives; without these, nothing is reported.
    """
    epochs: list[np.ndarray] = []
    training = setup.training(context.extractor, fold, context.device, context.seed)

    def keep(epoch: int, score: float, predictions: np.ndarray) -> bool:
        epochs.append(predictions)
        if objectives is None:
            return False
        objective = objectives.add(predictions)
        return report(epoch, EpochScore(score, objective, loss=training.loss, learning_rate=training.learning_rate))

    started = time.perf_counter()
    training.run(setup.settings.epochs, keep, expired)
    return epochs, time.perf_counter() - started
