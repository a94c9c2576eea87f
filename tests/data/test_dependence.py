"""FoldRunner of whole clusters tell dependent examples of many kinds from independent ones of many kinds."""

from __future__ import annotations

import numpy as np
import pytest

from autotransfer.data.dependence import Dependence, compare_folds
from autotransfer.data.near_duplicates import find_near_duplicates
from autotransfer.tasks.task import Kind, infer_task

WIDTH = 96


def compared(features: np.ndarray, targets: list[object], kind: Kind | None = None) -> Dependence | None:
    task = infer_task(targets, kind)
    encoded = task.encode(targets)
    found = find_near_duplicates(features, ["x"] * len(features), encoded if task.single_label else None)
    assert found is not None
    return compare_folds(features, encoded, task, found.clusters, [str(i) for i in range(len(features))])


def objects(count: int, per: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return features of exposures of objects, and the object of each."""
    rng, of = np.random.default_rng(seed), np.repeat(np.arange(count), per)
    return (rng.normal(size=(count, WIDTH))[of] + noise * rng.normal(size=(len(of), WIDTH))).astype(np.float32), of


def kinds(count: int, classes: int, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return features of independent examples of classes, and the class of each."""
    rng, of = np.random.default_rng(seed), np.arange(count) % classes
    return (spread * rng.normal(size=(classes, WIDTH))[of] + rng.normal(size=(count, WIDTH))).astype(np.float32), of


@pytest.mark.parametrize("per", [2, 4, 20])
def test_exposures_of_objects_with_labels_of_their_own_fall_far(per: int) -> None:
    features, of = objects(240 // per, per, noise=0.5)
    label = np.random.default_rng(1).integers(0, 3, 240 // per)
    found = compared(features, label[of].tolist())
    assert found is not None
    assert found.falls_far
    assert found.random > found.clustered + 0.3
    assert found.clustered < 0.5, "nothing tells the label of an object that was not trained"


def test_repeated_subjects_of_a_regression_fall_far() -> None:
    features, of = objects(60, 4, noise=0.5)
    found = compared(features, np.random.default_rng(1).normal(size=60)[of].tolist(), "regression")
    assert found is not None
    assert found.falls_far
    assert found.random > 0.5 > 0.2 > found.clustered


def test_repeated_subjects_with_several_labels_fall_far() -> None:
    features, of = objects(60, 4, noise=0.5)
    labels = (np.random.default_rng(1).random((60, 4)) < 0.4).astype(int)
    found = compared(features, list(labels[of]), "multilabel")
    assert found is not None
    assert found.falls_far


@pytest.mark.parametrize(("count", "classes"), [(60, 2), (400, 2), (400, 10), (480, 40), (3000, 10)])
@pytest.mark.parametrize("spread", [0.2, 0.5, 2.0])
def test_independent_examples_do_not(count: int, classes: int, spread: float) -> None:
    features, of = kinds(count, classes, spread)
    found = compared(features, of.tolist())
    assert found is not None
    assert not found.falls_far


def test_independent_examples_of_classes_of_unequal_size_do_not() -> None:
    features, of = kinds(1000, 10, 0.5)
    kept = np.random.default_rng(1).random(1000) < np.geomspace(1, 0.05, 10)[of]
    found = compared(features[kept], of[kept].tolist())
    assert found is not None
    assert not found.falls_far


def test_independent_examples_of_a_regression_do_not() -> None:
    features, _ = kinds(400, 8, 1.0)
    rng = np.random.default_rng(1)
    found = compared(features, (features @ rng.normal(size=WIDTH) + rng.normal(size=400)).tolist(), "regression")
    assert found is not None
    assert not found.falls_far


def test_handwritten_digits_do_not() -> None:
    from sklearn.datasets import load_digits

    data = load_digits()
    found = compared(data.data.astype(np.float32), data.target.tolist())
    assert found is not None
    assert not found.falls_far
    assert found.random == pytest.approx(0.94, abs=0.03)
    assert found.clustered == pytest.approx(0.88, abs=0.04)


def test_copies_are_no_dependence() -> None:
    features, of = kinds(100, 2, 0.2)
    task = infer_task(of.tolist())
    twice = np.concatenate([features, features])
    digests = [str(i % 100) for i in range(200)]
    found = compare_folds(twice, np.tile(of, 2), task, np.arange(200) % 100, digests)
    assert found is not None
    assert found.error_ratio == pytest.approx(1.0, abs=0.3)


def test_too_few_examples_are_not_compared() -> None:
    features, of = kinds(8, 2, 1.0)
    assert compare_folds(features, of, infer_task(of.tolist()), np.arange(8), [str(i) for i in range(8)]) is None


@pytest.mark.slow
def test_many_examples_and_classes_are_compared_in_part() -> None:
    features, of = kinds(12_000, 300, 1.0)
    found = compared(features, of.tolist())
    assert found is not None
    assert not found.falls_far
