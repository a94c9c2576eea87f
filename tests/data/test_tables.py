"""Tables: which column is what, where the files are, and columns that divide the rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from autotransfer.data.sources import find_examples, load_examples
from autotransfer.errors import DataError, DataNotFoundError

Write = Callable[..., Path]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Six images in ``img``, and the same ones without a name that tells it in ``ids``."""
    for i, name in enumerate("abcdef"):
        for file in (tmp_path / "table" / "img" / f"{name}.png", tmp_path / "ids" / f"00{i}.png"):
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (9, 9), 40 * i).save(file)
    return tmp_path / "table"


@pytest.fixture
def write(place: Path) -> Write:
    def write(*lines: str, encoding: str = "utf-8", name: str = "t.csv") -> Path:
        (place / name).write_bytes("\n".join([*lines, ""]).encode(encoding, "surrogateescape"))
        return place / name

    return write


# Where the files are


def test_backslashes_are_slashes_where_no_file_has_them(write: Write) -> None:
    examples = load_examples(write("path,label", r"img\a.png,x", r"img\b.png,y", "img/c.png,x"))
    assert (examples.targets, examples.skipped) == (["x", "y", "x"], ())


def test_a_root_and_a_suffix_make_paths_of_ids(write: Write, place: Path) -> None:
    table = write("id,label", "000,x", "001,y", "002,x")
    examples = load_examples(table, root=place.parent / "ids", suffix=".png")
    assert examples.targets == ["x", "y", "x"]
    assert [Path(item).name for item in examples.items] == ["000.png", "001.png", "002.png"]
    assert examples.names == ("000", "001", "002")


def test_a_frame_and_a_list_have_a_root_and_a_suffix_too(place: Path) -> None:
    where = {"root": place.parent / "ids", "suffix": "png"}
    frame = pd.DataFrame({"id": ["000", "001"], "label": ["x", "y"]})
    assert load_examples(frame, **where).targets == ["x", "y"]
    assert load_examples(["000", "001"], [0, 1], **where).targets == [0, 1]
    with pytest.raises(DataError, match="root and suffix are for tables and lists of paths; got"):
        load_examples(place, **where)


def test_a_suffix_that_would_do_is_suggested(write: Write, place: Path) -> None:
    table = write("id,label", "000,x", "001,y")
    with pytest.raises(DataError, match=r"With --suffix .png .* the column 'id' holds paths"):
        load_examples(table, root=place.parent / "ids")


def test_where_most_files_are_missing_the_places_are_told(write: Write, place: Path) -> None:
    rows = ["img/a.png,x", "img/b.png,y", *(f"gone/{i}.png,x" for i in range(3))]
    examples = load_examples(write("path,label", *rows))
    assert (examples.skipped[0].name, examples.skipped[0].reason, examples.skipped[0].label) == (
        "gone/0.png",
        "not found",
        "x",
    )
    assert examples.advice == (
        f"Most files are missing: looked for '{place}/gone/0.png'; --root names the folder where paths start, --suffix "
        "what they lack at the end.",
    )
    assert load_examples(write("path,label", *rows[:3])).advice == ()
    with pytest.raises(
        DataNotFoundError, match=r"None of the 3 files listed is there.*looked for .*gone/0\.png.*--root"
    ):
        load_examples(write("path,label", *rows[2:]))


# Encodings


def test_labels_in_another_encoding_are_refused_with_its_name(write: Write) -> None:
    table = write("path,label", "img/a.png,Käfer", "img/b.png,y", encoding="latin-1")
    with pytest.raises(DataError, match=r"not in UTF-8: .*line 2 .*'label'.*'Käfer' in the encoding cp1252.*read_csv"):
        load_examples(table)
    assert load_examples(pd.read_csv(table, encoding="cp1252").replace("img", str(table.parent / "img"), regex=True))


@pytest.mark.parametrize("column", ["target_column", "groups"])
def test_every_column_that_is_used_must_be_text(write: Write, column: str) -> None:
    table = write("path,label,wer", "img/a.png,x,Jürgen", "img/b.png,y,b", encoding="latin-1")
    with pytest.raises(DataError, match=r"in the column 'wer'"):
        load_examples(table, **{column: "wer"})
    assert load_examples(table).targets == ["x", "y"], "a remark that nobody reads does no harm"


def test_a_path_that_another_encoding_names_is_told(write: Write, place: Path) -> None:
    (place / "img/a.png").rename(place / "img/Käfer.png")
    table = write("path,label", "img/Käfer.png,x", "img/b.png,y", encoding="latin-1")
    with pytest.raises(DataError, match=r"'img/Käfer\.png' in the encoding cp1252"):
        load_examples(table)


# Headers


