"""Tables that list examples and their targets: CSV and TSV files, and pandas data frames."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from autotransfer.contract.modality import Skipped
from autotransfer.data.delimited import foreign_bytes, read_rows
from autotransfer.data.examples import Part
from autotransfer.data.file_lookup import Places
from autotransfer.data.folders import kind_of
from autotransfer.data.split_names import find_split_names
from autotransfer.errors import DataError, UnknownNameError

__all__ = ["Table", "read_csv", "read_frame", "series_values"]

_TARGETS = ("target", "label", "class", "y")
_SPLITS = ("split", "subset", "fold", "partition", "set", "phase", "usage")
_FLAGS = ("is_train", "is_val", "is_valid", "is_validation", "is_test")
_MOST_PARTS = 12  # names of parts in one table
_UNNAMED = ("", "Unnamed: 0", "index")  # the row numbers that pandas writes beside the columns
_FILE_NAME = re.compile(r".+\.\w{2,5}", re.DOTALL)
_FLOAT = re.compile(r"-?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns of equal length.

    Attributes:
        name: What to call it in messages.
        columns: Values by column; None where one is missing.
        rows: What to call each row in messages.
        places: Where the files are that it lists.
        skipped: Rows that could not be read.
        suffixes: Suffixes that the files may have, the usual ones first.
        untyped: Whether the values are texts as they were written, so that what they mean is still to be found out.
        comma: Whether a comma is rather a decimal mark, since it separates no columns.
    """

    name: str
    columns: Mapping[str, Sequence[Any]]
    rows: Sequence[str]
    places: Places = field(default_factory=Places)
    skipped: tuple[Skipped, ...] = ()
    suffixes: Sequence[str] = ()
    untyped: bool = False
    comma: bool = False

    def at(self, places: Places, suffixes: Sequence[str]) -> Table:
        """Return the table with other places to look for files in, which have one of these suffixes.

        Raises:
            DataError: What should be a header names a file there.
        """
        named = (name for name in self.columns if _names_file(name, places, suffixes))
        file = next(named, None) if self.untyped else None
        if file is not None:
            raise DataError(
                f"The first row of {self.name} names a file, {file!r}: put a header row above it, such as 'path,label'."
            )
        return replace(self, places=places, suffixes=suffixes)

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
            sample = _sample(values)
            named = [v for v in sample if isinstance(v, str) and _FILE_NAME.fullmatch(v) and not _FLOAT.fullmatch(v)]
            known = sample if self.places.suffix else named
            fit = (sum(map(self.places.holds, known)), len(named))
            if fit > most:
                best, most = column, fit
        if best is None:
            raise DataError(
                f"No column of {self.name} looks like paths; its columns are {list(self.columns)[:20]}. "
                f"Name one with path_column; relative paths start at {self.places.folder.absolute()}.{self._advice()}"
            )
        return best

    def _advice(self) -> str:
        """Return which suffix makes paths of a column, if one does."""
        for suffix in () if self.places.suffix else (*self.suffixes, *map(str.upper, self.suffixes)):
            places = replace(self.places, suffix=suffix)
            for column, values in self.columns.items():
                if any(map(places.holds, _sample(values))):
                    return f" With --suffix {suffix} (suffix={suffix!r}) the column {column!r} holds paths."
        return ""

    def columns_for(
        self, path_column: str, target_column: str | Sequence[str] | None, group_column: str | None
    ) -> tuple[list[str], str | None]:
        """Return the target columns: those given, or the one with a usual name, or the only one left.

        Returns:
            The target columns; and the column that says which part each row belongs to, None for no such column.

        Raises:
            UnknownNameError: There is no such column.
            DataError: More than one column could be meant, or none.
        """
        targets = [] if target_column is None else self._named(target_column)
        left = [column for column in self.columns if column not in (path_column, group_column, *targets)]
        for usual in () if targets else _TARGETS:
            targets = targets or [column for column in left if str(column).strip().lower() == usual][:1]
        left = [column for column in left if column not in targets]
        split = self._split_column(left)
        others = [column for column in left if column not in (*_UNNAMED, split)]
        if targets:
            return targets, split
        if not others and split is not None and str(split).strip().lower() not in _SPLITS:
            return [split], None  # classes that are called so
        if len(others) != 1:
            raise DataError(
                f"Which column of {self.name} is the target? It has {list(self.columns)[:20]}: name it with "
                "target_column, or several numeric ones by a list."
            )
        return others, split

    def _named(self, given: str | Sequence[str]) -> list[str]:
        names = [given] if isinstance(given, str) and given in self.columns else given
        names = names.split(",") if isinstance(names, str) else names
        return [self._known(name if name in self.columns else str(name).strip()) for name in names]

    def _split_column(self, columns: Sequence[str]) -> str | None:
        """Return the first column that holds the names of parts and nothing else; those with a usual name first."""
        for column in sorted(columns, key=lambda column: str(column).strip().lower() not in _SPLITS):
            values = {value for value in self.columns[column] if value is not None}
            words = all(isinstance(value, str) for value in values) and len(values) <= _MOST_PARTS
            if words and values and find_split_names(values).keys() == values:
                return column
        return None

    def not_parts(self, used: Sequence[str | None]) -> tuple[str, list[str]] | None:
        """Return a column that is called like one of parts, is not used, and holds something else; with its values."""
        for column in self.columns:
            if str(column).strip().lower() in (*_SPLITS, *_FLAGS) and column not in used:
                values = sorted({str(value) for value in self.columns[column] if value is not None})
                if len(values) > 1:
                    return column, values
        return None

    def parts(self, column: str) -> list[Part | None]:
        """Return the part that each row belongs to; None where that is missing."""
        names = find_split_names({value for value in self.columns[column] if value is not None})
        return [None if value is None else names[value] for value in self.columns[column]]

    def texts(self, column: str) -> Sequence[Any]:
        """Return the values of a column, None where one is missing.

        Raises:
            DataError: They are in another encoding than UTF-8.
        """
        values = self.columns[column]
        self._refuse_foreign("the header", column, column)
        for row, value in zip(self.rows, values, strict=True):
            self._refuse_foreign(row, column, value)
        return values

    def place(self, row: str, column: str, value: Any) -> Path:
        """Return where the file is that a row names.

        Raises:
            DataError: It is there under the name that another encoding than UTF-8 makes of the value.
        """
        path = self.places.find(value)
        foreign = foreign_bytes(value) if isinstance(value, str) else None
        if foreign is not None and kind_of(path) != "file" and self.places.holds(foreign[1]):
            self._refuse_foreign(row, column, value)
        return path

    def _refuse_foreign(self, row: str, column: str, value: Any) -> None:
        if self.untyped and isinstance(value, str) and (foreign := foreign_bytes(value)) is not None:
            encoding, text = foreign
            raise DataError(
                f"{self.name} is not in UTF-8: {row} holds {value!r} in the column {column!r}, which reads {text!r} in "
                f"the encoding {encoding}. Save the file as UTF-8, or, if that is right, give the table that "
                f"pandas.read_csv(path, encoding={encoding!r}) returns."
            )

    def _known(self, name: str) -> str:
        if name not in self.columns:
            raise UnknownNameError(f"column of {self.name}", str(name), map(str, self.columns))
        return name


