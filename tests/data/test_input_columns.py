"""Tables whose cells are the examples: which column holds them, and what is in the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from autotransfer.contract.registry import installed_modalities
from autotransfer.data.recognition import modality_named
from autotransfer.data.sources import find_examples, load_examples
from autotransfer.errors import ConfigError, DataError, UnknownNameError

TEXTS = [
    "A film that never lets go of its story",
    "Dull, long, and far too loud for me",
    "The actors carry what the script forgets",
    "I left before the end and was glad",
    "Warm, funny and over too soon",
    "Nothing in it that I had not seen before",
]
LABELS = ["pos", "neg"] * 3
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes columns into a CSV file."""

    def write(name: str = "t.csv", **columns: Sequence[Any]) -> Path:
        pd.DataFrame(columns).to_csv(tmp_path / name, index=False, sep="\t" if name.endswith("v\t") else ",")
        return tmp_path / name

    return write


def codes(examples: Any) -> list[str]:
    return [warning.code for warning in examples.warnings]


def test_a_plain_column_of_texts_is_found(write: Write) -> None:
    examples = load_examples(write(id=range(6), review=TEXTS, stars=LABELS))
    assert (list(examples.items), examples.targets, examples.columns) == (TEXTS, LABELS, ("review",))
    assert (examples.modality and examples.modality.name, codes(examples)) == ("text", [])
    assert examples.names[1].endswith("t.csv, line 3")
    assert "6 texts" in examples.described
    assert "texts in the column review, targets in stars" in examples.described


def test_the_target_is_neither_the_examples_nor_codes(write: Write) -> None:
    with pytest.raises(DataError, match=r"Which column of .* is the target\? It has \['review', 'mood', 'place'\]"):
        load_examples(write(review=TEXTS, mood=LABELS, place=LABELS))
    examples = load_examples(write(key=[f"{i:08x}-4f" for i in range(6)], n=range(3, 9), review=TEXTS, mood=LABELS))
    assert (examples.columns, examples.targets) == (("review",), LABELS)


def test_a_column_of_titles_is_never_the_target(write: Write) -> None:
    examples = load_examples(write(title=[text[:18] for text in TEXTS], body=[5 * t for t in TEXTS], mood=LABELS))
    assert (examples.columns, examples.targets, codes(examples)) == (("body",), LABELS, ["input_assumed"])
    assert examples.warnings[0].details == {"columns": ["body"], "others": ["title"]}


def test_two_columns_that_could_be_meant_are_asked_for(write: Write) -> None:
    table = write(question=TEXTS, answer=TEXTS[::-1], label=LABELS)
    with pytest.raises(DataError, match=r"holds the examples\? 'question', 'answer' could.*--input-column"):
        load_examples(table)
    assert load_examples(table, input_column="answer").items[0] == TEXTS[-1]
    for both in ("question,answer", ["question", "answer"]):
        examples = load_examples(table, input_column=both)
        assert (examples.items[0], examples.columns) == ((TEXTS[0], TEXTS[-1]), ("question", "answer"))
    with pytest.raises(UnknownNameError, match="question"):
        load_examples(table, input_column="questoin")
    with pytest.raises(ConfigError, match="not both"):
        load_examples(table, input_column="answer", path_column="question")


def test_files_that_are_there_are_examples_first(write: Write, tmp_path: Path) -> None:
    for i in range(6):
        Image.new("L", (9, 9), i).save(tmp_path / f"{i}.png")
    table = write(file=[f"{i}.png" for i in range(6)], caption=TEXTS, label=LABELS)
    examples = load_examples(table)
    assert (examples.modality and examples.modality.name, examples.columns) == ("image", ("file",))
    assert codes(examples) == ["input_assumed"]
    assert "'caption' could be meant" in examples.warnings[0].message
    assert codes(load_examples(table, path_column="file")) == []
    assert load_examples(table, input_column="caption").items[0] == TEXTS[0]
    assert load_examples(table, modalities=modality_named("text")).columns == ("caption",)


def test_a_column_of_paths_is_no_text(write: Write) -> None:
    with pytest.raises(DataError, match="None of the 6 files listed is there"):
        load_examples(write(file=[f"photos of pets/{i}.png" for i in range(6)], label=LABELS))


