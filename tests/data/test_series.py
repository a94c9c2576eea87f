"""Names group examples by the numbers that they share, and by numbers that are near each other."""

from __future__ import annotations

import numpy as np
import pytest

from autotransfer.data.series import join_over_classes, keys_from_names, neighbours_by_name, reading_order


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


def _spoken(form: str, count: int = 4) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return names of clips of three digits and four speakers, the digits, and the set of each speaker's digit."""
    clips = [(digit, speaker) for digit in range(3) for speaker in range(4) for _ in range(count)]
    names = [form.format(digit, "abcd"[speaker], i % count) for i, (digit, speaker) in enumerate(clips)]
    digits, speakers = np.array(clips).T
    return names, digits, 4 * digits + speakers


@pytest.mark.parametrize("form", ["{}_{}_{}.wav", "clips/{1}-digit{0}-{2}.wav", "x_{2}_{1}_{0}_y.wav"])
def test_sets_that_differ_in_their_class_alone_are_joined(form: str) -> None:
    names, digits, cells = _spoken(form)
    joined = join_over_classes(cells, names, digits)
    assert len(np.unique(joined)) == 4
    assert len(np.unique(np.stack([joined, cells % 4]), axis=1).T) == 4, "one set for each speaker"


def test_sets_stay_where_names_do_not_say_the_class() -> None:
    names, digits, cells = _spoken("{}_{}_{}.wav")
    for other in (
        [f"{cell}_{i}.wav" for i, cell in enumerate(cells)],  # one number for speaker and digit
        [f"{digit}_{i}.wav" for i, digit in enumerate(digits)],  # no speaker
        [name.replace("_", "__x_" if i else "_") for i, name in enumerate(names)],  # not of one form
    ):
        np.testing.assert_array_equal(join_over_classes(cells, other, digits), cells)
    np.testing.assert_array_equal(join_over_classes(cells, names, np.zeros(len(cells))), cells)
    two = cells % 4 < 2  # half of the examples in one set are too many
    few = [name for name, kept in zip(names, two, strict=True) if kept]
    np.testing.assert_array_equal(join_over_classes(cells[two], few, digits[two]), cells[two])
