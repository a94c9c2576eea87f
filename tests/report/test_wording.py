"""Numbers and names as a reader sees them."""

from __future__ import annotations

import math

import pytest

from autotransfer.report.wording import (
    count_text,
    duration_text,
    interval_text,
    listed,
    metric_words,
    score_text,
    share_text,
    signed_text,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (2.44, "2.4 s"), (9.97, "10 s"), (59.6, "1 min"), (250, "4 min 10 s"), (7500, "2 h 5 min")],
)
def test_durations_have_units(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ("accuracy", "Accuracy"),
        ("f1_macro", "F1 macro"),
        ("neg_log_loss", "Negative log loss"),
        ("roc_auc", "ROC AUC"),
        ("recall of 'a_b of c'", "Recall of 'a_b of c'"),
    ],
)
def test_metrics_are_words_and_classes_stay(metric: str, text: str) -> None:
    assert metric_words(metric) == text


def test_scores_have_three_places_and_large_ones_four_digits() -> None:
    assert [score_text(score) for score in (0.98765, -1234.5, math.nan, None)] == [
        "0.988",
        "-1234",
        "not defined",
        "not defined",
    ]
    assert interval_text(0.1, 0.2, 0.15) == "95% interval 0.100 to 0.200"
    assert interval_text(math.nan, 0.2, 0.15) == "no interval"


def test_small_errors_keep_their_digits() -> None:
    assert [score_text(error) for error in (-0.000123456, 0.0, -0.0, 1234567.8)] == [
        "-0.000123",
        "0.000",
        "0.000",
        "1234568",
    ]
    assert interval_text(-2e-4, -1e-4, -1.5e-4) == "95% interval -0.000200 to -0.000100"
    assert interval_text(0.0, 0.0031, 0.0) == "95% interval 0.000 to 0.003", "it is that of a share"
    assert signed_text(1e-5, -1e-4) == "+0.000010"
    assert (signed_text(4e-4, 0.9), share_text(4e-4)) == ("+0.000", "0.000")


def test_numbers_of_things_are_spelled() -> None:
    assert [count_text(1, "class", "classes"), count_text(1200, "class", "classes")] == ["1 class", "1,200 classes"]
    assert listed(["a", "b", "c"], 2) == "a, b, and 1 more"
    assert listed(["a"], 2) == "a"
