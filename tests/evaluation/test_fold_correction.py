"""Scores on one fold made comparable with scores on all: no fold flatters, and none promises what nobody saw."""

from __future__ import annotations

import pytest

from autotransfer.evaluation.fold_correction import correct_for_fold


@pytest.mark.parametrize(("first", "whole"), [(0.81, 0.9), (0.97, 0.9), (0.9, 0.9), (1.0, 0.98)])
def test_equal_scores_on_the_first_fold_are_equal_on_all(first: float, whole: float) -> None:
    assert correct_for_fold(first, first=first, whole=whole, examples=50, perfect_score=1.0) == pytest.approx(
        whole, abs=0.01
    )


def test_a_gain_on_a_hard_fold_counts_less_on_all() -> None:
    # an X-ray data set: 5 errors of 43 against 8, where the other has 22 of 215; the sum would be 0.97
    found = correct_for_fold(38 / 43, first=35 / 43, whole=193 / 215, examples=43, perfect_score=1.0)
    assert 0.92 < found < 0.95


@pytest.mark.parametrize("examples", [1, 20, 1000])
@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_it_rises_with_the_score_and_stays_a_share(score: float, examples: int) -> None:
    found, better = (
        correct_for_fold(min(s, 1.0), first=0.7, whole=0.8, examples=examples, perfect_score=1.0)
        for s in (score, score + 0.1)
    )
    assert 0.0 < found <= better < 1.0


def test_a_hard_fold_raises_scores_and_an_easy_one_lowers_them() -> None:
    hard, easy = (
        correct_for_fold(0.8, first=first, whole=0.8, examples=100, perfect_score=1.0) for first in (0.7, 0.9)
    )
    assert easy < 0.8 < hard


@pytest.mark.parametrize(
    ("score", "first", "whole", "perfect_score", "expected"),
    [(-3.0, -5.0, -4.0, 0.0, -2.0), (-0.5, -5.0, -4.0, 0.0, 0.0), (0.2, -0.1, 0.1, 1.0, 0.4)],
    ids=["an error", "never beyond the best", "less than the mean explains"],
)
def test_other_scores_are_shifted(
    score: float, first: float, whole: float, perfect_score: float, expected: float
) -> None:
    assert correct_for_fold(score, first=first, whole=whole, examples=50, perfect_score=perfect_score) == pytest.approx(
        expected
    )