def test_text_files_of_a_table_are_found(write: Write, tmp_path: Path) -> None:
    for i, text in enumerate(TEXTS):
        (tmp_path / f"{i}.txt").write_text(text)
    examples = load_examples(write(file=[f"{i}.txt" for i in range(6)], label=LABELS))
    assert (examples.modality and examples.modality.name, examples.items[2]) == ("text", tmp_path / "2.txt")


def test_cells_of_a_frame_may_be_images_and_arrays() -> None:
    images = [Image.new("L", (9, 9), i) for i in range(6)]
    for cells in (images, [np.asarray(image) for image in images]):
        examples = load_examples(pd.DataFrame({"picture": cells, "note": TEXTS, "label": LABELS}))
        assert (examples.columns, examples.targets) == (("picture",), LABELS)
        assert codes(examples) == ["input_assumed"]
        assert len(find_examples(pd.DataFrame({"picture": cells}), modalities=modality_named("image"))) == 6


def test_targets_may_stand_beside_a_frame() -> None:
    frame = pd.DataFrame({"text": ["good", "bad", "good", "bad"], "n": [1, 2, 3, 4]})
    assert load_examples(frame[["text"]], [0, 1, 0, 1]).items == ["good", "bad", "good", "bad"]
    assert load_examples(frame, [0, 1, 0, 1], input_column="text").targets == [0, 1, 0, 1]
    with pytest.raises(DataError, match="There is nothing in row 1, in texts in the column text"):
        load_examples(frame.replace("bad", None), [0, 1, 0, 1], input_column="text")


def test_rows_without_an_example_are_left_out_with_the_reason(write: Write) -> None:
    table = write(review=[*TEXTS[:5], None], stars=LABELS)
    examples = load_examples(table)
    assert [(one.name[-6:], one.reason) for one in examples.skipped] == [("line 7", "nothing in the column review")]
    with pytest.raises(DataError, match=r"Not every row of .* names an example"):
        find_examples(table, strict=True, modalities=modality_named("text"))


def test_examples_to_predict_on_are_in_the_columns_of_training(write: Write) -> None:
    table, text = write(question=TEXTS, answer=TEXTS[::-1]), modality_named("text")
    assert find_examples(table, columns=["answer"], modalities=text).items == TEXTS[::-1]
    assert find_examples(table, columns=["question", "answer"], modalities=text).items[0] == (TEXTS[0], TEXTS[-1])
    assert find_examples(table, columns=["answer"], input_column="question", modalities=text).items == TEXTS
    with pytest.raises(DataError, match="holds the examples"):
        find_examples(table, columns=["gone"], modalities=text)


def test_strings_of_every_kind_of_sequence_are_texts() -> None:
    text = modality_named("text")
    for data in (TEXTS, tuple(TEXTS), np.array(TEXTS), np.array(TEXTS, object), pd.Series(TEXTS), np.array([TEXTS]).T):
        examples = load_examples(data, LABELS)
        assert (list(examples.items), examples.modality and examples.modality.name) == (TEXTS, "text")
        assert list(find_examples(data, modalities=text).items) == TEXTS
        assert examples.names[3] == "item 3"
    assert find_examples("Warm and funny", modalities=text).items == ["Warm and funny"]


def test_strings_that_look_like_files_are_paths(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="None of the 2 files listed is there"):
        load_examples(["a/b.wav", "a/c.wav"], [0, 1])
    for name in ("one", "two"):
        (tmp_path / name).write_text("x")
    assert load_examples([str(tmp_path / "one"), str(tmp_path / "two")], [0, 1]).items[0] == tmp_path / "one"


def test_empty_strings_are_refused_in_one_sentence() -> None:
    with pytest.raises(DataError, match="All 50000 strings are empty"):
        load_examples([""] * 50_000, [0, 1] * 25_000)


def test_a_value_of_no_modality_is_refused() -> None:
    with pytest.raises(DataError, match=r"Item 0 is dict; data are .*an array or tensor of images.*; or .*texts"):
        load_examples([{}], [0])
    assert {modality.name for modality in installed_modalities()} >= {"image", "text"}
