"""Examples of one unit are drawn together, and errors are those of the metric that is asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autotransfer.tasks.bootstrap import (
    bootstrap_samples,
    count_groups,
    interval_quantiles,
    paired_standard_error,
    score_slope,
    significantly_better,
)
from autotransfer.tasks.score import Score, score_interval
from autotransfer.tasks.task import Task

BINARY = Task(kind="binary", classes=("a", "b"))
THREE = Task(kind="multiclass", classes=("a", "b", "c"))
REGRESSION = Task(kind="regression", metric="r2")


def _says(right: np.ndarray, truth: np.ndarray, sure: float = 0.9, classes: int = 2) -> np.ndarray:
    """Return probabilities (n, classes) of predictions that are right or not."""
    named = np.where(right, truth, (truth + 1) % classes)
    return np.where(np.eye(classes)[named] > 0, sure, (1 - sure) / (classes - 1)).astype(np.float32)


def _patients(
    count: int, each: int, seed: int = 0, spread: tuple[float, float] = (0.8, 0.1)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return targets, what is said of them, and groups whose examples are mostly all right or all wrong."""
    rng = np.random.default_rng(seed)
    group_ids, truth = np.repeat(np.arange(count), each), np.zeros(count * each, dtype=np.int64)
    right = rng.random(len(group_ids)) < rng.beta(*spread, count)[group_ids]
    return truth, _says(right, truth), group_ids


def test_a_unit_is_drawn_whole_or_not_at_all() -> None:
    group_ids = np.array([4, 1, 4, 9, 1, 4])
    for rows in bootstrap_samples(6, group_ids, 50, seed=3):
        counts = np.bincount(rows, minlength=6)
        for unit in (1, 4, 9):
            assert len(set(counts[group_ids == unit])) == 1
        assert sum(counts[group_ids == unit][0] for unit in (1, 4, 9)) == 3
    assert [len(rows) for rows in bootstrap_samples(6, None, 3)] == [6, 6, 6]
    assert count_groups(6, group_ids) == 3
    assert count_groups(6, None) == 6


def test_single_units_are_resampled_as_examples_are() -> None:
    plain, single = (list(bootstrap_samples(40, group_ids, 5, seed=1)) for group_ids in (None, np.arange(40) + 7))
    np.testing.assert_array_equal(plain, single)


def test_few_units_make_an_interval_wider_than_many() -> None:
    levels = [interval_quantiles(group_ids)[0] for group_ids in (5, 20, 10_000)]
    assert levels == sorted(levels)
    assert levels[-1] == pytest.approx(0.025, abs=1e-4)
    assert levels[0] < 0.003


def test_interval_width_follows_the_number_of_groups() -> None:
    # The case: printed 0.052 wide, where the groups make it more than three times that.
    truth, predictions, group_ids = _patients(40, 20)
    plain, grouped = (
        score_interval(BINARY, truth, predictions),
        score_interval(BINARY, truth, predictions, group_ids=group_ids),
    )
    assert plain[1] - plain[0] < 0.055
    assert grouped[1] - grouped[0] > 0.15
    assert grouped == score_interval(BINARY, truth, predictions, group_ids=group_ids)
    found = Score.of(BINARY, truth, predictions, group_ids)
    assert (found.ci95, found.groups, found.examples) == (grouped, 40, 800)
    assert found.to_json()["groups"] == 40


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["accuracy", "f1_macro", "neg_log_loss"])
def test_single_units_change_no_interval(metric: str) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 60)
    predictions, task = _says(rng.random(60) < 0.8, truth), Task(kind="binary", classes=("a", "b"), metric=metric)
    assert score_interval(task, truth, predictions, group_ids=np.arange(60)) == score_interval(task, truth, predictions)
    assert Score.of(task, truth, predictions, np.arange(60)).groups is None


