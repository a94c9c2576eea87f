"""Copies and near-duplicates of what was trained are counted, and what is merely of one kind is not."""

from __future__ import annotations

import numpy as np
import pytest

from autotransfer.data.train_test_overlap import Overlap, count_overlap
from autotransfer.warnings import WarningList

WIDTH = 300


def looks(count: int, seed: int) -> np.ndarray:
    """Return features (N, WIDTH) of images of five kinds."""
    rng = np.random.default_rng(seed)
    kinds = np.random.default_rng(99).normal(size=(5, WIDTH))
    return (kinds[np.arange(count) % 5] + rng.normal(size=(count, WIDTH))).astype(np.float32)


def test_copies_are_counted_once() -> None:
    seen, new = looks(100, 0), looks(40, 1)
    new[:10] = seen[:10]
    digests = [*(f"seen {i}" for i in range(10)), *(f"new {i}" for i in range(30))]
    found = count_overlap(digests, [f"seen {i}" for i in range(100)], new, seen)
    assert found == Overlap(copies=10, near_duplicates=0, examples=40)


def test_near_duplicates_are_found_beside_other_exposures() -> None:
    rng, objects = np.random.default_rng(0), np.repeat(np.arange(60), 3)
    seen = looks(60, 0)[objects] + 0.3 * rng.normal(size=(180, WIDTH))
    new = np.concatenate([seen[::9] + 0.1 * rng.normal(size=(20, WIDTH)), looks(60, 1)])
    found = count_overlap(["x"] * 80, ["y"], new, seen, objects=objects)
    assert found.near_duplicates == 20


def test_independent_examples_repeat_nothing() -> None:
    found = count_overlap(["x"] * 500, ["y"] * 500, looks(500, 0), looks(500, 1))
    assert found.near_duplicates == 0
    assert not found


@pytest.mark.parametrize(("near", "told"), [(None, False), (2, False), (30, True)])
def test_a_few_that_look_the_same_are_no_news(near: int | None, told: bool) -> None:
    warnings = WarningList()
    Overlap(copies=0, near_duplicates=near, examples=200).warn("test", warnings)
    assert [warning.code for warning in warnings] == ["test_overlaps_training"] * told


def test_the_warning_counts() -> None:
    warnings = WarningList()
    Overlap(copies=3, near_duplicates=None, examples=10).warn("validation", warnings)
    (warning,) = warnings
    assert warning.code == "validation_overlaps_training"
    assert warning.details == {"copies": 3, "near_duplicates": None, "examples": 10}
    assert "3 of 10 validation examples repeat examples to train on" in warning.message
