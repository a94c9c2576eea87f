"""Confident learning on made probabilities, whose wrong labels are known."""

from __future__ import annotations

import numpy as np
import pytest

from autotransfer.analysis.confident_learning import suspect
from autotransfer.tasks.task import Task

CLASSES = Task(kind="multiclass", classes=("a", "b", "c"))


def made(rng: np.random.Generator, true: np.ndarray, classes: int, sharpness: float = 2.0) -> np.ndarray:
    """Return probabilities that favour the true class."""
    logits = rng.standard_normal((len(true), classes))
    logits[np.arange(len(true)), true] += sharpness
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def test_flipped_labels_come_first_and_are_counted() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, 600)
    flipped = rng.choice(600, 30, replace=False)
    given = true.copy()
    given[flipped] = (given[flipped] + 1) % 3
    found = suspect(CLASSES, given, made(rng, true, 3, 4.0))
    assert len(set(found.order[:60].tolist()) & set(flipped.tolist())) >= 28
    assert 18 <= found.estimated <= 42
    assert (np.diff(found.scores.ravel()[found.order]) >= 0).all()


def test_right_labels_are_hardly_suspected() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, 600)
    assert suspect(CLASSES, true, made(rng, true, 3, 6.0)).estimated <= 3


def test_a_rare_class_is_judged_by_its_own_confidence() -> None:
    # Networks give the rare class 0.4 at most: its labels are not wrong for that.
    given = np.repeat([0, 1], [90, 10])
    probabilities = np.repeat([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0]], [90, 10], 0)
    assert suspect(CLASSES, given, probabilities).estimated == 0
    given[0], probabilities[0] = 0, [0.55, 0.45, 0.0]  # as sure of the rare class as of its own examples, and more
    found = suspect(CLASSES, given, probabilities)
    assert found.disagrees.ravel().nonzero()[0].tolist() == [0]


def test_a_class_without_examples_is_never_suggested() -> None:
    found = suspect(CLASSES, np.array([0, 0, 1, 1]), np.full((4, 3), 1 / 3))
    assert found.estimated == 0


def test_each_of_several_labels_is_judged() -> None:
    task = Task(kind="multilabel", classes=("a", "b"))
    targets = np.tile([[1.0, 0.0], [0.0, 1.0]], (20, 1)).astype(np.float32)
    predictions = np.where(targets > 0, 0.9, 0.1)
    targets[4, 1], targets[9, 0] = 1.0, 1.0  # one that is not there, twice
    found = suspect(task, targets, predictions)
    assert found.estimated == 2
    assert set(found.order[:2].tolist()) == {9, 18}
    assert found.scores[4, 1] == pytest.approx(0.1)


def test_outliers_of_a_regression_are_suspected() -> None:
    rng = np.random.default_rng(0)
    task = Task(kind="regression", width=2)
    predictions = rng.standard_normal((200, 2))
    targets = predictions + 0.1 * rng.standard_normal((200, 2)) + 5.0  # all are off by the same
    targets[7, 1] += 3.0
    found = suspect(task, targets, predictions)
    assert np.argwhere(found.disagrees).tolist() == [[7, 1]]
    assert found.order[0] == 15
    assert 0 <= found.scores.min() < 1e-6


def test_perfect_predictions_of_a_regression_leave_no_suspicion() -> None:
    targets = np.arange(9.0)[:, None]
    found = suspect(Task(kind="regression"), targets, targets)
    assert found.estimated == 0
    assert np.isfinite(found.scores).all()
