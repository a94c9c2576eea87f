"""Thresholds that are chosen on held-out examples are better than one half on others, and say by how much honestly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from autotransfer.selection.out_of_fold import OutOfFold
from autotransfer.selection.thresholds import choose_thresholds, shifted
from autotransfer.tasks.task import Task

RARE = Task(kind="binary", classes=("no", "yes"), metric="f1", positive_class="yes")
LABELS = Task(kind="multilabel", classes=("a", "b", "c"), metric="f1_macro")


def _held_out(task: Task, targets: np.ndarray) -> OutOfFold:
    n = len(targets)
    parts = np.array_split(np.random.default_rng(1).permutation(n), 5)
    return OutOfFold(task=task, rows=np.arange(n), targets=targets, parts=tuple(map(np.sort, parts)))


def _two_classes(n: int, seed: int, rate: float = 0.08) -> tuple[np.ndarray, np.ndarray]:
    """Return targets, and calibrated probabilities (n, 2) of a rare class."""
    rng = np.random.default_rng(seed)
    probability = expit(rng.normal(np.log(rate), 1.3, n))
    targets = (rng.random(n) < probability).astype(np.int64)
    return targets, np.stack([1 - probability, probability], axis=1).astype(np.float32)


def _labels(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return targets, and probabilities (n, 3) that are far too low for the last label."""
    rng = np.random.default_rng(seed)
    probabilities = expit(rng.normal([0.0, -2.5, -1.0], 1.3, (n, 3)))
    targets = (rng.random((n, 3)) < probabilities).astype(np.float32)
    return targets, (probabilities * [1.0, 1.0, 0.2]).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["f1", "jaccard", "balanced_accuracy", "matthews_corrcoef", "f1_macro"])
def test_a_rare_class_scores_higher_on_unseen_examples(metric: str) -> None:
    task, gains, honesty = replace(RARE, metric=metric), [], []
    for seed in range(3):
        targets, probabilities = _two_classes(800, seed)
        found = choose_thresholds(_held_out(task, targets), probabilities)
        assert found is not None
        assert found.thresholds[1] < 0.5
        assert found.score_after > found.score_before
        others = _two_classes(3000, 100 + seed)
        tuned = replace(task, thresholds=found.thresholds).score(*others)
        gains.append(tuned - task.score(*others))
        honesty.append(found.score_after - tuned)
    assert min(gains) > 0
    assert np.mean(honesty) == pytest.approx(0, abs=0.06)


def test_several_labels_score_higher_on_unseen_examples() -> None:
    targets, probabilities = _labels(800, 0)
    found = choose_thresholds(_held_out(LABELS, targets), probabilities)
    assert found is not None
    a, b, c = found.thresholds
    assert c < 0.5 * min(a, b)  # one each: in common would be far from the best of the last label
    others = _labels(4000, 1)
    assert replace(LABELS, thresholds=found.thresholds).score(*others) > LABELS.score(*others) + 0.1


def test_labels_alike_get_one_threshold_in_common() -> None:
    rng = np.random.default_rng(0)
    probabilities = expit(rng.normal(-2.0, 1.2, (150, 12))).astype(np.float32)
    targets = (rng.random((150, 12)) < probabilities).astype(np.float32)
    task = Task(kind="multilabel", classes=tuple("abcdefghijkl"), metric="f1_micro")
    found = choose_thresholds(_held_out(task, targets), probabilities)
    assert found is not None
    assert len(set(found.thresholds)) == 1
    assert found.thresholds[0] < 0.45


@pytest.mark.parametrize("average", ["f1_samples", "f1_weighted", "f1_micro", "jaccard_macro"])
def test_every_average_over_labels_can_be_improved(average: str) -> None:
    targets, probabilities = _labels(600, 0)
    found = choose_thresholds(_held_out(replace(LABELS, metric=average), targets), probabilities)
    assert found is not None
    assert found.score_after > found.score_before


def test_the_positive_class_may_be_the_first() -> None:
    targets, probabilities = _two_classes(600, 0)
    turned = Task(kind="binary", classes=("a yes", "no"), metric="f1", positive_class="a yes")
    one = choose_thresholds(_held_out(RARE, targets), probabilities)
    other = choose_thresholds(_held_out(turned, 1 - targets), probabilities[:, ::-1])
    assert one is not None
    assert other is not None
    assert other.thresholds == one.thresholds[::-1]
    assert other.score_after == pytest.approx(one.score_after)


def test_one_half_stays_where_nothing_is_better() -> None:
    targets = np.arange(100) % 2
    certain = np.stack([1 - targets, targets], axis=1).astype(np.float32) * 0.8 + 0.1
    found = choose_thresholds(_held_out(RARE, targets), certain)
    assert found is not None
    assert (found.thresholds, found.score_after) == ((), 1.0)
    assert found.predictions is certain
    assert choose_thresholds(_held_out(replace(RARE, metric="accuracy"), targets), certain) is None
    assert choose_thresholds(replace(_held_out(RARE, targets), parts=(np.arange(100),)), certain) is None


def test_each_part_is_decided_by_thresholds_of_the_others() -> None:
    # The first part has its own best threshold, 0.9: chosen on it, the score would be perfect.
    n = 100
    targets = np.tile([0, 0, 0, 1], 25)
    positive = np.where(targets == 1, 0.4, 0.2)
    positive[:20] = np.where(targets[:20] == 1, 0.95, 0.85)
    parts = tuple(np.arange(i, i + 20) for i in range(0, n, 20))
    held_out = OutOfFold(task=RARE, rows=np.arange(n), targets=targets, parts=parts)
    found = choose_thresholds(held_out, np.stack([1 - positive, positive], axis=1).astype(np.float32))
    assert found is not None
    decided = RARE.decide(found.predictions)
    assert decided[:20].all()  # the others want a threshold below 0.4
    assert (decided[20:] == targets[20:]).all()


def test_shifted_probabilities_decide_as_thresholds_do() -> None:
    rng = np.random.default_rng(0)
    for thresholds in [(0.97, 0.03), (0.2, 0.8), (0.5, 0.5)]:
        positive = np.concatenate([rng.random(5000), np.nextafter(thresholds[1], [0, 1])]).astype(np.float32)
        probabilities = np.stack([1 - positive, positive], axis=1)
        task = replace(RARE, thresholds=thresholds)
        moved = shifted(task, probabilities, thresholds)
        assert (RARE.decide(moved) == task.decide(probabilities)).all()
        assert (np.diff(moved[np.argsort(positive), 1]) >= 0).all()
    several = rng.random((5000, 3)).astype(np.float32)
    task = replace(LABELS, thresholds=(0.1, 0.5, 0.9))
    assert (LABELS.decide(shifted(task, several, task.thresholds)) == task.decide(several)).all()
    assert shifted(task, several, ()) is several
