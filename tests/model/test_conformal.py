"""Conformal sets and intervals hold the truth at the rate that was asked for; what a file says of them is checked."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from autotransfer.errors import ConfigError, ModelFormatError
from autotransfer.model.conformal import MAX_QUANTILES, Conformal, QuantileTable, require_conformal, tie_breakers
from autotransfer.tasks.task import Task

THREE = Task(kind="multiclass", classes=("a", "b", "c"))
LABELS = Task(kind="multilabel", classes=("a", "b", "c"), metric="f1_macro")
VALUES = Task(kind="regression", metric="r2", width=2)


def _names(n: int, start: int = 0) -> list[str]:
    return [f"example {i}" for i in range(start, start + n)]


def _drawn(n: int, seed: int, factor: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels that were drawn from logits, and the probabilities of a model that multiplies these logits."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 3)) * 2
    targets = np.array([rng.choice(3, p=p) for p in softmax(logits, axis=1)])
    return targets, softmax(logits * factor, axis=1).astype(np.float32)


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.99])
@pytest.mark.parametrize("factor", [1.0, 4.0])
def test_sets_hold_the_label_at_the_rate(coverage: float, factor: float) -> None:
    conformal = Conformal.of(THREE, *_drawn(1500, 0, factor), _names(1500))
    targets, probabilities = _drawn(4000, 1, factor)
    sets = conformal.predict(THREE, probabilities, _names(4000, 1500), coverage)
    held = np.mean([THREE.classes[label] in found for label, found in zip(targets, sets, strict=True)])
    assert held == pytest.approx(coverage, abs=0.025)
    for found, row in zip(sets, probabilities, strict=True):
        assert list(found) == sorted(found, key=lambda label, row=row: -row["abc".index(label)])
    by_rate = [conformal.predict(THREE, probabilities, _names(4000), rate) for rate in (0.5, 0.9, 0.99)]
    sizes = [np.mean([len(found) for found in sets]) for sets in by_rate]
    assert sizes[0] < sizes[1] < sizes[2]


def test_few_examples_count_with_one_more() -> None:
    # Of 9 scores and a new one, the new one is the largest with probability 1 / 10.
    table = QuantileTable.of(np.arange(9) / 10, np.zeros(9))
    assert table.quantile(0.9) == (0.8, 0.0)
    assert table.quantile(0.91)[0] == np.inf
    assert table.quantile(0.1) == (0.0, 0.0)
    conformal = Conformal.of(THREE, *_drawn(5, 0), _names(5))
    assert [len(found) for found in conformal.predict(THREE, _drawn(7, 1)[1], _names(7), 0.9)] == [3] * 7


def test_coverage_is_exact_with_few_examples() -> None:
    found = []
    for seed in range(400):
        conformal = Conformal.of(THREE, *_drawn(19, seed), _names(19, 100 * seed))
        targets, probabilities = _drawn(20, 1000 + seed)
        chosen = conformal.sets(THREE, probabilities, tie_breakers(_names(20, 5000 + 100 * seed)), 0.8)
        found.append(chosen[np.arange(20), targets].mean())
    assert np.mean(found) == pytest.approx(0.8, abs=0.015)


def test_ties_are_broken_by_content_and_repeatably() -> None:
    # A model that gives one of two probabilities: without what breaks ties, sets cover far more than the rate.
    rng = np.random.default_rng(0)
    targets = (rng.random(2000) < 0.98).astype(int)
    probabilities = np.tile(np.array([[0.02, 0.98]], dtype=np.float32), (2000, 1))
    task = Task(kind="binary", classes=("no", "yes"))
    conformal = Conformal.of(task, targets[:1000], probabilities[:1000], _names(1000))
    names = _names(1000, 1000)
    sets = conformal.predict(task, probabilities[1000:], names, 0.9)
    held = np.mean([task.classes[label] in one for label, one in zip(targets[1000:], sets, strict=True)])
    assert held == pytest.approx(0.9, abs=0.03)
    assert list(sets) == list(conformal.predict(task, probabilities[1000:], names, 0.9))
    assert list(sets[::-1]) == list(conformal.predict(task, probabilities[1000:], names[::-1], 0.9))


def test_an_empty_set_may_take_the_most_probable_label() -> None:
    conformal = Conformal.of(THREE, *_drawn(500, 0, 4.0), _names(500))
    probabilities = _drawn(200, 1, 4.0)[1]
    empty = conformal.predict(THREE, probabilities, _names(200), 0.3)
    filled = conformal.predict(THREE, probabilities, _names(200), 0.3, allow_empty=False)
    assert () in list(empty)
    best = THREE.predict(probabilities)
    assert all(one == (other or (label,)) for one, other, label in zip(filled, empty, best, strict=True))


def test_dependent_examples_count_once_for_each_group() -> None:
    # 40 groups of 25 equal scores tell as much as 40 scores do.
    groups = np.repeat(np.arange(40), 25)
    scores = np.random.default_rng(0).random(40)[groups]
    table = QuantileTable.of(scores, np.zeros(1000), groups)
    assert table.quantile(0.9)[0] == np.sort(scores[::25])[36]  # the 37th of 40: 37 / 41 is the first above 0.9
    assert table.quantile(0.98)[0] == np.inf
    assert QuantileTable.of(scores, np.zeros(1000)).quantile(0.98)[0] < np.inf
    # A group of many does not outweigh the others.
    uneven = QuantileTable.of(np.r_[np.zeros(900), np.ones(99)], np.zeros(999), np.r_[np.zeros(900), np.arange(1, 100)])
    assert uneven.quantile(0.5)[0] == 1.0


def test_coverage_holds_for_new_groups() -> None:
    rng, found = np.random.default_rng(0), []
    for _ in range(300):
        sizes = rng.integers(1, 12, 30)
        groups = np.repeat(np.arange(30), sizes)
        scores = rng.normal(size=30)[groups] ** 2 + 0.1 * rng.random(len(groups))
        new = rng.normal() ** 2 + 0.1 * rng.random()
        found.append(new <= QuantileTable.of(scores, np.zeros(len(scores)), groups).quantile(0.9)[0])
    assert np.mean(found) == pytest.approx(0.9, abs=0.045)


def test_a_set_of_several_labels_holds_all_of_them() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random((4000, 3)).astype(np.float32)
    targets = (rng.random((4000, 3)) < probabilities).astype(np.float32)
    conformal = Conformal.of(LABELS, targets[:2000], probabilities[:2000], _names(2000))
    sets = conformal.predict(LABELS, probabilities[2000:], _names(2000, 2000), 0.9)
    truth = LABELS.predict(targets[2000:])
    held = [set(labels) <= set(found) for labels, found in zip(truth, sets, strict=True)]
    assert np.mean(held) == pytest.approx(0.9, abs=0.02)
    assert 1 < np.mean([len(found) for found in sets]) < 3


def test_intervals_hold_each_target_at_the_rate() -> None:
    rng = np.random.default_rng(0)
    predictions = rng.normal(size=(3000, 2)) * 10
    targets = predictions + rng.normal(size=(3000, 2)) * [1.0, 20.0]
    conformal = Conformal.of(VALUES, targets[:1500], predictions[:1500], _names(1500))
    ends = conformal.predict(VALUES, predictions[1500:], _names(1500), 0.8)
    assert ends.shape == (1500, 2, 2)
    held = (ends[:, :, 0] <= targets[1500:]) & (targets[1500:] <= ends[:, :, 1])
    np.testing.assert_allclose(held.mean(0), 0.8, atol=0.03)
    widths = ends[0, :, 1] - ends[0, :, 0]
    assert widths[1] == pytest.approx(20 * widths[0], rel=0.15)
    one = Task(kind="regression", metric="r2")
    few = Conformal.of(one, targets[:3, :1], predictions[:3, :1], _names(3))
    assert few.predict(one, predictions[:2, :1], _names(2), 0.9).tolist() == [[-np.inf, np.inf]] * 2


def test_many_scores_are_kept_as_few_quantiles() -> None:
    scores = np.random.default_rng(0).random(20_000)
    table = QuantileTable.of(scores, np.zeros(20_000))
    assert len(table.levels) <= MAX_QUANTILES
    for coverage in (0.5, 0.9, 0.95, 0.99, 0.9031):
        exact = np.sort(scores)[int(np.ceil(20_001 * coverage - 1e-9)) - 1]
        assert exact <= table.quantile(coverage)[0] <= exact + 0.004


def test_tables_are_the_same_after_json() -> None:
    conformal = Conformal.of(THREE, *_drawn(700, 0), _names(700))
    assert Conformal.from_json(json.loads(json.dumps(conformal.to_json())), THREE) == conformal


GOOD = {"levels": [0.25, 0.5, 0.75], "scores": [0.1, 0.1, 0.4], "ties": [0.2, 0.7, 0.0]}


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        {},
        [],
        [GOOD, GOOD],
        [None],
        [{**GOOD, "more": []}],
        [{**GOOD, "levels": [0.25, 0.5]}],
        [{**GOOD, "levels": [0.25, 0.5, 1.0]}],
        [{**GOOD, "levels": [0.5, 0.25, 0.75]}],
        [{**GOOD, "levels": [0.0, 0.5, 0.75]}],
        [{**GOOD, "scores": [0.4, 0.1, 0.1]}],
        [{**GOOD, "scores": [-1.0, 0.1, 0.4]}],
        [{**GOOD, "scores": [0.1, 0.1, float("nan")]}],
        [{**GOOD, "scores": [0.1, 0.1, float("inf")]}],
        [{**GOOD, "scores": [0.1, "0.1", 0.4]}],
        [{**GOOD, "scores": [0.1, True, 0.4]}],
        [{**GOOD, "ties": [0.2, 0.7, 2.0]}],
        [{**GOOD, "ties": "abc"}],
        [{name: [0.5 + i / 10_000 for i in range(600)] for name in GOOD}],
    ],
)
def test_a_damaged_table_is_refused(wrong: Any) -> None:
    assert Conformal.from_json([GOOD], THREE).tables[0].quantile(0.5) == (0.1, 0.7)
    with pytest.raises(ModelFormatError):
        Conformal.from_json(wrong, THREE)


def test_a_rate_lies_between_0_and_1() -> None:
    conformal = Conformal(tables=(QuantileTable(),))
    for wrong in (0, 1, 1.5, "0.9", True, None):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            require_conformal(conformal, wrong)
    assert require_conformal(conformal, np.float32(0.5)) is conformal
    with pytest.raises(ConfigError, match="makes no sets"):
        require_conformal(None, 0.9)
