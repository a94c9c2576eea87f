"""Evaluating a closed-form head: scored on a sample of the examples first, then on all folds."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from autotransfer.data.folds import Fold
from autotransfer.evaluation.context import EvaluationContext
from autotransfer.evaluation.setup import Setup
from autotransfer.evaluation.subsample import Features
from autotransfer.search.jobs import Evaluation, Report

__all__ = ["evaluate_closed_form", "predict_closed_form"]


class _Stopped(Exception):
    """The trial was stopped by its score on the sample."""

    def __init__(self, score: float) -> None:
        super().__init__(score)
        self.score = score


def evaluate_closed_form(context: EvaluationContext, setup: Setup, report: Report) -> Evaluation:
    """Score a closed form on all folds, unless the report of its score on the sample stops it.

    Its seconds are those of the solutions alone: the pass of the examples through the backbone is predicted apart.
    """
    try:
        _score_sample(context, setup, report)
    except _Stopped as stopped:
        return Evaluation(score=stopped.score, depth=setup.plan.depth)
    features = _features(context, setup)
    started = time.perf_counter()
    evaluation = context.evaluation(setup, [_predict(context, setup, features, fold) for fold in context.folds])
    return replace(evaluation, seconds=time.perf_counter() - started)


def predict_closed_form(context: EvaluationContext, setup: Setup) -> np.ndarray:
    """Return the predictions (N, outputs) of a closed form for the validation examples of all folds; else NaN."""
    features = _features(context, setup)
    return context.among_all([_predict(context, setup, features, fold) for fold in context.folds])


def _features(context: EvaluationContext, setup: Setup) -> Features:
    extractor, takes = context.extractor, setup.head.features
    return Features({view: extractor.taken(setup.loaded, takes, view) for view in setup.views})


def _score_sample(context: EvaluationContext, setup: Setup, report: Report) -> None:
    """Report the score on the sample as soon as the features of the sample are known, during the pass of all examples.

    Raises:
        _Stopped: The report says so.
    """

    def look() -> bool:
        if (features := context.extractor.sampled(setup.loaded, setup.head.features)) is None:
            return False
        if (score := _sample_score(context, setup, features)) is not None and report(0, score):
            raise _Stopped(score)
        return True

    if context.sample is not None and len(setup.views) == 1 and not look():
        context.extractor.pooled(setup.loaded, look=look)


def _sample_score(context: EvaluationContext, setup: Setup, features: np.ndarray) -> float | None:
    """Return the score on the sample; None where the head or the metric cannot do with so few examples."""
    assert context.sample is not None  # these are its features
    known = Features({setup.views[0]: features})
    try:
        parts = [_predict(context, setup, known, fold) for fold in context.sample.folds]
        rows = np.concatenate([fold.validation_rows for fold in context.sample.folds])
        return context.sample.folds[0].score(rows, np.concatenate(parts))
    except Exception:  # says nothing of all examples
        return None


def _predict(context: EvaluationContext, setup: Setup, features: Features, fold: Fold) -> np.ndarray:
    network = setup.solve(features, fold, context.device, context.seed)
    return setup.predict_from_features(network, features, context.task, fold.validation_rows)
