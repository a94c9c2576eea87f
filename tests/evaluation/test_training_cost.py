"""What a search has trained is counted without a clock."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autotransfer.candidate import Candidate
from autotransfer.contract.registry import Registry
from autotransfer.data.sources import load_examples
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.evaluation.training_cost import TrainingCost
from autotransfer.pipeline.prepare import prepare_data
from autotransfer.runtime.device import resolve_device
from autotransfer.search.trials import TrialRecord
from autotransfer.settings import Compute, Settings


@pytest.fixture(scope="module")
def evaluator(tiny_zoo: Path, digits: tuple[np.ndarray, np.ndarray]) -> Evaluator:
    registry = Registry.load((tiny_zoo,))
    specs = [registry.backbone(name) for name in ("test_resnet", "test_vit")]
    data = prepare_data(load_examples(digits[0][:60], digits[1][:60]), specs, Settings(compute=Compute(cache=False)))
    return Evaluator(registry, data.extractor, data.folds, resolve_device("cpu"), seed=0)


def _record(number: int, depth: int, epochs: int, backbone: str = "test_resnet", views: int = 1) -> TrialRecord:
    return TrialRecord(
        number=number,
        state="complete",
        candidate=Candidate(backbone=backbone, training={"views": views}),
        depth=depth,
        epochs=epochs,
        best_epoch=epochs,
        seconds=number * 1e3,
    )


def test_whole_networks_count_whole_and_heads_next_to_nothing(evaluator: Evaluator) -> None:
    stages = len(evaluator.stages("test_resnet"))
    whole, half, head, solved = (
        _record(0, 0, 10), _record(1, stages // 2, 10), _record(2, stages, 10), _record(3, stages, 0)
    )  # fmt: skip
    effort, solution = TrainingCost([whole], evaluator), 32 / len(evaluator.folds[0].train_rows)
    costs = [effort.of_fold(record) for record in (whole, half, head, solved)]
    assert costs == pytest.approx([10.2, 10 * (1 - stages // 2 / stages + 0.02), 0.2, solution])
    assert effort.total == pytest.approx(0.2 + 10.2)  # a pass, and the epochs
    assert effort.whole_epochs(0.5, "test_resnet") == pytest.approx(5.2)


def test_frozen_heads_cost_all_folds_and_views_cost_passes(evaluator: Evaluator) -> None:
    stages = len(evaluator.stages("test_resnet"))
    effort = TrainingCost([_record(0, stages, 0), _record(1, stages, 10, views=2)], evaluator)
    assert effort.total == pytest.approx(2 * 0.2 + 5 * (32 / len(evaluator.folds[0].train_rows) + 0.2))


def test_seconds_do_not_count_and_neither_do_trials_that_failed(evaluator: Evaluator) -> None:
    records = [_record(0, 0, 3), _record(1, 2, 2, backbone="test_vit")]
    again = [replace(record, seconds=1e6) for record in records]
    failed = TrialRecord(number=2, state="failed", candidate=None)
    assert TrainingCost(records, evaluator).total == TrainingCost([*again, failed], evaluator).total
