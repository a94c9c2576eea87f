"""Delimited text files: encoding, separator, and rows of different lengths."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from autotransfer.contract.modality import Skipped
from autotransfer.errors import DataError

__all__ = ["Rows", "decoded", "foreign_bytes", "read_rows"]

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before the next one, which it begins with
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WIDE_ENCODINGS = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
_SEPARATORS = (",", ";", "\t", "|")
_SPACES = " "
_MAX_ROWS_FOR_SEPARATOR = 50  # rows that are looked at to find the separator
# Largest share of NUL bytes in a text: a file of another kind, and one in UTF-16, have far more.
_MAX_NUL_SHARE = 0.001
# Longest value of a table, in characters.
_MAX_FIELD_CHARACTERS = 2**30
# Share of the rows that have the width of the header where quotes are characters like others.
_MIN_MATCHING_SHARE = 0.9
_SURROGATE = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of a file.

    Attributes:
        header: The first row.
        rows: The other rows, each as long as the header.
        lines: Number of the line in which each row ends.
        skipped: Rows that are not as long as the header.
        separator: Character between the values.
    """

    header: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    lines: Sequence[int]
    skipped: tuple[Skipped, ...] = ()
    separator: str = ","


def read_rows(path: Path) -> Rows:
    """Read a file whose values are separated by commas, semicolons, tabs, bars or spaces.

    Bytes that are not UTF-8 become surrogates, since paths may hold any bytes; see ``foreign_bytes``. A first line
    ``sep=;``, as spreadsheets write it, sets the separator.

    Raises:
        DataError: The file is no table, or in another encoding.
    """
    text = decoded(path)
    first, _, rest = text.partition("\n")
    skip, separator = 0, None
    if line := re.fullmatch(r"\"?sep=(.)\"?\r?", first, re.IGNORECASE):
        skip, separator, text = 1, line[1], rest
    if separator is None:
        separator = _separator(text, "\t" if path.suffix.lower() in (".tsv", ".tab") else ",")
    try:
        lines = _lines(text, separator)
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as values with {separator!r} between them: {error}.") from None
    if len(lines) < 2:
        raise DataError(f"{path} needs a header row and at least one row below it; it has {len(lines)} rows.")
    return replace(_matching_rows(path, [(number + skip, fields) for number, fields in lines]), separator=separator)


def foreign_bytes(text: str) -> tuple[str, str] | None:
    """Return the probable encoding of a text with bytes that are not UTF-8, and the decoded text; else None."""
    if not _SURROGATE.search(text):
        return None
    data = text.encode("utf-8", "surrogateescape")
    for encoding in ("cp1252", "latin-1"):
        try:
            return encoding, data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise AssertionError("latin-1 reads every byte")