@pytest.mark.parametrize("first", ["img/f.png,x", "gone/f.JPG,x"])
def test_a_first_row_of_data_is_no_header(write: Write, first: str) -> None:
    with pytest.raises(DataError, match="put a header row above it"):
        load_examples(write(first, "img/a.png,x", "img/b.png,y"))


def test_a_first_row_of_ids_is_no_header(write: Write, place: Path) -> None:
    with pytest.raises(DataError, match="names a file, '000'"):
        load_examples(write("000,x", "001,y"), root=place.parent / "ids", suffix="png")


# Columns of parts

ROWS = tuple(f"img/{name}.png,{label}" for name, label in zip("abcdef", "xyxyxy", strict=True))


def divided(write: Write, parts: str, column: str = "split", target: str = "label") -> Path:
    return write(f"path,{target},{column}", *map(",".join, zip(ROWS, parts.split(" "), strict=True)))


@pytest.mark.parametrize("column", ["split", "Subset", "fold", "partition", "set", "phase", "which"])
@pytest.mark.parametrize("parts", ["train train train val test test", "Training TRAIN train Valid testing Test"])
def test_a_column_of_parts_divides_the_rows(write: Write, column: str, parts: str) -> None:
    for target in ("label", "finding"):  # with it, it is no second target either
        examples = load_examples(divided(write, parts, column, target))
        assert examples.targets == list("xyxyxy")
        assert examples.parts == ("train", "train", "train", "validation", "test", "test")
        assert examples.divided_by == f"the column {column!r}"
        assert examples.only("test").targets == ["x", "y"]


def test_a_row_without_a_part_is_left_out(write: Write) -> None:
    examples = load_examples(divided(write, "train train train train test "))
    assert examples.parts == ("train",) * 4 + ("test",)
    assert [(s.name.rpartition(", ")[2], s.reason) for s in examples.skipped] == [
        ("line 7", "nothing in the column split")
    ]


@pytest.mark.parametrize(
    ("column", "parts"),
    [("split", "train train train train test extra"), ("fold", "0 1 2 0 1 2"), ("is_test", "0 0 0 0 1 1")],
)
def test_column_of_something_else_is_not_used_and_named(write: Write, column: str, parts: str) -> None:
    examples = load_examples(divided(write, parts, column))
    assert (len(examples), examples.parts) == (6, None)
    (warning,) = examples.warnings
    assert (warning.code, warning.details["column"]) == ("split_ignored", column)
    assert set(warning.details["values"]) == set(parts.split())


def test_a_column_of_parts_may_be_the_target_or_the_group(write: Write) -> None:
    table = divided(write, "train train train test test test")
    assert load_examples(table, target_column="split").parts is None
    assert load_examples(table, groups="split").groups == ("train",) * 3 + ("test",) * 3
    vehicles = write("path,vehicle", "img/a.png,train", "img/b.png,test", "img/c.png,train", "img/d.png,test")
    assert load_examples(vehicles).targets == ["train", "test", "train", "test"]


def test_one_file_in_two_parts_is_in_both(write: Write) -> None:
    # That the test repeats the training is said elsewhere.
    table = write("path,label,split", "img/a.png,x,train", "img/b.png,y,train", "img/a.png,x,test", "img/a.png,x,test")
    examples = load_examples(table)
    assert examples.parts == ("train", "train", "test")
    assert [s.reason for s in examples.skipped] == ["duplicate row"]


# Predicting


def test_a_table_gives_an_image_for_each_row_in_its_order(write: Write) -> None:
    table = write("path,label", "img/b.png,x", "img/gone.png,y", "img/a.png,x", "img/b.png,x")
    names = ("img/b.png", "img/gone.png", "img/a.png", "img/b.png")
    for data in (table, str(table), [table]):
        assert find_examples(data).names == names
    paths = [str(table.parent / name) for name in names]
    assert find_examples(pd.DataFrame({"file": paths})).names == tuple(paths)


def test_a_table_of_paths_alone_will_do(write: Write, place: Path) -> None:
    assert len(find_examples(write("file", "img/a.png", "img/b.png"))) == 2
    assert len(find_examples(write("id", "000", "001"), root=place.parent / "ids", suffix="png")) == 2


def test_rows_without_a_path_are_refused_if_each_row_counts(write: Write) -> None:
    table = write("path,label", "img/a.png,x", ",y", "img/b.png,y,z")
    assert [s.reason for s in find_examples(table).skipped] == ["3 fields; the header has 2", "no path"]
    with pytest.raises(DataError, match=r"Not every row of .* names an example \(2 left out; .*line 4: 3 fields"):
        find_examples(table, strict=True)
    with pytest.raises(DataNotFoundError, match=r"None of the 1 files that .* lists is there; .*looked for"):
        find_examples(write("path,label", "img/gone.png,x"))
