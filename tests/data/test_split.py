"""Splits: both sides look alike, and copies of an image or members of a group never face each other."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotransfer.data.split import check_class_sizes, split, split_folds
from autotransfer.errors import DataError
from autotransfer.tasks.task import Task, infer_task


def distinct(count: int) -> list[str]:
    return [f"digest {i}" for i in range(count)]


def cut(targets: Any, digests: list[str] | None = None, share: float = 0.25, **options: Any) -> tuple[Any, ...]:
    task = infer_task(targets)
    encoded = task.encode(targets)
    train, validation = split(encoded, task, digests or distinct(len(targets)), share=share, **{"seed": 0, **options})
    assert sorted([*train, *validation]) == list(range(len(targets)))
    assert (np.diff(train) > 0).all()
    assert (np.diff(validation) > 0).all()
    return encoded, train, validation


def test_classes_keep_their_shares() -> None:
    encoded, train, validation = cut(["a"] * 120 + ["b"] * 40 + ["c"] * 8)
    assert np.bincount(encoded[validation]).tolist() == [30, 10, 2]
    assert np.bincount(encoded[train]).tolist() == [90, 30, 6]


@pytest.mark.slow
def test_thousands_of_classes_take_little_memory() -> None:
    # A matrix of examples by classes would take 160 MB here, and 4 GB for a hundred thousand images.
    encoded = np.arange(10_000) % 2000
    task = Task(kind="multiclass", classes=tuple(range(2000)))
    tracemalloc.start()
    try:
        train, validation = split(encoded, task, distinct(10_000), share=0.4, seed=0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (np.bincount(encoded[train]) == 3).all()
    assert (np.bincount(encoded[validation]) == 2).all()
    assert peak < 20e6


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 0.9, 0.99])
def test_every_class_with_two_images_is_on_both_sides(share: float) -> None:
    encoded, train, validation = cut([c for c in range(30) for _ in range(2 + c % 5)], share=share)
    assert set(encoded[train]) == set(encoded[validation]) == set(range(30))


def test_the_seed_decides() -> None:
    targets = ["a", "b"] * 50
    first, again, other = (cut(targets, seed=seed)[2].tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_classes_with_one_image_are_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"Class 'emu' has fewer than two"):
        cut(["ant"] * 5 + ["emu"] + ["bee"] * 5)
    with pytest.raises(DataError, match=r"Classes 'emu', 'yak' have"):
        cut(["ant"] * 5 + ["emu", "yak"])
    # A class whose images were all unreadable is still one of the task's.
    with pytest.raises(DataError, match="'c'"):
        check_class_sizes(np.array([0, 0, 1, 1]), Task(kind="multiclass", classes=("a", "b", "c")))


def test_a_class_of_copies_or_of_one_group_is_refused() -> None:
    with pytest.raises(DataError, match=r"'b'.*copies"):
        cut(["a"] * 4 + ["b"] * 3, [*distinct(4), "x", "x", "x"])
    with pytest.raises(DataError, match=r"'b'.*groups"):
        cut(["a"] * 4 + ["b"] * 3, groups=[1, 2, 3, 4, 5, 5, 5])


def test_copies_and_groups_stay_on_one_side_even_when_chained() -> None:
    targets = [i % 2 for i in range(60)]
    digests = [f"{i // 3}" for i in range(60)]  # triples of copies ...
    groups = [i // 4 for i in range(60)]  # ... that overlap with groups of four: blocks of twelve
    _, train, validation = cut(targets, digests, groups=groups)
    assert not {i // 12 for i in train} & {i // 12 for i in validation}


def test_large_groups_are_stratified() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 30, 60)
    groups = np.repeat(np.arange(60), sizes)
    targets = (rng.random(len(groups)) < 0.3).astype(int)
    encoded, train, validation = cut(targets, groups=groups.tolist())
    assert not set(groups[train]) & set(groups[validation])
    assert len(validation) / len(groups) == pytest.approx(0.25, abs=0.03)
    assert encoded[validation].mean() == pytest.approx(encoded.mean(), abs=0.03)


def test_multilabel_keeps_every_label_on_both_sides() -> None:
    rng = np.random.default_rng(0)
    often = rng.random((200, 6)) < [0.5, 0.3, 0.1, 0.05, 0.02, 0.0]
    often[:3, 5] = True
    encoded, train, validation = cut(often.astype(int))
    assert encoded[train].any(0).all()
    assert encoded[validation].any(0).all()
    assert len(validation) == pytest.approx(50, abs=6)
    assert encoded[validation].sum() / encoded.sum() == pytest.approx(0.25, abs=0.03)


def test_a_label_that_occurs_once_is_trained_on() -> None:
    rows = [["a"], ["b"], ["a", "b"]] * 10 + [["a", "rare"]]
    encoded, train, _ = cut(rows)
    assert encoded[train].any(0).all()


def test_regression_covers_the_range_on_both_sides() -> None:
    rng = np.random.default_rng(0)
    targets = np.sort(rng.lognormal(size=200))
    encoded, _, validation = cut(targets)
    assert len(validation) == 50
    for quarter in range(4):  # as many from each quarter of the values
        assert 10 <= ((validation >= quarter * 50) & (validation < quarter * 50 + 50)).sum() <= 15
    several = rng.random((40, 3))
    assert len(cut(several)[2]) == 10
    assert encoded.shape == (200, 1)


@pytest.mark.parametrize("targets", [[0.5] * 10, [0.1, 0.2, 0.3, 0.4], [0.0] * 9 + [0.5] * 2])
def test_regressions_of_few_or_equal_values(targets: list[float]) -> None:
    task = Task(kind="regression", metric="r2")
    train, validation = split(task.encode(targets), task, distinct(len(targets)), share=0.25, seed=0)
    assert len(train) >= 2
    assert len(validation) >= 2


def test_too_few_examples_are_refused() -> None:
    task = Task(kind="regression", metric="r2")
    with pytest.raises(DataError, match="3 examples that differ are too few"):
        split(task.encode([0.1, 0.2, 0.3]), task, distinct(3), share=0.25, seed=0)
    with pytest.raises(DataError, match="1 examples"):
        split(task.encode([0.1, 0.2, 0.3]), task, ["same"] * 3, share=0.25, seed=0)
    with pytest.raises(DataError, match="too few"):
        cut([["a"], ["b"]], ["same"] * 2)
    with pytest.raises(DataError, match=r"4 examples but 3 groups"):
        cut(["a", "b"] * 2, groups=[1, 2, 3])


def test_groups_that_join_all_classes_are_refused() -> None:
    # Each class is in two groups, but every way of parting them leaves one class on one side.
    with pytest.raises(DataError, match="are on one side"):
        cut(["a", "b", "b", "c", "c", "a"], groups=[1, 1, 2, 2, 3, 3])


@pytest.mark.parametrize("count", [2, 3, 5])
def test_folds_hold_every_example_once(count: int) -> None:
    targets = ["a"] * 40 + ["b"] * 21 + ["c"] * 2
    task = infer_task(targets)
    encoded = task.encode(targets)
    digests = distinct(63)
    parts = split_folds(encoded, task, digests, count=count, seed=0)
    assert sorted(i for _, validation in parts for i in validation) == list(range(63))
    for train, validation in parts:
        assert sorted([*train, *validation]) == list(range(63))
        assert set(encoded[train]) == {0, 1, 2}
        assert {0, 1} <= set(encoded[validation])
        assert len(validation) == pytest.approx(63 / count, abs=2)


def test_folds_keep_groups_together_and_refuse_too_few() -> None:
    task = infer_task([0, 1] * 20)
    encoded, groups = task.encode([0, 1] * 20), [i // 4 for i in range(40)]
    for train, validation in split_folds(encoded, task, distinct(40), count=5, seed=0, groups=groups):
        assert not {groups[i] for i in train} & {groups[i] for i in validation}
        assert len(validation) == 8
    with pytest.raises(DataError, match="10 examples that differ are too few"):
        split_folds(encoded, task, distinct(40), count=11, seed=0, groups=groups)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    classes=st.lists(st.integers(2, 9), min_size=2, max_size=6),
    share=st.floats(0.05, 0.95),
    seed=st.integers(0, 100),
    copies=st.integers(1, 3),
)
def test_any_split_parts_the_examples_and_keeps_copies_together(
    classes: list[int], share: float, seed: int, copies: int
) -> None:
    targets = [c for c, count in enumerate(classes) for _ in range(count * copies)]
    digests = [f"{i // copies}" for i in range(len(targets))]
    encoded, train, validation = cut(targets, digests, share, seed=seed)
    assert not {digests[i] for i in train} & {digests[i] for i in validation}
    assert set(encoded[train]) == set(encoded[validation])
