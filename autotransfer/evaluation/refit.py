"""The networks that become models: trained on all examples, or those of the search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from autotransfer.errors import TrialError
from autotransfer.evaluation.context import EvaluationContext
from autotransfer.evaluation.setup import Setup
from autotransfer.tasks.score import Score, format_score
from autotransfer.training.adapters import merge_adapters
from autotransfer.training.network import Network
from autotransfer.training.trainer import Training

__all__ = ["best_network", "refit"]

# Examples that a network is scored on after its refit, at most.
MAX_EXAMPLES_TO_CHECK = 1000


def refit(
    context: EvaluationContext,
    setup: Setup,
    epochs: int,
    expired: Callable[[], bool],
    predictions: np.ndarray | None,
) -> Network:
    """Train a candidate on all examples.

    Args:
        context: The examples.
        setup: The candidate.
        epochs: The number of epochs that validation asks for.
        expired: Whether the time has run out.
        predictions: Predictions (N, outputs) of the search, NaN where there are none; None checks nothing.

    Raises:
        TrialError: The time ran out before the last epoch ended, so that the network is no model; or the training
            diverged: its loss is not finite, or the network predicts validation examples worse than the search did,
            though the refit has learned from them.
    """
    rows = np.arange(len(context.targets))
    fold = replace(context.folds[0], train_rows=rows, validation_rows=rows[:0])
    if setup.closed_form:
        return setup.solve(context.extractor, fold, context.device, context.seed)
    training = setup.training(context.extractor, fold, context.device, context.seed)
    training.run(epochs, _never_stop, expired)
    if training.epoch < epochs:
        raise TrialError(f"the time ran out in epoch {training.epoch + 1} of {epochs}")
    if predictions is not None:
        _refuse_worse(context, training, predictions)
    return merge_adapters(training.network.eval())


def _refuse_worse(context: EvaluationContext, training: Training, predictions: np.ndarray) -> None:
    fold = context.folds[0]
    rows = fold.validation_rows[:MAX_EXAMPLES_TO_CHECK]
    rows = rows[~np.isnan(predictions[rows]).any(1)]
    if not len(rows):
        return
    known = context.targets[rows], predictions[rows], fold.group_ids_of(rows), fold.weights_of(rows)
    before = Score.of(context.task, *known)
    after = fold.score(rows, training.predict_now(rows))
    if after < before.ci95[0]:
        raise TrialError(
            f"the training diverged: {format_score(after)} on examples that it has seen, where it came to "
            f"{format_score(before.score)} before it had"
        )


def best_network(context: EvaluationContext, setup: Setup) -> tuple[Network, np.ndarray]:
    """Return the network of a candidate's best epoch on the first fold, and its predictions there.

    A network is trained where no trial has left one.
    """
    fold = context.folds[0]
    if setup.closed_form:
        network = setup.solve(context.extractor, fold, context.device, context.seed)
        return network, setup.predict_from_features(network, context.extractor, context.task, fold.validation_rows)
    state = context.checkpoints.load(setup.candidate)
    training = setup.training(context.extractor, fold, context.device, context.seed, paused=state)
    if state is None:
        training.run(setup.settings.epochs, _never_stop, lambda: False)
    training.restore_best()
    assert training.best_predictions is not None  # every epoch was scored
    return merge_adapters(training.network.eval()), training.best_predictions


def _never_stop(epoch: int, score: float, predictions: np.ndarray) -> bool:
    return False
