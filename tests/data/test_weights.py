"""Weights of examples are read beside the data or from a column; one of 0 leaves its example out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from autotransfer.data.examples import Examples
from autotransfer.data.sources import load_examples
from autotransfer.data.weights import without_weightless
from autotransfer.errors import DataError, UnknownNameError
from autotransfer.pipeline.load_data import load_data
from autotransfer.settings import DataArguments, DataOptions

TEXTS = [f"the text number {i} is a long one" for i in range(6)]
LABELS = ["a", "b"] * 3
WEIGHTS = [1.0, 2.0, 0.0, 0.5, 3.0, 1.0]


def _csv(folder: Path, weights: list[Any], name: str = "table.csv", column: str = "w") -> Path:
    frame = pd.DataFrame({"text": TEXTS, "label": LABELS, column: weights})
    frame.to_csv(folder / name, index=False)
    return folder / name


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor, pd.Series, lambda w: np.array(w, dtype=object)])
def test_weights_beside_the_examples(kind: Any) -> None:
    assert load_examples(TEXTS, LABELS, sample_weight=kind(WEIGHTS)).weights == tuple(WEIGHTS)


def test_weights_follow_examples_that_are_missing(tmp_path: Path) -> None:
    for name in ("a.png", "c.png"):
        (tmp_path / name).touch()
    paths = [tmp_path / f"{letter}.png" for letter in "abc"]
    assert load_examples(paths, ["x", "y", "x"], sample_weight=[1, 2, 3]).weights == (1.0, 3.0)


def test_weights_in_a_column(tmp_path: Path) -> None:
    expected = tuple(WEIGHTS)
    examples = load_examples(_csv(tmp_path, WEIGHTS), weight_column="w")
    assert examples.weights == expected
    assert examples.targets == LABELS, "the column of weights is no column of targets"
    german = tmp_path / "german.csv"
    rows = [f"{t};{label};{str(w).replace('.', ',')}" for t, label, w in zip(TEXTS, LABELS, WEIGHTS, strict=True)]
    german.write_text("\n".join(["text;label;w", *rows]))
    assert load_examples(german, weight_column="w").weights == expected
    frame = pd.read_csv(tmp_path / "table.csv")
    assert load_examples(frame, weight_column="w").weights == expected
    assert load_examples(frame[["text", "w"]], LABELS, weight_column="w").weights == expected
    assert load_examples(frame[["text", "label"]], sample_weight=WEIGHTS).weights == expected


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 2, 3], "6 examples but 3 weights: give one for each"),
        ([1, 1, -0.5, 1, 1, 1], r"The weight of example 2 is no finite number from 0 on: -0\.5"),
        ([1, 1, 1, float("nan"), 1, 1], "There is no weight of example 3: give each example one"),
        ([1, 1, 1, 1, float("inf"), 1], "The weight of example 4 is no finite number"),
        (["much"] * 6, "The weight of example 0 is no finite number from 0 on: 'much'"),
        (np.ones((6, 2)), r"one number for each example, an array \(N,\); got the shape \(6, 2\)"),
        (3.0, "Weights are a sequence with one number for each example; got float"),
    ],
)
def test_wrong_weights_are_refused(weights: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_examples(TEXTS, LABELS, sample_weight=weights)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 1, "", 1, 1, 1], r"no weight of .*line 4 in the column 'w': give each example one; 0 leaves it out"),
        ([1, 1, "-1", 1, 1, 1], r"The weight of .*line 4 in the column 'w' is no finite number from 0 on: -1\.0"),
        ([1, 1, "heavy", 1, 1, 1], r"The weight of .*line 4 in the column 'w' is no number: 'heavy'"),
    ],
)
def test_wrong_weights_of_a_table_name_their_row(tmp_path: Path, weights: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_examples(_csv(tmp_path, weights), weight_column="w")


def test_weights_need_a_place(tmp_path: Path) -> None:
    (tmp_path / "photos" / "a").mkdir(parents=True)
    (tmp_path / "photos" / "a" / "1.png").touch()
    with pytest.raises(DataError, match="no order for sample_weight: give a list of paths with targets, or a table"):
        load_examples(tmp_path / "photos", sample_weight=[1.0])
    with pytest.raises(DataError, match="Columns are for tables; got list: leave weight_column out"):
        load_examples(TEXTS, LABELS, weight_column="w")
    with pytest.raises(DataError, match="give weight_column or sample_weight, not both"):
        load_examples(_csv(tmp_path, WEIGHTS), sample_weight=WEIGHTS, weight_column="w")
    with pytest.raises(UnknownNameError, match="weight"):
        load_examples(_csv(tmp_path, WEIGHTS), weight_column="weight")


def test_examples_of_weight_zero_are_left_out() -> None:
    examples = without_weightless(load_examples(TEXTS, LABELS, sample_weight=WEIGHTS))
    assert examples.names == tuple(f"item {i}" for i in (0, 1, 3, 4, 5))
    assert examples.weights == (1.0, 2.0, 0.5, 3.0, 1.0)
    assert [(one.name, one.reason, one.label) for one in examples.skipped] == [("item 2", "its weight is 0", "a")]
    with pytest.raises(DataError, match="All weights are zero: give at least one example"):
        without_weightless(load_examples(TEXTS, LABELS, sample_weight=[0.0] * 6))


def _load(data: Any, targets: Any = None, *, test: Any = None, **options: Any) -> tuple[Examples, Examples | None]:
    return load_data(DataArguments(data=data, targets=targets, test=test), DataOptions(**options))


def test_examples_to_score_on_may_have_weights_of_their_own(tmp_path: Path) -> None:
    own = {"validation": TEXTS[:2], "validation_targets": LABELS[:2]}
    examples, test = _load(
        TEXTS, LABELS, test=TEXTS, test_targets=LABELS, test_sample_weight=[2] * 6, sample_weight=WEIGHTS, **own
    )
    assert examples.weights == (1.0, 2.0, 0.5, 3.0, 1.0, 1.5, 1.5), "those without have the mean weight"
    assert test is not None
    assert test.weights == (2.0,) * 6
    examples, _ = _load(TEXTS, LABELS, validation_sample_weight=[4.0, 2.0], **own)
    assert examples.weights == (3.0,) * 6 + (4.0, 2.0)
    with pytest.raises(DataError, match="All weights of the examples to train on, or of those to score on, are zero"):
        _load(TEXTS, LABELS, sample_weight=WEIGHTS, validation_sample_weight=[0.0, 0.0], **own)
    with pytest.raises(ValueError, match="validation_sample_weight needs examples in validation"):
        _load(TEXTS, LABELS, validation_sample_weight=[1.0])


def test_column_of_weights_may_be_missing_from_the_test_table(tmp_path: Path) -> None:
    train, weighted = _csv(tmp_path, WEIGHTS), _csv(tmp_path, WEIGHTS, "test.csv")
    plain = _csv(tmp_path, WEIGHTS, "plain.csv", column="other")
    frame = pd.read_csv(plain)[["text", "label"]]
    for test, expected in ((weighted, (1.0, 2.0, 0.5, 3.0, 1.0)), (frame, None)):
        examples, loaded = _load(str(train), test=test, weight_column="w")
        assert examples.weights == (1.0, 2.0, 0.5, 3.0, 1.0)
        assert loaded is not None
        assert loaded.weights == expected
    with pytest.raises(UnknownNameError):
        _load(str(plain), weight_column="w")
