"""Columns of targets: numbers or labels, how numbers are written, and what is said of it."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from autotransfer.data.columns import TargetFormat, TargetReader, match_target_format
from autotransfer.data.number_format import NumberFormat
from autotransfer.data.sources import load_examples
from autotransfer.errors import DataError


def read(values: list[Any], **options: Any) -> tuple[list[Any], TargetFormat, str]:
    """Read a column of a table file; return its values, how they were read, and what is said of it."""
    settings = {name: options.pop(name) for name in ("kind", "separator", "train_format") if name in options}
    found, reading, warnings = TargetReader(**settings).read({"y": values}, untyped=True, **options)
    assert all(warning.code == "target_format_assumed" for warning in warnings)
    return found, reading, " ".join(warning.message for warning in warnings)


@pytest.mark.parametrize(
    ("texts", "numbers", "example"),
    [
        (["0,5", "1,25", "2"], [0.5, 1.25, 2.0], "'1,25' reads as 1.25"),
        (["10%", "2.5 %", "5%"], [10.0, 2.5, 5.0], "'2.5 %' reads as 2.5"),
        (["10,5%", "2%"], [10.5, 2.0], "'10,5%' reads as 10.5"),
        (["1,100.5", "12"], [1100.5, 12.0], "'1,100.5' reads as 1100.5"),
        (["1.100,5", "0,5"], [1100.5, 0.5], "'1.100,5' reads as 1100.5"),
        (["1 100,5", "-2,0"], [1100.5, -2.0], "'1 100,5' reads as 1100.5"),
        (["1'100", "950"], [1100.0, 950.0], '"1\'100" reads as 1100'),
        (["\u22121,5", "1,5"], [-1.5, 1.5], "reads as -1.5"),
    ],
)
def test_numbers_in_other_forms_are_numbers_and_it_is_said(
    texts: list[str], numbers: list[float], example: str
) -> None:
    found, reading, said = read(texts)
    assert found == numbers
    assert reading.kind == "regression"
    assert example in said
    assert "--task multiclass" in said


@pytest.mark.parametrize(
    "texts",
    [
        ["007", "7", "1"],  # leading zeros
        ["1e5", "2e3", "1e5"],
        ["1.0", "2.0", "1.0"],
        ["True", "False", "True"],
        ["10%", "ten", "2%"],  # one is no number
        ["1,2,3", "4,5"],
        ["1,10", "1.5"],
        ["1.2.3", "1.2.4"],  # versions
        ["1e999", "1"],  # no number of a computer
    ],
)
def test_labels_stay_what_they_are(texts: list[str]) -> None:
    found, reading, _ = read(texts)
    assert found == texts
    assert reading.kind is None


def test_a_comma_that_could_be_either_mark_follows_the_table() -> None:
    texts = ["62,125", "100,641"]
    assert read(texts)[0] == [62125.0, 100641.0]
    assert read(texts, comma=True)[0] == [62.125, 100.641]
    assert read(["1.500", "2.250"], comma=True)[0] == [1.5, 2.25], "without a comma there is nothing to ask"


def test_few_whole_numbers_are_classes_without_a_word() -> None:
    assert read(list("0123456789") * 3)[2] == ""
    assert read(["1", "5", "3"] * 5) == ([1, 5, 3] * 5, TargetFormat(columns=("y",), number_format=NumberFormat()), "")


def test_whole_numbers_are_classes_with_a_warning() -> None:
    found, reading, said = read([str(18 + i % 40) for i in range(400)])
    assert found[:2] == [18, 19]
    assert reading.kind is None
    assert said.startswith("40 classes from the column y, whole numbers such as 18")
    assert "--task regression reads them as numbers" in said


def test_whole_numbers_that_mostly_come_once_are_numbers() -> None:
    # As classes they could not be split at all.
    found, reading, said = read([str(i * i) for i in range(60)])
    assert found[:3] == [0.0, 1.0, 4.0]
    assert reading.kind == "regression"
    assert "--task multiclass reads them as 60 classes" in said


def test_few_fractions_are_numbers_and_the_other_way_is_said() -> None:
    _, reading, said = read(["0.5", "1.5"] * 10)
    assert reading.kind == "regression"
    assert "--task multiclass reads them as 2 classes" in said
    assert read([f"{i / 7:.5f}" for i in range(50)])[2] == "", "nobody would take these for classes"


@pytest.mark.parametrize(("kind", "values"), [("regression", [0.5, 1.5]), ("multiclass", ["0,5", "1,5"])])
def test_the_user_overrules_and_nothing_is_said_then(kind: Any, values: list[Any]) -> None:
    found, _, said = read(["0,5", "1,5"], kind=kind)
    assert found == values
    assert ("reads as" in said) == (kind == "regression")


def test_missing_words_are_missing_among_numbers_only() -> None:
    found, _, said = read(["1.5", "NA", "2", "n/a"])
    assert found == [1.5, None, 2.0, None]
    assert "2 values of the column y are taken for missing ('NA', 'n/a')" in said
    found, _, said = read(["NA", "DE", "NA"])
    assert found == ["NA", "DE", "NA"], "the country code of Namibia"
    assert "'NA' in the column y is a class of 2 examples" in said


def test_labels_that_look_like_lists_give_a_warning() -> None:
    said = read(["a|b", "b|a", "a"])[2]
    assert "('a|b', 'b|a'): --label-separator '|' reads them" in said
    assert read(["new york", "new jersey", "ohio"])[2] == ""
    assert read(["a/b", "c/d", "e"])[2] == "", "no part comes twice"


def test_a_separator_divides_texts_in_any_order() -> None:
    found, reading, said = read(["a|b", "b| a", "a", "a|a|", None], separator="|")
    assert found == [("a", "b"), ("a", "b"), ("a",), ("a",), None]
    assert (reading.kind, said) == ("multilabel", "")
    with pytest.raises(DataError, match=r"divides texts; the column y hold 3"):
        read([3, 4], separator="|")
    with pytest.raises(DataError, match="it is empty"):
        read(["a"], separator="")


def test_several_columns_take_words_for_true_and_false() -> None:
    found, reading, _ = TargetReader().read({"b": ["yes", "no"], "a": ["1", "0"], "c": [True, False]})
    assert found == [[1, 1, 1], [0, 0, 0]]
    assert reading.columns == ("b", "a", "c")
    assert TargetReader().read({"x": ["0,5", "1"], "z": ["2", "3"]})[0] == [[0.5, 2.0], [1.0, 3.0]]
    with pytest.raises(DataError, match="'a' holds 'maybe'"):
        TargetReader().read({"a": ["yes", "maybe"], "b": ["1", "0"]})


def test_what_goes_with_examples_is_read_as_they_were() -> None:
    trained = read(["0,5", "1,125"])[1]
    assert read(["1,125", "NA", "3"], train_format=trained)[0] == [1.125, None, 3.0]
    assert read(["1,100", "5"], train_format=read(["1,100.5", "12"])[1])[0] == [1100.0, 5.0]
    labels = read(["1e5", "2e3"])[1]
    assert read(["1e5"], train_format=labels)[0] == ["1e5"]


def test_typed_texts_are_labels_unless_they_are_quantities() -> None:
    assert TargetReader().read(["0", "1", "1"])[0] == ["0", "1", "1"]
    assert TargetReader().read(["0,5", "1,5", "1"])[0] == [0.5, 1.5, 1.0]
    assert TargetReader().read(["0,5", "1,5"], labels=True)[0] == ["0,5", "1,5"]
    assert TargetReader(kind="regression").read(["18", "40"], labels=True)[0] == [18.0, 40.0]


def test_columns_are_told_by_their_names() -> None:
    trained = TargetFormat(columns=("a", "b"))
    assert match_target_format([[1, 2]], TargetFormat(columns=("b", "a")), [[5, 6]], trained)[0] == [[2, 1]]
    assert match_target_format([[1, 0], [1, 1]], TargetFormat(columns=("b", "a")), [("a",)], TargetFormat())[0] == [
        ["b"],
        ["b", "a"],
    ]
    with pytest.raises(DataError, match=r"in the columns \['a', 'c'\]"):
        match_target_format([[1, 2]], TargetFormat(columns=("a", "c")), [[5, 6]], trained)


def test_labels_take_the_spelling_of_those_to_train_on() -> None:
    assert match_target_format([0, 1.0, 7], TargetFormat(), ["0", "1"], TargetFormat())[0] == ["0", "1", 7]
    assert match_target_format(["0", "1.0"], TargetFormat(), [0, 1], TargetFormat())[0] == [0, 1]


def test_a_series_names_the_targets() -> None:
    import numpy as np

    images, ages = np.zeros((40, 8, 8), np.uint8), pd.Series(np.arange(40) % 20, name="age")
    (warning,) = load_examples(images, ages).warnings
    assert "20 classes from the column age" in warning.message
    assert warning.to_json()["columns"] == ["age"]
