"""Evaluating a candidate that trains stages: on the first fold, from where it was paused."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from autotransfer.evaluation.context import EvaluationContext
from autotransfer.evaluation.objective_estimator import EpochObjectives, ObjectiveEstimator
from autotransfer.evaluation.setup import Setup
from autotransfer.runtime.memory import release_freed_memory
from autotransfer.search.jobs import EpochScore, Evaluation, Report

__all__ = ["train_stages"]


def train_stages(
    context: EvaluationContext,
    setup: Setup,
    estimator: ObjectiveEstimator,
    report: Report,
    expired: Callable[[], bool],
    until: int | None,
) -> Evaluation:
    """Train stages on the first fold until so many epochs are done, from where the training was paused.

    The checkpoint keeps the training and the predictions of its epochs; the network itself is not kept in memory. The
    seconds are those of the epochs that were trained now; NaN where the last of them was cut, and where the checkpoint
    had all of them already.
    """
    until = min(until or setup.settings.epochs, setup.settings.epochs)
    objectives = EpochObjectives(context, estimator, setup.candidate.backbone, keeps_best=True)
    epochs, known, seconds = _train(context, setup, objectives, report, expired, until)
    release_freed_memory()
    evaluation = replace(context.best_epoch(setup, [epochs]), trained=len(epochs) - known, seconds=seconds)
    return replace(evaluation, objective=objectives.values[-1], objectives=tuple(objectives.values))


def _train(
    context: EvaluationContext,
    setup: Setup,
    objectives: EpochObjectives,
    report: Report,
    expired: Callable[[], bool],
    until: int,
) -> tuple[list[np.ndarray], int, float]:
    """Return the predictions after each epoch, the number of epochs of earlier trainings, and the seconds."""
    candidate, epochs = setup.candidate, list[np.ndarray]()
    state = context.checkpoints.load(candidate)
    if state is not None and "network" not in state and state["epoch"] < until:
        state = None  # it was cut in an epoch: only its best epoch is left, from which it cannot go on
    training = setup.training(context.extractor, context.folds[0], context.device, context.seed, paused=state)
    if state is not None:
        epochs.extend(state["epochs"].numpy())
    known = len(epochs)
    for predictions in epochs:
        objectives.add(predictions)

    def keep(epoch: int, score: float, predictions: np.ndarray) -> bool:
        epochs.append(predictions)
        objective = objectives.add(predictions)
        return report(epoch, EpochScore(score, objective, loss=training.loss, learning_rate=training.learning_rate))

    if training.epoch < until:
        training.prepare()
    started = time.perf_counter()
    training.run(until, keep, expired)
    seconds = time.perf_counter() - started
    if len(epochs) == known:  # the few microseconds are not those of an epoch
        return epochs, known, math.nan
    ended = training.interrupted or training.epoch == setup.settings.epochs
    state = training.state(ended=ended)
    context.checkpoints.save(candidate, {**state, "epochs": torch.from_numpy(np.stack(epochs))})
    return epochs, known, seconds if training.epoch == until else math.nan
