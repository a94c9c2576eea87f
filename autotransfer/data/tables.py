"""Tables that list images and their targets: CSV and TSV files, and pandas data frames."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from autotransfer.data.examples import Skipped
from autotransfer.data.folders import kind_of
from autotransfer.errors import DataError, UnknownNameError

__all__ = ["Table", "read_csv", "read_frame", "series_values"]

_TARGETS = ("target", "label", "class", "y")
_UNNAMED = ("", "Unnamed: 0", "index")  # the row numbers that pandas writes beside the columns
_IMAGE = re.compile(r".+\.\w{2,5}", re.DOTALL)
_FLOAT = re.compile(r"-?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns of equal length.

    Attributes:
        name: What to call it in messages.
        columns: Values by column; None where one is missing.
        rows: What to call each row in messages.
        folder: Where relative paths start.
        skipped: Rows that could not be read.
        untyped: Whether the values are the texts of a file, which say no types.
        comma: Whether a comma is rather a decimal mark, since it separates no columns.
    """

    name: str
    columns: Mapping[str, Sequence[Any]]
    rows: Sequence[str]
    folder: Path
    skipped: tuple[Skipped, ...] = ()
    untyped: bool = False
    comma: bool = False

    def path_column(self, name: str | None) -> str:
        """Return the column of paths: ``name``, or the one with the most values that are existing files.

        Raises:
            UnknownNameError: There is no such column.
            DataError: No column looks like paths.
        """
        if name is not None:
            return self._known(name)
        best, most = None, (0, 0)
        for column, values in self.columns.items():
            texts = [value for value in values if isinstance(value, str)]
            sample = [t for t in texts[:: max(1, len(texts) // 50)] if _IMAGE.fullmatch(t) and not _FLOAT.fullmatch(t)]
            fit = (sum(kind_of(self.folder / text) == "file" for text in sample), len(sample))
            if fit > most:
                best, most = column, fit
        if best is None:
            raise DataError(
                f"No column of {self.name} looks like paths of images; its columns are {list(self.columns)[:20]}. "
                f"Name one with path_column; relative paths start at {self.folder.absolute()}."
            )
        return best

    def target_columns(
        self, name: str | Sequence[str] | None, path_column: str, group_column: str | None = None
    ) -> list[str]:
        """Return the target columns: those given, or the one with a usual name, or the only one left.

        Raises:
            UnknownNameError: There is no such column.
            DataError: More than one column could be meant.
        """
        if name is not None:
            names = [name] if isinstance(name, str) and name in self.columns else name
            names = names.split(",") if isinstance(names, str) else names
            return [self._known(n if n in self.columns else str(n).strip()) for n in names]
        others = [column for column in self.columns if column not in (path_column, group_column)]
        for usual in _TARGETS:
            for column in others:
                if str(column).strip().lower() == usual:
                    return [column]
        others = [column for column in others if column not in _UNNAMED]
        if len(others) != 1:
            raise DataError(
                f"Which column of {self.name} is the target? It has {list(self.columns)[:20]}: name it with "
                "target_column, or several numeric ones by a list."
            )
        return others

    def _known(self, name: str) -> str:
        if name not in self.columns:
            raise UnknownNameError(f"column of {self.name}", str(name), map(str, self.columns))
        return name


def read_csv(path: Path) -> Table:
    """Read a CSV or TSV file with a header row; commas, semicolons and tabs separate.

    Values stay texts, so that leading zeros survive; empty ones are missing. ``TargetReader`` finds the numbers.

    Raises:
        DataError: It is no table, or it has no header.
    """
    try:
        # Paths may hold bytes that are no UTF-8; surrogateescape carries them to the file system.
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            first = file.readline()
            delimiter = "\t" if path.suffix.lower() in (".tsv", ".tab") else max(",;\t", key=first.count)
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter)
            lines = [(reader.line_num, fields) for fields in reader if fields]
    except (csv.Error, OSError) as error:
        raise DataError(f"{path} cannot be read as a table of comma- or tab-separated values: {error}.") from None
    if len(lines) < 2:
        raise DataError(f"{path} needs a header row and at least one row below it; it has {len(lines)} rows.")
    header = [name.strip() for name in lines[0][1]]
    _check_header(header, path)
    good = [(number, fields) for number, fields in lines[1:] if len(fields) == len(header)]
    skipped = tuple(
        Skipped(name=f"{path}, line {number}", reason=f"{len(fields)} fields; the header has {len(header)}")
        for number, fields in lines[1:]
        if len(fields) != len(header)
    )
    columns = [[value.strip() or None for value in column] for column in zip_longest(*(fields for _, fields in good))]
    return Table(
        name=str(path),
        columns=dict(zip(header, columns or [[]] * len(header), strict=True)),
        rows=[f"{path}, line {number}" for number, _ in good],
        folder=path.parent,
        skipped=skipped,
        untyped=True,
        comma=delimiter == ";",
    )


def read_frame(frame: Any) -> Table:
    """Read a pandas data frame; its types say what is text and what is a number. Paths start at the current folder.

    Raises:
        DataError: It has no rows, or two columns of one name.
    """
    names = list(frame.columns)
    if not len(frame) or len(set(names)) < len(names):
        raise DataError(
            f"The table needs rows, and columns with different names; it has {len(frame)} rows and {names}."
        )
    columns = {name: series_values(frame[name]) for name in names}
    return Table(name="the table", columns=columns, rows=[f"row {i}" for i in range(len(frame))], folder=Path())


def series_values(series: Any) -> list[Any]:
    """Return the values of a pandas series as plain Python values, None where one is missing."""
    values = series.astype(object).where(series.notna(), None).tolist()
    return [value.item() if isinstance(value, np.generic) else value for value in values]


def _check_header(header: Sequence[str], path: Path) -> None:
    if any(_IMAGE.fullmatch(name) and kind_of(path.parent / name) == "file" for name in header):
        raise DataError(f"The first row of {path} names an image: put a header row above it, such as 'path,label'.")
    if len(set(header)) < len(header):
        raise DataError(f"Two columns of {path} have the same name: {list(header)[:20]}.")
