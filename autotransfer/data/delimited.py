"""Files of separated values: their encoding, what separates the values, and rows of unlike lengths."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autotransfer.contract.modality import Skipped
from autotransfer.errors import DataError

__all__ = ["Rows", "foreign_bytes", "read_rows"]

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before the next one, which it begins with
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WIDE = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
_SEPARATORS = (",", ";", "\t", "|")
_SPACES = " "
_SAMPLE = 50  # rows that are enough to tell what separates values
_SURROGATE = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of a file.

    Attributes:
        header: The first row.
        rows: The other ones, each as long as the header.
        lines: The line of the file that each ends in.
        skipped: Rows of other lengths.
        separator: What stands between the values.
    """

    header: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    lines: Sequence[int]
    skipped: tuple[Skipped, ...] = ()
    separator: str = ","


def read_rows(path: Path) -> Rows:
    """Read a file of values that commas, semicolons, tabs, bars or spaces separate.

    Bytes that are no UTF-8 become surrogates, since paths may hold any; see ``foreign_bytes``. A line ``sep=;`` at the
    beginning, as spreadsheets write it, says what separates.

    Raises:
        DataError: It is no table, or in another encoding.
    """
    text = _decoded(path)
    first, _, rest = text.partition("\n")
    skip, separator = 0, None
    if said := re.fullmatch(r"\"?sep=(.)\"?\r?", first, re.IGNORECASE):
        skip, separator, text = 1, said[1], rest
    if separator is None:
        separator = _separator(text, "\t" if path.suffix.lower() in (".tsv", ".tab") else ",")
    try:
        lines = _split(text, separator)
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as values with {separator!r} between them: {error}.") from None
    if len(lines) < 2:
        raise DataError(f"{path} needs a header row and at least one row below it; it has {len(lines)} rows.")
    return replace(_even(path, [(number + skip, fields) for number, fields in lines]), separator=separator)


def foreign_bytes(text: str) -> tuple[str, str] | None:
    """Return the encoding that a text with bytes other than UTF-8 is probably in, and how it reads then; else None."""
    if not _SURROGATE.search(text):
        return None
    data = text.encode("utf-8", "surrogateescape")
    for encoding in ("cp1252", "latin-1"):
        try:
            return encoding, data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise AssertionError("latin-1 reads every byte")


def _decoded(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}.") from None
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                # Paths may hold bytes that are no UTF-8; surrogateescape carries them to the file system.
                return data[len(mark) :].decode(encoding, "surrogateescape" if encoding == "utf-8" else "strict")
            except UnicodeDecodeError as error:
                raise DataError(f"{path} begins as {encoding.upper()} and cannot be read as such: {error}.") from None
    if b"\0" in data:
        raise DataError(f"{path} is no text in UTF-8: {_wide_encoding(data)}.")
    return data.decode("utf-8", "surrogateescape")


def _wide_encoding(data: bytes) -> str:
    """Say what a file with NULs is."""
    for encoding in _WIDE:
        try:
            sample = data.decode(encoding)[:200]
        except UnicodeDecodeError:
            continue
        plain = sum(char < "\u0250" and (char.isprintable() or char in "\r\n\t") for char in sample)
        if plain > len(sample) / 2:
            return (
                f"it reads as {encoding.upper()} without a byte order mark. Save it as UTF-8, or give "
                f"pandas.read_csv(path, encoding={encoding!r})"
            )
    return "it holds binary data"


def _split(text: str, separator: str, most: int | None = None) -> list[tuple[int, list[str]]]:
    """Return rows, but for those without any value, with the line that each ends in.

    Raises:
        csv.Error: A quoted value has no end.
    """
    found: list[tuple[int, list[str]]] = []
    if separator == _SPACES:
        rows = ((number, line.split()) for number, line in enumerate(io.StringIO(text), 1))
    else:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
        rows = ((reader.line_num, fields) for fields in reader)
    try:
        for number, fields in rows:
            if any(field.strip() for field in fields):
                found.append((number, fields))
            if most is not None and len(found) >= most:
                break
    except csv.Error as error:
        where = "" if separator == _SPACES else f"line {reader.line_num}: "
        raise csv.Error(f"{where}{error}") from None
    return found


def _separator(text: str, usual: str) -> str:
    """Return what separates values: what gives most rows as many values as the header has, two at least."""

    def fit(separator: str) -> tuple[float, int]:
        try:
            rows = [_stripped(fields, 0) for _, fields in _split(text, separator, _SAMPLE)]
        except csv.Error:
            return 0.0, 0
        width = len(rows[0]) if rows else 0
        alike = sum(len(_stripped(row, width)) == width for row in rows)
        return (alike / len(rows), width) if width > 1 else (0.0, 0)

    choices = [usual, *(separator for separator in _SEPARATORS if separator != usual)]
    best = max(choices, key=fit)
    if fit(best) > (0.0, 0):
        return best
    return _SPACES if fit(_SPACES) >= (1.0, 2) else usual


def _stripped(fields: Sequence[str], width: int) -> Sequence[str]:
    """Return the fields without empty ones at the end that go beyond the width."""
    length = len(fields)
    while length > width and not fields[length - 1].strip():
        length -= 1
    return fields[:length]


def _even(path: Path, lines: Sequence[tuple[int, list[str]]]) -> Rows:
    """Return the rows that are as long as the header; empty values beyond it, as trailing separators make, are none.

    Raises:
        DataError: No row is as long.
    """
    (_, header), *below = lines
    # Columns at the end that have no name are none, unless they hold something.
    widths = (len(_stripped(header, 0)), len(header))
    width = max(widths, key=lambda width: sum(len(_stripped(fields, width)) == width for _, fields in below))
    rows = [(number, _stripped(fields, width)) for number, fields in below]
    good = [(number, fields) for number, fields in rows if len(fields) == width]
    if not good:
        (length, _), *_ = Counter(len(fields) for _, fields in rows).most_common(1)
        raise DataError(
            f"No row of {path} has as many values as its header, which has {width}: {list(header)[:20]}; most rows "
            f"have {length}. Name every column in the header, and put quotes around a value that holds the separator, "
            "such as '0,5'."
        )
    return Rows(
        header=tuple(name.strip() for name in header[:width]),
        rows=[fields for _, fields in good],
        lines=[number for number, _ in good],
        skipped=tuple(
            Skipped(name=f"{path}, line {number}", reason=f"{len(fields)} fields; the header has {width}")
            for number, fields in rows
            if len(fields) != width
        ),
    )
