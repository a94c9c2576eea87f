"""Tables with what goes wrong in tables of examples: right values, or an error that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotransfer.data.sources import load_examples
from autotransfer.errors import DataError

TEXTS = [
    "A film that never lets go of its story",
    "Dull, long, and far too loud for me",
    "The actors carry what the script forgets",
    "I left before the end and was glad",
]
TABLE = "text,label\n" + "".join(f'"{text} {i}",{i % 2}\n' for i, text in enumerate(TEXTS * 50))


def texts_of(tmp_path: Path, data: str | bytes, name: str = "t.csv") -> list[str]:
    """Return the examples of a file."""
    (tmp_path / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return list(load_examples(tmp_path / name).items)


@pytest.mark.parametrize(
    "data", [b"\xef\xbb\xbf" + TABLE.encode(), TABLE.replace("\n", "\r\n").encode(), TABLE.encode("utf-16")]
)
def test_marks_and_ends_of_lines_are_no_part_of_a_text(tmp_path: Path, data: bytes) -> None:
    assert texts_of(tmp_path, data)[:2] == [f"{TEXTS[0]} 0", f"{TEXTS[1]} 1"]


@pytest.mark.parametrize(
    "cell",
    [
        'line one\nline "two"\n\nline three',
        '=HYPERLINK("http://x") and more of it',
        "x y " * 300_000 + "end",
        "a NUL \0 within it",
    ],
)
def test_any_cell_comes_back_as_it_was_written(tmp_path: Path, cell: str) -> None:
    quoted = cell.replace('"', '""')
    assert texts_of(tmp_path, f'{TABLE}"{quoted}",1\n')[-1] == cell


def test_few_broken_bytes_cost_their_row_and_many_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(TABLE.encode().replace(b"story 0", b"story \xff\xfe"))
    examples = load_examples(path)
    assert [(one.name[-6:], one.reason) for one in examples.skipped] == [("line 2", "bytes that are not UTF-8")]
    assert len(examples) == 199
    path.write_bytes(TABLE.replace("film", "fülm").encode("latin-1"))
    with pytest.raises(DataError, match=r"not in UTF-8: .*line 2 holds .*'A fülm that.*encoding='cp1252'"):
        load_examples(path)


def test_cells_that_are_all_empty_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No column .*; there is nothing in the column 'text'"):
        texts_of(tmp_path, "text,label\n" + "".join(f'"",{i % 2}\n' for i in range(2000)))


def test_quotes_that_do_not_pair_up_are_characters(tmp_path: Path) -> None:
    lines = [
        f"{text}\t{i % 2}" for i, text in enumerate(['"Never again', 'it\'s "fine", they say', '" again " and', "so"])
    ]
    assert texts_of(tmp_path, "\n".join(["text\tlabel", *lines]), "t.tsv")[:2] == [
        '"Never again',
        'it\'s "fine", they say',
    ]
    paired = 'text\tlabel\n"two\nlines ""here"" of it"\t1\nand another one\t0\n'
    assert texts_of(tmp_path, paired, "t.tsv") == ['two\nlines "here" of it', "and another one"]
