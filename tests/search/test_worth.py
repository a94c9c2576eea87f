"""What a score is worth where examples are few: an accuracy is drawn towards what its log loss stands for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autotransfer.search.worth import worth, worths
from autotransfer.task import Task
from autotransfer.temperature import fit_temperature, temper

TASK = Task(kind="multiclass", metric="accuracy", classes=("a", "b", "c"))


def _outputs(rng: np.random.Generator, targets: np.ndarray, skill: float) -> np.ndarray:
    logits = rng.normal(0, 1, (len(targets), 3)) + skill * np.eye(3)[targets]
    return np.asarray(np.exp(logits) / np.exp(logits).sum(1, keepdims=True), dtype=np.float32)


def test_of_equal_accuracies_the_surer_one_is_worth_more_and_the_fewer_examples_the_more() -> None:
    targets = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    sure = np.where(np.eye(3)[targets] > 0, 0.9, 0.05)
    vague = np.where(np.eye(3)[targets] > 0, 0.6, 0.2)
    sure[0], vague[0] = (0.4, 0.6, 0.0), (0.01, 0.98, 0.01)  # one each is wrong
    margins = [worth(TASK, targets, sure, n) - worth(TASK, targets, vague, n) for n in (20, 500, 10_000)]
    assert margins[0] > margins[1] > margins[2] > 0


def test_with_many_examples_it_is_the_accuracy() -> None:
    targets = np.arange(3000) % 3
    outputs = _outputs(np.random.default_rng(0), targets, 2.0)
    score = TASK.score(targets, outputs)
    assert worth(TASK, targets, outputs, 10**7) == pytest.approx(score, abs=1e-4)
    assert abs(worth(TASK, targets, outputs, 100) - score) < 0.05, "about as large, on the scale of the metric"


def test_a_temperature_is_nothing_to_lose_by() -> None:
    # A calibrated model gets one in the end; a smoothed label makes a network less sure, not worse.
    targets = np.arange(300) % 3
    outputs = _outputs(np.random.default_rng(0), targets, 2.0).astype(np.float64)
    cooler = outputs**0.3 / (outputs**0.3).sum(1, keepdims=True)
    assert worth(TASK, targets, cooler, 100) == pytest.approx(worth(TASK, targets, outputs, 100), abs=1e-4)


def test_it_finds_the_better_of_two_more_often_than_the_accuracy_does() -> None:
    rng, right = np.random.default_rng(0), {"worth": 0.0, "accuracy": 0.0}
    for _ in range(1000):
        targets = rng.integers(0, 3, 40)
        better, poorer = _outputs(rng, targets, 2.6), _outputs(rng, targets, 2.2)
        gains = {
            "worth": worth(TASK, targets, better, 40) - worth(TASK, targets, poorer, 40),
            "accuracy": TASK.score(targets, better) - TASK.score(targets, poorer),
        }
        for name, gain in gains.items():
            right[name] += 1.0 if gain > 0 else 0.5 if gain == 0 else 0.0
    assert right["worth"] > right["accuracy"] + 20


def test_its_parts_are_those_of_each_example() -> None:
    targets = np.arange(30) % 3
    outputs = _outputs(np.random.default_rng(0), targets, 1.0)
    each = worths(TASK, targets, temper(TASK, outputs, fit_temperature(TASK, targets, outputs)), 50)
    assert each is not None
    assert each.shape == (30,)
    assert each.mean() == pytest.approx(worth(TASK, targets, outputs, 50), abs=0.01)


@pytest.mark.parametrize(
    ("task", "targets", "outputs"),
    [
        (replace(TASK, metric="balanced_accuracy"), [0, 1, 2], [[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.6, 0.2, 0.2]]),
        (Task(kind="regression", metric="r2"), [[0.0], [1.0], [2.0]], [[0.1], [0.9], [2.2]]),
    ],
)
def test_of_other_metrics_the_log_loss_decides_between_equal_scores_only(
    task: Task, targets: Any, outputs: Any
) -> None:
    encoded, scores = np.asarray(targets), np.asarray(outputs, dtype=np.float32)
    assert worths(task, encoded, scores, 10) is None
    score = task.score(encoded, scores)
    assert score - 0.01 < worth(task, encoded, scores, 10) <= score
