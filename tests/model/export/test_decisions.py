"""What an export says of thresholds: all of them to programs, and in words not too many."""

from __future__ import annotations

from autotransfer.model.export.decisions import advice, in_words, thresholds_of
from autotransfer.tasks.task import Task


def test_thresholds_are_named_by_label() -> None:
    assert thresholds_of(Task(kind="binary", classes=(0, 1), thresholds=(0.75, 0.25))) == {"0": 0.75, "1": 0.25}
    assert thresholds_of(Task(kind="binary", classes=(0, 1))) == {}
    assert thresholds_of(Task(kind="regression", metric="r2")) == {}


def test_equal_thresholds_and_many_are_said_in_short() -> None:
    assert in_words({"a": 0.25, "b": 0.25}) == "0.250 for every label"
    many = in_words({str(i): i / 100 for i in range(1, 13)})
    assert many.startswith("0.010 for '1', 0.020 for '2'")
    assert many.endswith("0.100 for '10', and 2 more")


def test_a_card_says_what_would_be_wrong_without() -> None:
    binary = Task(kind="binary", classes=("bad", "good"), thresholds=(0.75, 0.25))
    assert advice(binary, "in its metadata") == (
        "This model decides by thresholds: a label is predicted where its probability is above 0.750 for 'bad', 0.250 "
        "for 'good' (in its metadata). It was scored by such decisions; the most probable class may be another."
    )
    several = Task(kind="multilabel", classes=("bad", "good"), thresholds=(0.75, 0.25))
    assert advice(several, "there").endswith("the labels above one half may be others.")
    assert advice(Task(kind="binary", classes=("bad", "good")), "there") == ""
