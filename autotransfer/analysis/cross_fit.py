"""Predictions for all examples by heads that did not train on them: also where the search held out a part alone.

A closed-form head on cached features is solved in a second or so. So every example can be left out once, also where
the search scores its candidates on a fifth of the examples.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from autotransfer.contract.loading import PLUGIN_ERRORS
from autotransfer.data.folds import Fold
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.evaluation.setup import Setup
from autotransfer.evaluation.subsample import own_folds
from autotransfer.search.jobs import describe
from autotransfer.search.trials import TrialRecord
from autotransfer.selection.records import candidate_of, rank_records

__all__ = ["cross_fitted_predictions"]

log = logging.getLogger("autotransfer")

# Heads whose predictions are averaged, each on another backbone. On five image sets with 5% of the labels flipped, the
# mean of two found as many of the flipped labels as the better one of both.
MAX_HEADS = 2
# Most numbers of predictions, examples times outputs: 400 MB as float32, for two heads and their mean.
MAX_PREDICTED_NUMBERS = 50_000_000


def cross_fitted_predictions(
    evaluator: Evaluator, records: Sequence[TrialRecord], expired: Callable[[], bool]
) -> np.ndarray | None:
    """Return the mean predictions (N, outputs) of the best closed-form heads, solved without the example predicted.

    Groups of examples stay together. Examples of which nothing can be said are NaN: those of a class that is in their
    fold alone.

    Args:
        evaluator: What scored the trials.
        records: The trials.
        expired: Whether the time has run out.

    Returns:
        The predictions; None where no trial has such a head whose features are cached, or no time was left.
    """
    fold = evaluator.folds[0]
    if len(fold.targets) * fold.task.outputs > MAX_PREDICTED_NUMBERS:
        return None
    folds = own_folds(fold, np.arange(len(fold.targets)), evaluator.seed)
    total, count = np.zeros((len(fold.targets), fold.task.outputs), dtype=fold.task.dtype), 0
    for setup in _heads(evaluator, records):
        try:
            found = _predict(evaluator, setup, folds, expired)
        except PLUGIN_ERRORS as error:  # a plugin's: there are other heads, and nothing depends on this one
            log.info("%s is not cross-fitted: %s", setup.candidate, describe(error))
            continue
        if found is None:
            break
        total, count = total + found, count + 1
    return total / count if count else None


def _heads(evaluator: Evaluator, records: Sequence[TrialRecord]) -> list[Setup]:
    """Return the best closed-form heads on cached features, each on another backbone."""
    found: dict[str, Setup] = {}
    for record in rank_records(records):
        candidate = candidate_of(record)
        name = candidate.backbone.partition("@")[0]
        if name in found or len(found) == MAX_HEADS or evaluator.registry.head(candidate.head).solve is None:
            continue
        setup = evaluator.setup(candidate)
        loaded, takes = setup.loaded, setup.head.features
        if all(evaluator.extractor.is_cached(loaded, loaded.depths, view, head_takes=takes) for view in setup.views):
            found[name] = setup
    return list(found.values())


def _predict(
    evaluator: Evaluator, setup: Setup, folds: Sequence[Fold], expired: Callable[[], bool]
) -> np.ndarray | None:
    """Return the predictions of a head for all examples; None where the time runs out."""
    task = evaluator.task
    found = np.full((len(evaluator.targets), task.outputs), np.nan, dtype=task.dtype)
    for fold in folds:
        if expired():
            return None
        network = setup.solve(evaluator.extractor, fold, evaluator.device, evaluator.seed)
        rows = fold.validation_rows
        if task.single_label:  # a class that is in this fold alone is unknown to the head
            rows = rows[np.isin(fold.targets[rows], fold.targets[fold.train_rows])]
        if len(rows):
            found[rows] = setup.predict_from_features(network, evaluator.extractor, task, rows)
    return found
