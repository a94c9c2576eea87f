"""Scores by class, against counts by hand, and their intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from autotransfer.analysis.class_scores import score_classes
from autotransfer.tasks.bootstrap import effective_count
from autotransfer.tasks.score import wilson_interval
from autotransfer.tasks.task import Kind, Task

ABC = Task(kind="multiclass", classes=("a", "b", "c"))


def noisy(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Targets of three classes, and probabilities of which about a fifth are wrong."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 3, count)
    guessed = np.where(rng.random(count) < 0.3, rng.integers(0, 3, count), targets)
    return targets, np.eye(3)[guessed]


def test_classes_have_precision_recall_and_f1() -> None:
    outputs = np.eye(3)[[0, 0, 1, 0]]
    a, b, c = score_classes(ABC, np.array([0, 0, 1, 1]), outputs)
    assert (a.label, a.precision.value, a.recall.value, a.f1.value, a.examples) == ("a", 2 / 3, 1.0, 0.8, 2)
    assert (b.precision.value, b.recall.value, b.examples, b.predicted) == (1.0, 0.5, 2, 1)
    assert (c.precision.value, c.recall.value, c.f1.value, c.examples) == (None, None, None, 0), "it is not defined"


def test_scores_are_those_of_scikit_learn() -> None:
    targets, outputs = noisy(300)
    found = score_classes(ABC, targets, outputs)
    wanted = precision_recall_fscore_support(targets, outputs.argmax(1))
    shares = np.array([[row.precision.value, row.recall.value, row.f1.value, row.examples] for row in found])
    np.testing.assert_allclose(shares.T, wanted)


def test_labels_of_one_example_count_each_by_itself() -> None:
    task = Task(kind="multilabel", classes=("x", "y"))
    truth, outputs = (
        np.array([[1, 0], [1, 1], [0, 0]], dtype=np.float32),
        np.array([[0.9, 0.6], [0.4, 0.7], [0.1, 0.2]]),
    )
    x, y = score_classes(task, truth, outputs)
    assert (x.precision.value, x.recall.value, x.examples) == (1.0, 0.5, 2)
    assert (y.precision.value, y.recall.value, y.examples) == (0.5, 1.0, 1)
    _, y = score_classes(replace(task, thresholds=(0.5, 0.65)), truth, outputs)
    assert (y.precision.value, y.predicted) == (1.0, 1)


def test_a_single_label_is_no_pair_of_classes() -> None:
    task = Task(kind="multilabel", classes=("x",))
    (x,) = score_classes(task, np.array([[1], [0], [0]], dtype=np.float32), np.array([[0.9], [0.8], [0.1]]))
    assert (x.label, x.precision.value, x.recall.value, x.examples) == ("x", 0.5, 1.0, 1)


def test_values_have_no_classes() -> None:
    assert score_classes(Task(kind="regression", metric="r2"), np.zeros((3, 1)), np.zeros((3, 1))) == ()


def test_intervals_of_independent_examples_are_wilsons() -> None:
    targets, outputs = noisy(200)
    row = score_classes(ABC, targets, outputs)[0]
    assert row.precision.value is not None
    assert tuple(row.precision[1:]) == pytest.approx(wilson_interval(row.precision.value, row.predicted))
    assert row.recall.value is not None
    assert tuple(row.recall[1:]) == pytest.approx(wilson_interval(row.recall.value, row.examples))


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    # The true recall and precision of each class are 0.8, so F1 is, too.
    hits = [
        estimate.low <= 0.8 <= estimate.high
        for seed in range(40)
        for row in score_classes(ABC, *noisy(150, seed))
        for estimate in (row.precision, row.recall, row.f1)
        if estimate.low is not None and estimate.high is not None
    ]
    assert 0.88 <= np.mean(hits) <= 0.995


def test_dependent_examples_widen_all_intervals() -> None:
    targets, outputs = (np.repeat(each, 8, axis=0) for each in noisy(40))
    alone = score_classes(ABC, targets, outputs)
    grouped = score_classes(ABC, targets, outputs, np.repeat(np.arange(40), 8))
    for one, other in zip(alone, grouped, strict=True):
        for kind in ("precision", "recall", "f1"):
            narrow, wide = getattr(one, kind), getattr(other, kind)
            assert wide.value == narrow.value
            assert wide.high - wide.low > narrow.high - narrow.low, kind


@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_weighted_scores_are_those_of_scikit_learn(kind: Kind) -> None:
    rng, task = np.random.default_rng(1), replace(ABC, kind=kind)
    targets, outputs = noisy(300)
    truth = targets if kind == "multiclass" else rng.integers(0, 2, (300, 3))
    decided = outputs.argmax(1) if kind == "multiclass" else (outputs > 0.5).astype(int)
    weights = rng.uniform(0.1, 5.0, 300)
    found = score_classes(task, truth, outputs, weights=weights)
    wanted = np.stack(precision_recall_fscore_support(truth, decided, sample_weight=weights)[:3])
    shares = np.array([[row.precision.value, row.recall.value, row.f1.value] for row in found])
    np.testing.assert_allclose(shares.T, wanted)
    plain = score_classes(task, truth, outputs)
    assert [(row.examples, row.predicted) for row in found] == [(row.examples, row.predicted) for row in plain]


def test_weighted_intervals_are_those_of_as_many_equal_examples() -> None:
    targets, outputs = noisy(200)
    weights = np.random.default_rng(1).exponential(1.0, 200)
    row = score_classes(ABC, targets, outputs, weights=weights)[0]
    own = weights[targets == 0]
    assert row.recall.value is not None
    expected = wilson_interval(row.recall.value, effective_count(len(own), own))
    assert tuple(row.recall[1:]) == pytest.approx(expected)
    equal = score_classes(ABC, targets, outputs, weights=np.full(200, 3.0))
    for one, other in zip(equal, score_classes(ABC, targets, outputs), strict=True):
        for name in ("precision", "recall", "f1"):
            assert getattr(one, name) == pytest.approx(getattr(other, name))


def test_no_error_leaves_an_interval() -> None:
    targets = np.arange(60) % 3
    for row in score_classes(ABC, targets, np.eye(3)[targets]):
        assert row.f1.value == 1.0
        assert row.f1.low is not None
        assert 0.7 < row.f1.low < 0.95
