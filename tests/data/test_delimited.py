"""Files of separated values: encodings, separators, and rows of unlike lengths."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotransfer.data.delimited import foreign_bytes, read_rows
from autotransfer.errors import DataError

HEADER, ROWS = ("path", "label"), [["a.png", "x"], ["b.png", "y"]]


def write(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    return tmp_path / "t.csv"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_text_is_decoded_by_its_mark(csv: Path, encoding: str, end: str) -> None:
    found = read_rows(write(csv, end.join(["path,label", "Käfer.png,größe", ""]).encode(encoding)))
    assert (found.header, list(map(list, found.rows))) == (HEADER, [["Käfer.png", "größe"]])


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-32-be", "utf-16-le"])
def test_every_order_of_bytes_has_its_mark(csv: Path, encoding: str) -> None:
    data = "\ufeffpath,label\na.png,x\nb.png,y\n".encode(encoding)
    assert list(map(list, read_rows(write(csv, data)).rows)) == ROWS


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_text_without_a_mark_is_refused_by_name(csv: Path, encoding: str) -> None:
    with pytest.raises(DataError, match=f"reads as {encoding.upper()} without a byte order mark.*{encoding}"):
        read_rows(write(csv, "path,label\nKäfer.png,x\n".encode(encoding)))


@pytest.mark.parametrize("data", [b"path,label\0\n", bytes(range(256)), b"\xff\xfep\0a\0t"])
def test_what_is_no_text_is_refused(csv: Path, data: bytes) -> None:
    with pytest.raises(DataError, match=r"binary data|cannot be read as such|at least one row"):
        read_rows(write(csv, data))


def test_bytes_of_another_encoding_are_kept_and_told() -> None:
    kept = b"K\xe4fer".decode("utf-8", "surrogateescape")
    assert foreign_bytes(kept) == ("cp1252", "Käfer")
    assert foreign_bytes(b"\x81".decode("utf-8", "surrogateescape")) == ("latin-1", "\x81")
    assert foreign_bytes("Käfer") is None


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na.png,x\nb.png,y\n",
        "path;label\na.png;x\nb.png;y\n",
        "path\tlabel\na.png\tx\nb.png\ty\n",
        "path|label\na.png|x\nb.png|y\n",
        "path label\na.png x\nb.png  y\n",
        "sep=;\npath;label\na.png;x\nb.png;y\n",
        "SEP=,\r\npath,label\r\na.png,x\r\nb.png,y\r\n",
        '"sep=|"\npath|label\na.png|x\nb.png|y\n',
        # Separators at the end of rows, and rows without any value.
        "path,label\na.png,x,\nb.png,y,\n",
        "path,label,\na.png,x,\nb.png,y,\n",
        "path,label,,\na.png,x\nb.png,y\n",
        "path,label\n\na.png,x\n,\n  \nb.png,y\n,,,\n",
        '"path","label"\n"a.png", "x"\n"b.png", "y"\n',
    ],
)
def test_one_table_in_many_forms(csv: Path, text: str) -> None:
    found = read_rows(write(csv, text))
    assert (found.header, [[*row] for row in found.rows], found.skipped) == (HEADER, ROWS, ())


def test_commas_of_a_semicolon_table_are_no_separators(csv: Path) -> None:
    found = read_rows(write(csv, "path;size, cm;note\na.png;0,5;x, y\nb.png;1,5;z\n"))
    assert (found.header, found.rows[0]) == (("path", "size, cm", "note"), ["a.png", "0,5", "x, y"])


def test_a_tab_table_may_be_one_of_commas(tmp_path: Path) -> None:
    assert read_rows(write(tmp_path / "t.tsv", "path,label\na.png,x\n")).header == HEADER


def test_nameless_last_column_is_kept_if_it_holds_values(csv: Path) -> None:
    found = read_rows(write(csv, "path,label,\na.png,x,1\nb.png,y,2\n"))
    assert (found.header, found.rows[1]) == (("path", "label", ""), ["b.png", "y", "2"])


def test_rows_of_another_length_are_named_by_their_line(csv: Path) -> None:
    found = read_rows(write(csv, 'sep=,\npath,label\na.png,"x\ny"\nb.png\nc.png,x,1,2\nd.png,z\n'))
    assert [row[0] for row in found.rows] == ["a.png", "d.png"]
    assert [(one.name.rpartition(", ")[2], one.reason) for one in found.skipped] == [
        ("line 5", "1 fields; the header has 2"),
        ("line 6", "4 fields; the header has 2"),
    ]


@pytest.mark.parametrize("rows", ["a.png,0,5\nb.png,1,5\n", "1,a.png,x\n2,b.png,y\n"])
def test_rows_that_all_have_more_than_the_header_are_explained(csv: Path, rows: str) -> None:
    with pytest.raises(DataError, match=r"header, which has 2: \['path', 'label'\]; most rows have 3.*quotes.*'0,5'"):
        read_rows(write(csv, "path,label\n" + rows))


def test_a_quote_without_an_end_is_refused_with_its_line(csv: Path) -> None:
    # It would hold all other rows.
    with pytest.raises(DataError, match=r"line \d+: unexpected end of data"):
        read_rows(write(csv, 'path,label\na.png,x\nb.png,"y\nc.png,x\n'))