@pytest.mark.slow
@pytest.mark.parametrize(("count", "each"), [(10, 20), (30, 10)])
def test_intervals_of_groups_hold_the_truth_as_often_as_they_say(count: int, each: int) -> None:
    # A beta distribution of 2 and 0.5 has the mean 0.8.
    held, plain = [], []
    for seed in range(200):
        truth, predictions, group_ids = _patients(count, each, seed, (2.0, 0.5))
        low, high = score_interval(BINARY, truth, predictions, group_ids=group_ids)
        held.append(low <= 0.8 <= high)
        low, high = score_interval(BINARY, truth, predictions)
        plain.append(low <= 0.8 <= high)
    assert np.mean(held) > 0.88
    assert np.mean(plain) < 0.75


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "f1_macro"])
def test_no_error_in_a_few_groups_is_not_beyond_doubt(metric: str) -> None:
    truth = np.arange(200) // 20 % 2
    task = Task(kind="binary", classes=("a", "b"), metric=metric)
    low, high = score_interval(task, truth, _says(np.ones(200, dtype=bool), truth), group_ids=np.arange(200) // 20)
    assert high == 1.0
    assert low == pytest.approx(10 / (10 + 1.96**2), abs=1e-3)  # Wilson's of ten


def test_one_group_has_no_interval() -> None:
    truth = np.arange(20) % 2
    low, high = score_interval(BINARY, truth, _says(np.arange(20) > 3, truth), group_ids=np.zeros(20, dtype=int))
    assert math.isnan(low)
    assert math.isnan(high)


@pytest.mark.slow
def test_where_classes_are_small_an_interval_is_still_told() -> None:
    # Hardly any resample of 40 classes with 3 examples each has all of them: one that did made an interval of no width.
    task = Task(kind="multiclass", classes=tuple(range(40)), metric="f1_macro")
    truth = np.repeat(np.arange(40), 3)
    right = np.random.default_rng(0).random(120) < 0.7
    low, high = score_interval(task, truth, _says(right, truth, classes=40))
    assert high - low > 0.1


def _truth_and_outputs(task: Task, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(n, 1)) if task.kind == "regression" else rng.integers(0, len(task.classes), n)
    return truth, _outputs_for(task, truth, seed=3)


def _outputs_for(task: Task, truth: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if task.kind == "regression":
        return np.asarray(truth + rng.normal(0, 0.1, truth.shape))
    n = len(truth)
    outputs = _says(rng.random(n) < 0.8, truth, classes=len(task.classes)) + rng.random((n, len(task.classes)))
    return np.asarray(outputs / outputs.sum(1, keepdims=True))


@pytest.mark.parametrize(
    "task",
    [
        BINARY,
        THREE,
        *(Task(kind="multiclass", classes=("a", "b", "c"), metric=m) for m in ("balanced_accuracy", "f1_macro")),
        Task(kind="multiclass", classes=("a", "b", "c"), metric="neg_log_loss"),
        REGRESSION,
        Task(kind="regression", metric="neg_mean_squared_error"),
    ],
    ids=lambda task: f"{task.kind}-{task.metric}",
)
@pytest.mark.parametrize("group_ids", [None, np.arange(300) // 6], ids=["alone", "sixes"])
def test_the_slope_is_one_of_equal_and_zero_of_unlike_errors(task: Task, group_ids: np.ndarray | None) -> None:
    truth, outputs = _truth_and_outputs(task)
    unlike = _outputs_for(task, truth, seed=2)
    assert score_slope(task, truth, outputs, outputs, group_ids) == pytest.approx(1.0)
    found = score_slope(task, truth, unlike, outputs, group_ids)
    assert 0.0 <= found < 0.75  # the spread of the targets is common to both
    assert found == score_slope(task, truth, unlike, outputs, group_ids)


def test_the_slope_is_the_share_of_errors_in_common() -> None:
    truth = np.zeros(400, dtype=np.int64)
    other = np.arange(400) < 300  # a quarter of the errors of the second model are those of the first one
    slope = score_slope(BINARY, truth, _says(np.arange(400) < 375, truth), _says(other, truth))
    assert slope == pytest.approx(0.25, abs=0.1)
    assert score_slope(BINARY, truth, _says(other, truth), _says(other | True, truth)) == 1.0  # it says nothing


def test_chance_is_not_better() -> None:
    # Of a hundred pairs that are equally good, some few are called better; of a real difference all are.
    rng, called = np.random.default_rng(0), 0
    for _ in range(100):
        truth = rng.integers(0, 2, 120)
        one, other = (_says(rng.random(120) < 0.9, truth) for _ in range(2))
        called += significantly_better(BINARY, truth, one, other)
    assert called <= 8
    truth = rng.integers(0, 2, 120)
    good, poor = _says(rng.random(120) < 0.95, truth), _says(rng.random(120) < 0.7, truth)
    assert significantly_better(BINARY, truth, good, poor)
    assert not significantly_better(BINARY, truth, poor, good)
    assert not significantly_better(BINARY, truth, good, good)


def test_three_examples_are_too_few_to_be_better() -> None:
    truth = np.zeros(3, dtype=np.int64)
    right, wrong = (_says(np.full(3, value), truth) for value in (True, False))
    assert not significantly_better(BINARY, truth, right, wrong)
    truth = np.zeros(30, dtype=np.int64)
    right, wrong = (_says(np.full(30, value), truth) for value in (True, False))
    assert significantly_better(BINARY, truth, right, wrong)
    assert not significantly_better(BINARY, truth, right, wrong, np.arange(30) // 10)  # three patients


def test_the_error_of_a_difference_is_paired() -> None:
    truth = np.zeros(200, dtype=np.int64)
    one, other = _says(np.arange(200) < 150, truth), _says(np.arange(200) < 148, truth)
    alone = math.sqrt(2 * 0.25 * 0.75 / 200)
    assert paired_standard_error(BINARY, truth, one, other) < alone / 3
    assert paired_standard_error(BINARY, truth, one, one) == 0.0
    undefined = Task(kind="binary", classes=("a", "b"), metric="roc_auc")
    assert paired_standard_error(undefined, truth, one, other) == math.inf