def decoded(path: Path) -> str:
    """Return what a text file holds; bytes that are not UTF-8 become surrogates.

    Raises:
        DataError: The file cannot be read, or is in another encoding.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}.") from None
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            try:
                # surrogateescape keeps bytes that are not UTF-8, which paths may hold.
                return data[len(mark) :].decode(encoding, "surrogateescape" if encoding == "utf-8" else "strict")
            except UnicodeDecodeError as error:
                raise DataError(f"{path} begins as {encoding.upper()} and cannot be read as such: {error}.") from None
    if data.count(0) > len(data) * _MAX_NUL_SHARE:
        raise DataError(f"{path} is no text in UTF-8: {_wide_encoding(data)}.")
    return data.decode("utf-8", "surrogateescape")


def _wide_encoding(data: bytes) -> str:
    """Describe a file with NUL bytes."""
    for encoding in _WIDE_ENCODINGS:
        try:
            sample = data.decode(encoding)[:200]
        except UnicodeDecodeError:
            continue
        printable = sum(char < "\u0250" and (char.isprintable() or char in "\r\n\t") for char in sample)
        if printable > len(sample) / 2:
            return (
                f"it reads as {encoding.upper()} without a byte order mark. Save it as UTF-8, or give "
                f"pandas.read_csv(path, encoding={encoding!r})"
            )
    return "it holds binary data"


def _lines(text: str, separator: str, max_rows: int | None = None) -> list[tuple[int, list[str]]]:
    """Return the rows that hold a value, each with the number of the line in which it ends.

    Files with tabs often hold texts with quotes that mean nothing. Where quotes do not pair up, or their pairs swallow
    lines that are rows of their own, they are characters like others.

    Raises:
        csv.Error: A quoted value has no end.
    """
    try:
        quoted, error = _split(text, separator, max_rows), None
    except csv.Error as failure:
        quoted, error = [], failure
    if separator == "\t" and (error is not None or any("\n" in field for _, fields in quoted for field in fields)):
        plain = _split(text, separator, max_rows, quoting=csv.QUOTE_NONE)
        width = len(plain[0][1]) if plain else 0
        matching = sum(len(fields) == width for _, fields in plain)
        if width > 1 and matching >= (1.0 if error is None else _MIN_MATCHING_SHARE) * len(plain):
            return plain
    if error is not None:
        raise error
    return quoted


def _split(
    text: str, separator: str, max_rows: int | None = None, quoting: Literal[0, 3] = csv.QUOTE_MINIMAL
) -> list[tuple[int, list[str]]]:
    """Return the rows that hold a value, each with the number of the line in which it ends.

    Raises:
        csv.Error: A quoted value has no end.
    """
    found: list[tuple[int, list[str]]] = []
    if separator == _SPACES:
        rows = ((number, line.split()) for number, line in enumerate(io.StringIO(text), 1))
    else:
        # Python 3.10 reads no NUL character: a character that the text does not hold stands for it.
        nul = next(char for char in map(chr, range(0xE000, 0xF8FF)) if char not in text) if "\0" in text else ""
        lines = io.StringIO(text.replace("\0", nul) if nul else text, newline="")
        reader = csv.reader(lines, delimiter=separator, quoting=quoting, skipinitialspace=True, strict=True)
        rows = (
            (reader.line_num, [field.replace(nul, "\0") for field in fields] if nul else fields) for fields in reader
        )
    limit = csv.field_size_limit(_MAX_FIELD_CHARACTERS)
    try:
        for number, fields in rows:
            if any(field.strip() for field in fields):
                found.append((number, fields))
            if max_rows is not None and len(found) >= max_rows:
                break
    except csv.Error as error:
        where = "" if separator == _SPACES else f"line {reader.line_num}: "
        raise csv.Error(f"{where}{error}") from None
    finally:
        csv.field_size_limit(limit)
    return found


def _separator(text: str, usual: str) -> str:
    """Return the separator with which most rows have as many values as the header, and at least two."""

    def fit(separator: str) -> tuple[float, int]:
        try:
            rows = [_strip_empty(fields, 0) for _, fields in _lines(text, separator, _MAX_ROWS_FOR_SEPARATOR)]
        except csv.Error:
            return 0.0, 0
        width = len(rows[0]) if rows else 0
        matching = sum(len(_strip_empty(row, width)) == width for row in rows)
        return (matching / len(rows), width) if width > 1 else (0.0, 0)

    choices = [usual, *(separator for separator in _SEPARATORS if separator != usual)]
    best = max(choices, key=fit)
    if fit(best) > (0.0, 0):
        return best
    return _SPACES if fit(_SPACES) >= (1.0, 2) else usual


def _strip_empty(fields: Sequence[str], width: int) -> Sequence[str]:
    """Return the fields without the empty ones at the end that are beyond the width."""
    length = len(fields)
    while length > width and not fields[length - 1].strip():
        length -= 1
    return fields[:length]


def _matching_rows(path: Path, lines: Sequence[tuple[int, list[str]]]) -> Rows:
    """Return the rows that are as long as the header; empty values at the end of a row do not count.

    Raises:
        DataError: No row is as long as the header.
    """
    (_, header), *below = lines
    # Nameless columns at the end count only if they hold a value.
    widths = (len(_strip_empty(header, 0)), len(header))
    width = max(widths, key=lambda width: sum(len(_strip_empty(fields, width)) == width for _, fields in below))
    rows = [(number, _strip_empty(fields, width)) for number, fields in below]
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
