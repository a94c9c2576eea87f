"""Predictions for all examples by heads that did not train on them, on real digits with a real, tiny backbone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autotransfer.analysis.confident_learning import suspect
from autotransfer.analysis.cross_fit import cross_fitted_predictions
from autotransfer.candidate import Candidate
from autotransfer.contract.registry import Registry
from autotransfer.data.sources import load_examples
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.pipeline.prepare import prepare_data
from autotransfer.runtime.device import resolve_device
from autotransfer.search.trials import TrialRecord
from autotransfer.settings import Compute, DataOptions, Settings

Digits = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def registry(tiny_zoo: Path) -> Registry:
    return Registry.load((tiny_zoo,))


def searched(registry: Registry, images: np.ndarray, labels: np.ndarray) -> tuple[Evaluator, list[TrialRecord]]:
    """Return an evaluator with a single fold, and trials of closed forms on two backbones."""
    names = ("test_resnet", "test_vit")
    settings = Settings(compute=Compute(cache=False), data_options=DataOptions(folds=1))
    data = prepare_data(load_examples(images, labels), [registry.backbone(name) for name in names], settings)
    evaluator, records = Evaluator(registry, data.extractor, data.folds, resolve_device("cpu"), seed=0), []
    for number, name in enumerate(names):
        candidate = Candidate(backbone=name, head="ridge", freeze="frozen")
        result = evaluator(candidate, lambda epoch, score: False, lambda: False)
        records.append(
            TrialRecord(
                number=number, state="complete", candidate=candidate, score=result.score, objective=result.objective
            )
        )
    return evaluator, records


def test_flipped_labels_are_found_among_all_examples(registry: Registry, digits: Digits) -> None:
    rng = np.random.default_rng(0)
    images, labels = digits[0], digits[1].copy()
    flipped = rng.choice(len(labels), 6, replace=False)
    labels[flipped] = (labels[flipped] + 1) % 3
    evaluator, records = searched(registry, images, labels)
    predictions = cross_fitted_predictions(evaluator, records, lambda: False)
    assert predictions is not None
    assert predictions.shape == (120, 3)
    assert np.isfinite(predictions).all()
    found = suspect(evaluator.task, evaluator.targets, predictions)
    first = {int(evaluator.extractor.store.kept[row]) for row in found.order[:12]}
    assert len(first & set(flipped.tolist())) >= 5


def test_an_example_has_no_say_in_its_own_prediction(registry: Registry, digits: Digits) -> None:
    evaluator, records = searched(registry, *digits)
    before = cross_fitted_predictions(evaluator, records[:1], lambda: False)
    evaluator.folds[0].targets[7] = (evaluator.folds[0].targets[7] + 1) % 3  # a new label moves it to another fold
    after = cross_fitted_predictions(evaluator, records[:1], lambda: False)
    assert before is not None
    assert after is not None
    own = suspect(evaluator.task, evaluator.targets, after)
    assert own.order[0] == 7


def test_a_class_of_one_group_is_not_judged(registry: Registry, digits: Digits) -> None:
    evaluator, records = searched(registry, *digits)
    fold = evaluator.folds[0]
    groups = np.where(fold.targets == 2, 0, np.arange(len(fold.targets)) + 1)
    evaluator.context.folds = (replace(fold, group_ids=groups),)
    predictions = cross_fitted_predictions(evaluator, records, lambda: False)
    assert predictions is not None
    assert np.array_equal(np.isnan(predictions).any(1), fold.targets == 2)


def test_heads_without_cached_features_are_passed_over(registry: Registry, digits: Digits) -> None:
    evaluator, records = searched(registry, *digits)
    trained = replace(records[0], candidate=Candidate(backbone="test_resnet", freeze="frozen"))
    assert cross_fitted_predictions(evaluator, [trained], lambda: False) is None
    other = replace(records[0], candidate=Candidate(backbone="test_vit", head="stage_ridge", freeze="frozen"))
    assert cross_fitted_predictions(evaluator, [other], lambda: False) is None


def test_no_time_gives_no_predictions(registry: Registry, digits: Digits) -> None:
    evaluator, records = searched(registry, *digits)
    assert cross_fitted_predictions(evaluator, records, lambda: True) is None
    calls: list[Callable[[], bool]] = []

    def after_one_head() -> bool:
        calls.append(after_one_head)
        return len(calls) > 5

    one = cross_fitted_predictions(evaluator, records, after_one_head)
    alone = cross_fitted_predictions(evaluator, records[:1], lambda: False)
    first = max(records, key=lambda record: record.objective or 0.0)
    if first is records[0]:
        assert np.array_equal(one, alone)
    assert one is not None
