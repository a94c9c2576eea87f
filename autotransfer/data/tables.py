"""Tables of examples and their targets: CSV, TSV and JSON lines, data frames, and the tables of ``datasets``."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from autotransfer.contract.modality import Skipped
from autotransfer.data.delimited import foreign_bytes, read_rows
from autotransfer.data.examples import Part
from autotransfer.data.file_lookup import Places
from autotransfer.data.folders import kind_of
from autotransfer.data.hugging_face import columns_of, is_split_by_name, parts_of
from autotransfer.data.json_lines import read_json_lines
from autotransfer.data.split_names import find_split_names
from autotransfer.errors import DataError, UnknownNameError

__all__ = [
    "SPLIT_NAMES",
    "TARGET_NAMES",
    "Table",
    "read_csv",
    "read_frame",
    "read_hugging_face",
    "read_lines",
    "series_values",
]

TARGET_NAMES = ("target", "label", "class", "y", "targets", "labels")
"""Usual names of the column of targets, in lower case."""

SPLIT_NAMES = ("split", "subset", "fold", "partition", "set", "phase", "usage")
"""Usual names of the column of parts, in lower case."""

_FLAGS = ("is_train", "is_val", "is_valid", "is_validation", "is_test")
_MOST_PARTS = 12  # names of parts in one table
_MAX_BROKEN_SHARE = 0.01  # of the rows; with more bytes that are no UTF-8, the table is in another encoding
_FETCHED_COUNT = 3  # values of a column that are looked at where each has to be decoded
_SAMPLE_COUNT = 50  # values of a column that are looked at to tell what it holds
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

    def path_column(self, name: str | None, among: Sequence[str] | None = None) -> str:
        """Return the column of paths: ``name``, or the one with the most values that are existing files.

        Args:
            name: The column; None looks for it.
            among: The columns that may be it; None means all.

        Raises:
            UnknownNameError: There is no such column.
            DataError: No column looks like paths.
        """
        if name is not None:
            return self._known(name)
        best, most = None, (0, 0)
        for column in self.columns if among is None else among:
            fit = self._fit_of_paths(column)[:2]
            if fit > most:
                best, most = column, fit
        if best is None:
            raise DataError(
                f"No column of {self.name} looks like paths; its columns are {list(self.columns)[:20]}. "
                f"Name one with path_column; relative paths start at {self.places.folder.absolute()}.{self._advice()}"
            )
        return best

    def column_of_files(self, among: Sequence[str]) -> str | None:
        """Return the column of which at least half of the values are files that are there; None for none."""
        fits = {column: self._fit_of_paths(column) for column in among}
        there = {column: fit for column, fit in fits.items() if fit[2] and 2 * fit[0] >= fit[2]}
        return max(there, key=lambda column: there[column][:2]) if there else None

    def has_suffix(self, column: str, suffixes: Collection[str]) -> bool:
        """Whether at least half of the paths of a column end with one of these suffixes."""
        sample = self.strings(column, _SAMPLE_COUNT)
        return 2 * sum(PurePath(path + self.places.suffix).suffix.lower() in suffixes for path in sample) >= len(sample)

    def _fit_of_paths(self, column: str) -> tuple[int, int, int]:
        """Return how many values of a sample are files that are there, or look like paths, and the sample's size."""
        sample = [v for v in self.sample(column, _SAMPLE_COUNT) if isinstance(v, (str, int, float))]
        named = [v for v in sample if isinstance(v, str) and _FILE_NAME.fullmatch(v) and not _FLOAT.fullmatch(v)]
        known = sample if self.places.suffix else named
        return sum(map(self.places.holds, known)), len(named), len(sample)

    def sample(self, column: str, count: int) -> list[Any]:
        """Return about so many of the values of a column that are there."""
        values = self.columns[column]
        if isinstance(values, list):
            values = [value for value in values if value is not None]
        else:
            count = min(count, _FETCHED_COUNT)
        step = max(1, len(values) // count)
        found = [values[i] for i in range(0, len(values), step)[:count]]
        return [value for value in found if value is not None]

    def strings(self, column: str, count: int) -> list[str]:
        """Return about so many of the values of a column of strings; none where it holds something else, too."""
        values = self.columns[column]
        sample = self.sample(column, count) if isinstance(values, list) else []
        return sample if all(isinstance(value, str) for value in sample) else []

    def mean_length(self, column: str) -> float:
        """Return the mean number of characters of the strings of a column."""
        strings = self.strings(column, _SAMPLE_COUNT)
        return sum(map(len, strings)) / max(1, len(strings))

    def _advice(self) -> str:
        """Return which suffix makes paths of a column, if one does."""
        for suffix in () if self.places.suffix else (*self.suffixes, *map(str.upper, self.suffixes)):
            places = replace(self.places, suffix=suffix)
            for column in self.columns:
                if any(map(places.holds, self.sample(column, _SAMPLE_COUNT))):
                    return f" With --suffix {suffix} (suffix={suffix!r}) the column {column!r} holds paths."
        return ""

    def columns_for(
        self,
        used: Collection[str],
        target_column: str | Sequence[str] | None,
        never: Callable[[Sequence[str]], Collection[str]] = lambda columns: (),
    ) -> tuple[list[str], str | None]:
        """Return the target columns: those given, or the one with a usual name, or the only one left.

        Args:
            used: Columns that hold something else: examples, groups.
            target_column: What the user gave.
            never: Returns those of several columns that cannot be targets.

        Returns:
            The target columns; and the column that says which part each row belongs to, None for no such column.

        Raises:
            UnknownNameError: There is no such column.
            DataError: More than one column could be meant, or none.
        """
        targets = [] if target_column is None else self.named(target_column)
        left = [column for column in self.columns if column not in (*used, *targets)]
        for usual in () if targets else TARGET_NAMES:
            targets = targets or [column for column in left if str(column).strip().lower() == usual][:1]
        left = [column for column in left if column not in targets]
        split = self._split_column(left)
        others = [column for column in left if column not in (*_UNNAMED, split)]
        if targets:
            return targets, split
        if not others and split is not None and str(split).strip().lower() not in SPLIT_NAMES:
            return [split], None  # classes that are called so
        if len(others) > 1:
            out = never(others)
            others = [column for column in others if column not in out]
        if len(others) != 1:
            raise DataError(
                f"Which column of {self.name} is the target? It has {list(self.columns)[:20]}: name it with "
                "target_column, or several numeric ones by a list."
            )
        return others, split

    def named(self, given: str | Sequence[str]) -> list[str]:
        """Return the columns that a user names, in a list or joined by commas.

        Raises:
            UnknownNameError: There is no such column.
        """
        names = [given] if isinstance(given, str) and given in self.columns else given
        names = names.split(",") if isinstance(names, str) else names
        return [self._known(name if name in self.columns else str(name).strip()) for name in names]

    def _split_column(self, columns: Sequence[str]) -> str | None:
        """Return the first column that holds the names of parts and nothing else; those with a usual name first."""
        for column in sorted(columns, key=lambda column: str(column).strip().lower() not in SPLIT_NAMES):
            values = self._words(column)
            if values and find_split_names(values).keys() == values:
                return column
        return None

    def _words(self, column: str) -> set[str]:
        """Return the different strings of a column; none where it holds something else, or more than names of parts."""
        found: set[str] = set()
        for value in self.columns[column] if isinstance(self.columns[column], list) else ():
            if value is not None:
                if not isinstance(value, str) or len(found) > _MOST_PARTS:
                    return set()
                found.add(value)
        return found if len(found) <= _MOST_PARTS else set()

    def not_parts(self, used: Sequence[str | None]) -> tuple[str, list[str]] | None:
        """Return a column that is called like one of parts, is not used, and holds something else; with its values."""
        for column in self.columns:
            if str(column).strip().lower() in (*SPLIT_NAMES, *_FLAGS) and column not in used:
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

    def broken_rows(self, columns: Sequence[str]) -> set[int]:
        """Return the rows of which a cell holds bytes that are no UTF-8, where they are few.

        Raises:
            DataError: They are many, since the table is in another encoding, or a column is called so.
        """
        if not self.untyped:
            return set()
        found: set[int] = set()
        for column in columns:
            self._refuse_foreign("the header", column, column)
            broken = [i for i, value in enumerate(self.columns[column]) if value and foreign_bytes(value) is not None]
            found.update(broken)
            if len(broken) > _MAX_BROKEN_SHARE * len(self.rows):
                self._refuse_foreign(self.rows[broken[0]], column, self.columns[column][broken[0]])
        return found

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


def read_lines(path: Path) -> Table:
    """Read a file of JSON lines; see ``read_json_lines``. JSON says what is text and what is a number.

    Raises:
        DataError: It holds something else.
    """
    found = read_json_lines(path)
    return Table(
        name=str(path),
        columns=found.columns,
        rows=[f"{path}, line {number}" for number in found.lines],
        places=Places(folder=path.parent),
        skipped=found.skipped,
    )


def read_hugging_face(data: Any) -> Table:
    """Read a ``datasets.Dataset``, or a ``DatasetDict``, whose parts become a column of parts.

    Raises:
        DataError: It is empty, or does not say which part is there to train on.
    """
    if not is_split_by_name(data):
        columns = columns_of(data)
        return Table(name="the data set", columns=columns, rows=[f"row {i}" for i in range(len(data))])
    parts = [(name, part, columns_of(one)) for name, part, one in parts_of(data)]
    names = list(dict.fromkeys(column for _, _, columns in parts for column in columns))
    lengths = [len(next(iter(columns.values()))) for _, _, columns in parts]
    joined: dict[str, Sequence[Any]] = {
        column: [
            value
            for (_, _, columns), length in zip(parts, lengths, strict=True)
            for value in columns.get(column, [None] * length)
        ]
        for column in names
    }
    if len(parts) > 1:
        at = next(name for name in (*SPLIT_NAMES, *map(str, range(len(names)))) if name not in joined)
        joined[at] = [part for (_, part, _), length in zip(parts, lengths, strict=True) for _ in range(length)]
    rows = [f"{name} row {i}" for (name, _, _), length in zip(parts, lengths, strict=True) for i in range(length)]
    return Table(name="the data set", columns=joined, rows=rows)


def series_values(series: Any) -> list[Any]:
    """Return the values of a pandas series as plain Python values, None where one is missing."""
    values = series.astype(object).where(series.notna(), None).tolist()
    return [value.item() if isinstance(value, np.generic) else value for value in values]


def _names_file(name: str, places: Places, suffixes: Sequence[str]) -> bool:
    return Path(name).suffix.lower() in suffixes or (bool(name) and places.holds(name))
