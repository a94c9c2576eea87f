"""Calibration of probabilities, without a change of labels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax

from autotransfer.model.temperature import temper
from autotransfer.selection.calibration import Calibration, calibrate, expected_calibration_error
from autotransfer.selection.out_of_fold import OutOfFold
from autotransfer.tasks.task import Task

THREE = Task(kind="multiclass", classes=("a", "b", "c"))
LABELS = Task(kind="multilabel", classes=("a", "b"), metric="f1_macro")


def _held_out(task: Task, targets: np.ndarray) -> OutOfFold:
    n = len(targets)
    parts = np.array_split(np.random.default_rng(1).permutation(n), 5)
    return OutOfFold(task=task, rows=np.arange(n), targets=targets, parts=tuple(map(np.sort, parts)))


def _drawn(temperature_factor: float, n: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    """Return labels that were drawn from logits, and what a model says that multiplies these logits."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(n, 3)) * 2
    targets = np.array([rng.choice(3, p=p) for p in softmax(logits, axis=1)])
    return targets, softmax(logits * temperature_factor, axis=1).astype(np.float32)


@pytest.mark.parametrize("temperature_factor", [3.0, 0.3])
def test_over_and_underconfidence_are_calibrated(temperature_factor: float) -> None:
    targets, predictions = _drawn(temperature_factor)
    found = calibrate(_held_out(THREE, targets), predictions)
    assert found is not None
    assert found.temperature == pytest.approx(temperature_factor, rel=0.15)
    assert found.ece_after < 0.05 < found.ece_before
    assert found.log_loss_after < found.log_loss_before
    assert found.is_better
    assert found.to_json()["temperature"] == found.temperature


def test_several_labels_are_calibrated_too() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(1500, 2)) * 2
    targets = (rng.random((1500, 2)) < expit(logits)).astype(np.float32)
    found = calibrate(_held_out(LABELS, targets), expit(logits * 4).astype(np.float32))
    assert found is not None
    assert found.temperature == pytest.approx(4, rel=0.15)
    assert found.ece_after < 0.03 < found.ece_before


def test_a_regression_has_no_temperature() -> None:
    task, values = Task(kind="regression", metric="r2"), np.ones((20, 1), dtype=np.float32)
    assert calibrate(_held_out(task, values), values) is None
    assert temper(task, values, 3.0) is values


def test_a_temperature_that_does_not_generalise_is_not_used() -> None:
    # Honest already: what a fit finds is noise, and on other examples it hurts in about half of all draws.
    rng, used, worse = np.random.default_rng(0), 0, 0
    for _ in range(20):
        logits = rng.normal(size=(60, 3))
        predictions = softmax(logits, axis=1).astype(np.float32)
        found = calibrate(_held_out(THREE, np.array([rng.choice(3, p=p / p.sum()) for p in predictions])), predictions)
        assert isinstance(found, Calibration)
        used += found.temperature != 1.0
        worse += found.log_loss_after > found.log_loss_before
        if found.temperature == 1.0:
            assert found.ece_after == found.ece_before
            assert not found.is_better
    assert used < 15
    assert worse == 0


def test_where_all_are_right_nothing_becomes_certain() -> None:
    targets = np.arange(60) % 3
    predictions = np.full((60, 3), 0.2, dtype=np.float32)
    predictions[np.arange(60), targets] = 0.6
    found = calibrate(_held_out(THREE, targets), predictions)
    assert found is not None
    assert 0.9 < temper(THREE, predictions, found.temperature).max() < 0.999


@pytest.mark.parametrize("temperature", [0.05, 0.7, 3.0, 20.0])
def test_labels_never_change(temperature: float) -> None:
    rng = np.random.default_rng(0)
    predictions = rng.dirichlet(np.full(3, 0.3), size=500).astype(np.float32)
    near = np.float32(1 / 3)  # as near to each other as numbers come, the last one ahead
    predictions = np.vstack(
        [predictions, [[near, np.nextafter(near, np.float32(0)), np.nextafter(near, np.float32(1))]]]
    )
    tempered = temper(THREE, predictions.astype(np.float32), temperature)
    assert tempered.dtype == np.float32
    np.testing.assert_array_equal(tempered.argmax(1), predictions.argmax(1))
    np.testing.assert_allclose(tempered.sum(1), 1, rtol=1e-5)
    several = np.array([[np.nextafter(np.float32(0.5), np.float32(1)), 0.5], [1, 0]], dtype=np.float32)
    np.testing.assert_array_equal(temper(LABELS, several, temperature) > 0.5, several > 0.5)


def test_the_error_of_known_probabilities() -> None:
    # Sure to 0.9 and right in 3 of 4; sure to 0.6 and always right: (4 * 0.15 + 2 * 0.4) / 6.
    predictions = np.array([[0.9, 0.1]] * 4 + [[0.4, 0.6]] * 2)
    targets = np.array([0, 0, 0, 1, 1, 1])
    task = Task(kind="binary", classes=("a", "b"))
    assert expected_calibration_error(task, targets, predictions) == pytest.approx((4 * 0.15 + 2 * 0.4) / 6)
    indicators = np.array([[1.0, 0.0]] * 5)
    assert expected_calibration_error(LABELS, indicators, np.array([[0.75, 0.25]] * 5)) == pytest.approx(0.25)