def read_csv(path: Path) -> Table:
    """Read a CSV or TSV file with a header row; see ``read_rows``.

    Values stay texts, so that leading zeros survive; empty ones are missing. ``TargetReader`` finds the numbers.

    Raises:
        DataError: It is no table, or it has no header.
    """
    found = read_rows(path)
    if len(set(found.header)) < len(found.header):
        raise DataError(f"Two columns of {path} have the same name: {list(found.header)[:20]}.")
    columns = [[value.strip() or None for value in column] for column in zip(*found.rows, strict=True)]
    return Table(
        name=str(path),
        columns=dict(zip(found.header, columns, strict=True)),
        rows=[f"{path}, line {number}" for number in found.lines],
        places=Places(folder=path.parent),
        skipped=found.skipped,
        untyped=True,
        comma=found.separator == ";",
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
    return Table(name="the table", columns=columns, rows=[f"row {i}" for i in range(len(frame))])


def series_values(series: Any) -> list[Any]:
    """Return the values of a pandas series as plain Python values, None where one is missing."""
    values = series.astype(object).where(series.notna(), None).tolist()
    return [value.item() if isinstance(value, np.generic) else value for value in values]


def _sample(values: Sequence[Any]) -> list[Any]:
    """Return about fifty of the values that are there."""
    given = [value for value in values if isinstance(value, (str, int, float))]
    return given[:: max(1, len(given) // 50)]


def _names_file(name: str, places: Places, suffixes: Sequence[str]) -> bool:
    return Path(name).suffix.lower() in suffixes or (bool(name) and places.holds(name))
