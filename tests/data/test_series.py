"""Names group examples by the numbers that they share, and by numbers that are near each other."""

from __future__ import annotations

import numpy as np
import pytest

from autotransfer.data.series import keys_from_names, neighbours_by_name, reading_order


def groupings(names: list[str]) -> list[set[frozenset[int]]]:
    """Return what names may be grouped by: for each key the sets of two and more."""
    return [
        {frozenset(np.flatnonzero(key == value).tolist()) for value in np.unique(key[key >= 0])}
        for key in keys_from_names(names)
    ]


@pytest.mark.parametrize(
    "names",
    [
        ["IMG_20240229_235959.jpg", "IMG_20240301_000001.jpg", "IMG_20240301_101500.jpg", "IMG_20240301_101501.jpg"],
        ["2024-02-29 23.59.59.png", "2024-03-01 00.00.01.png", "2024-03-01 10.15.00.png", "2024-03-01 10.15.01.png"],
        ["1709251199", "1709251201", "1709288100", "1709288101"],
        ["shot7.jpg", "shot9.jpg", "shot500.jpg", "shot501.jpg"],
    ],
)
def test_bursts_are_sets_between_wide_gaps(names: list[str]) -> None:
    others = [f"other {chr(97 + i)}" for i in range(20)]  # or else two of four would be a large share
    assert {frozenset({0, 1}), frozenset({2, 3})} in groupings(names + others)


def test_evenly_numbered_names_have_no_bursts() -> None:
    assert not any(groupings([f"{10 * i:04d}.png" for i in range(40)]))


def test_a_time_that_does_not_exist_is_a_number_like_others() -> None:
    first, second = neighbours_by_name(["20240230_120000", "20240230_120001"])
    assert (first.tolist(), second.tolist()) == ([0], [1])


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["s1.png", "s2.png", "s3.png", "s9.png"], {(0, 1), (1, 2), (0, 2)}),
        (["f_0010", "f_0020", "f_0030"], {(0, 1), (1, 2), (0, 2)}),
        (["a1", "b2", "c3"], set()),
        (["p1_s1", "p1_s2", "p2_s1"], {(0, 1), (0, 2)}),
        ([], set()),
        (["no number", "at all"], set()),
    ],
)
def test_neighbours_differ_in_one_number_and_little(names: list[str], pairs: set[tuple[int, int]]) -> None:
    first, second = neighbours_by_name(names)
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == pairs


def test_the_reading_order_takes_numbers_for_numbers() -> None:
    assert reading_order(["b10", "b9", "a2", "a", "10", "9" * 5000]).tolist() == [4, 5, 3, 2, 1, 0]
