"""Which columns of a table hold the examples: paths of files, or the examples themselves. Their values tell it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

from autotransfer.contract.modality import Item, Modality
from autotransfer.data.recognition import accepted, claiming_arrays, reader_of, sample_of
from autotransfer.data.tables import SPLIT_NAMES, TARGET_NAMES, Table
from autotransfer.errors import ConfigError, DataError
from autotransfer.warnings import FitWarning

__all__ = ["AskedColumns", "InputColumns", "find_input_columns", "never_targets"]

# Values of a column that are looked at, and those of them that are fetched where each has to be decoded.
_SAMPLE_COUNT, _FETCHED_COUNT = 2000, 3
# A column may hold examples where this share of its values differ, or where they have so many characters in the mean.
_MIN_DISTINCT_SHARE, _MIN_REPEATED_LENGTH = 0.5, 40
# Strings of which this share differs are no labels: each class would have a single example.
_MIN_UNIQUE_SHARE = 0.95
# Fewest characters of an example in the mean: shorter values are codes.
_MIN_LENGTH = 4
# Fewest characters in the mean for which strings could be meant where files are there.
_MIN_RIVAL_LENGTH = 12
# Another column is no rival where its values are shorter than this share of the longest ones.
_MIN_RIVAL_LENGTH_SHARE = 0.25
# Share of values from which a column is what most of its values are.
_MOST_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class AskedColumns:
    """The columns of a table that a user names.

    Attributes:
        inputs: Those that hold the examples themselves.
        paths: The one of paths.
        targets: Those of targets.
        groups: What stays on one side of every split: a column, or something else.
        weights: The one of weights.
        trained: Those that held the examples to train on, where others are read; empty for unknown.
    """

    inputs: str | Sequence[str] | None = None
    paths: str | None = None
    targets: str | Sequence[str] | None = None
    groups: Any = None
    weights: str | None = None
    trained: tuple[str, ...] = ()

    @property
    def named(self) -> bool:
        """Whether the user names a column of examples, targets or weights."""
        return bool(self.arguments)

    @property
    def arguments(self) -> str:
        """The arguments that name them, in words."""
        given = {"input": self.inputs, "path": self.paths, "target": self.targets, "weight": self.weights}
        return " and ".join(f"{name}_column" for name, column in given.items() if column is not None)


@dataclass(frozen=True, kw_only=True)
class InputColumns:
    """The columns of a table that hold its examples.

    Attributes:
        names: The columns.
        modality: What kind of examples the cells are themselves; None for one column of paths.
        others: Columns that could be meant as well.
    """

    names: tuple[str, ...]
    modality: Modality | None = None
    others: tuple[str, ...] = ()

    @property
    def described(self) -> str:
        """What the columns are, in a few words."""
        what = "paths" if self.modality is None else f"{self.modality.noun}s"
        return f"{what} in the column{'s' * (len(self.names) > 1)} {', '.join(map(str, self.names))}"

    @property
    def nothing(self) -> str:
        """Why a row without an example is left out."""
        return "no path" if self.modality is None else f"nothing in the column {', '.join(map(str, self.names))}"

    def cells(self, table: Table) -> Sequence[Any]:
        """Return the example of each row, or what names its file; None where the cells are empty.

        Raises:
            DataError: A cell holds something else, or several cells make no example.
        """
        modality = self.modality
        if modality is None:
            return table.columns[self.names[0]]
        columns = [table.columns[name] for name in self.names]
        if len(columns) > 1:
            rows = zip(*columns, strict=True)
            return [None if all(cell is None for cell in row) else modality.join(row) for row in rows]
        found: list[Item | None] = []
        for row, cell in zip(table.rows, columns[0], strict=True):
            item = None if cell is None else modality.item(cell)
            if item is None and cell is not None:
                raise DataError(
                    f"{row} holds a {type(cell).__name__} in the column {self.names[0]!r}, which is no "
                    f"{modality.noun}; data are {modality.accepted}."
                )
            found.append(item)
        return found

    def warning(self, table: Table) -> FitWarning | None:
        """Return the warning that says what was taken for the examples, where something else could have been."""
        if not self.others:
            return None
        others = ", ".join(map(repr, self.others))
        message = (
            f"The examples of {table.name} are the {self.described}; {others} could be meant as well: --input-column "
            "(input_column=) names a column of examples, or several that belong together, --path-column (path_column=) "
            "one of paths."
        )
        details = {"columns": list(map(str, self.names)), "others": list(map(str, self.others))}
        return FitWarning(code="input_assumed", message=message, details=details)


def find_input_columns(
    table: Table, modalities: Sequence[Modality], asked: AskedColumns, *, reserved: Collection[str] = ()
) -> InputColumns:
    """Return the columns of a table that hold its examples: those that are named, or the one whose values tell it.

    Files that are there are examples before anything else. Otherwise a column of strings that a modality reads is one
    where they are long and differ; labels come again and again, and codes are short or hold digits.

    Args:
        table: The table.
        modalities: What kinds of examples it may hold.
        asked: The columns that the user names.
        reserved: Columns that are known to hold something else.

    Raises:
        UnknownNameError: There is no such column.
        ConfigError: Columns of examples and of paths are named.
        DataError: No column looks like examples, or several do.
    """
    if asked.inputs is not None and asked.paths is not None:
        raise ConfigError("Examples are in the cells or in files: give input_column or path_column, not both.")
    trained = asked.trained if all(name in table.columns for name in asked.trained) else ()
    if asked.inputs is not None:
        names = tuple(table.named(asked.inputs))
        return InputColumns(names=names, modality=_modality_of_columns(table, names, modalities))
    if asked.paths is not None:
        return InputColumns(names=(table.path_column(asked.paths),))
    if len(trained) > 1:
        return InputColumns(names=trained, modality=_modality_of_columns(table, trained, modalities))
    if trained:
        (name,) = trained
        held = _modality_of_values(table, name, modalities) or _reader_of_column(table, name, modalities)
        return InputColumns(names=trained, modality=held)
    return _guessed(table, modalities, reserved)


def _guessed(table: Table, modalities: Sequence[Modality], reserved: Collection[str]) -> InputColumns:
    """Return the columns whose values look like examples.

    Raises:
        DataError: No column does, or several do.
    """
    columns = [column for column in table.columns if column not in reserved]
    if len(columns) == 1 and (reader := _reader_of_column(table, columns[0], modalities)) is not None:
        return InputColumns(names=(columns[0],), modality=reader)
    files = table.column_of_files(columns)
    held = {column: found for column in columns if (found := _modality_of_values(table, column, modalities))}
    texts = _readable(table, [column for column in columns if column not in held and column != files], modalities)
    if len(modalities) == 1 and files is not None and texts and not table.has_suffix(files, modalities[0].suffixes):
        texts, files = _readable(table, columns, modalities), None  # the files are of another kind
    if held:
        return _only(table, held, lambda column: 1.0, others=_rivals(table, texts))
    if files is not None:
        return InputColumns(names=(files,), others=_rivals(table, texts))
    if texts:
        return _only(table, texts, table.mean_length)
    try:
        return InputColumns(names=(table.path_column(None, columns),))
    except DataError as error:
        reads = any(modality.reads(["a b"]) for modality in modalities)
        more = " Name one of examples themselves with input_column." if reads else ""
        empty = [column for column in columns if not table.sample(column, 1)]
        nothing = f"; there is nothing in the column {', '.join(map(repr, empty[:5]))}" if empty else ""
        first, stop, rest = str(error).partition(". ")
        raise DataError(f"{first}{nothing}{stop}{rest}{more}") from None


def _rivals(table: Table, texts: Iterable[str]) -> tuple[str, ...]:
    """Return the columns of strings that could be meant beside a column of files or of values."""
    return tuple(column for column in texts if table.mean_length(column) >= _MIN_RIVAL_LENGTH)


def never_targets(table: Table, columns: Sequence[str]) -> set[str]:
    """Return columns that cannot be targets: row numbers, strings of which nearly all differ, and long strings."""
    return {column for column in columns if _is_never_target(table, column)}


def _is_never_target(table: Table, column: str) -> bool:
    values = table.sample(column, _SAMPLE_COUNT)
    cells = table.columns[column]
    start = cells[:_SAMPLE_COUNT] if isinstance(cells, list) else []
    numbers = [number for value in start if (number := _number(value)) is not None]
    if len(numbers) == len(start) > 1 and all(after - before == 1 for before, after in pairwise(numbers)):
        return True
    strings = table.strings(column, _SAMPLE_COUNT)
    if not strings or all(_number(string) is not None for string in strings):
        return False
    return len(set(strings)) >= _MIN_UNIQUE_SHARE * len(values) or _is_plain(strings)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _only(
    table: Table,
    found: Mapping[str, Modality],
    length: Callable[[str], float],
    others: tuple[str, ...] = (),
) -> InputColumns:
    """Return the one column that is meant: the only one, or the one whose values are far longer than the others'.

    Raises:
        DataError: Several may be meant.
    """
    longest = max(found, key=length)
    rivals = [column for column in found if length(column) >= _MIN_RIVAL_LENGTH_SHARE * length(longest)]
    if len(rivals) > 1:
        raise DataError(
            f"Which column of {table.name} holds the examples? {', '.join(map(repr, rivals))} could: name one with "
            "input_column (--input-column), or several that belong together."
        )
    others = (*others, *(column for column in found if column != longest))
    return InputColumns(names=(longest,), modality=found[longest], others=others)


def _readable(table: Table, columns: Sequence[str], modalities: Sequence[Modality]) -> dict[str, Modality]:
    """Return the columns of strings that may be examples themselves; those called like targets if no other is."""
    found: dict[str, Modality] = {}
    for column in columns:
        strings = [] if str(column).strip().lower() in SPLIT_NAMES else table.strings(column, _SAMPLE_COUNT)
        if _is_plain(strings) and (reader := reader_of(sample_of(strings), modalities)) is not None:
            found[column] = reader
    others = {column: reader for column, reader in found.items() if str(column).strip().lower() not in TARGET_NAMES}
    return others or found


def _reader_of_column(table: Table, column: str, modalities: Sequence[Modality]) -> Modality | None:
    """Return the modality that reads the strings of the only column there is; None where it holds something else."""
    strings = table.strings(column, _SAMPLE_COUNT)
    there = any(map(table.places.holds, sample_of(strings)))
    return None if there or not strings else reader_of(sample_of(strings), modalities)


def _is_plain(strings: Sequence[str]) -> bool:
    """Whether strings are plainly no labels, numbers, dates or codes."""
    if not strings:
        return False
    mean = sum(map(len, strings)) / len(strings)
    differ = len(set(strings)) / len(strings) >= _MIN_DISTINCT_SHARE
    codes = sum(len(string.split()) == 1 and any(map(str.isdigit, string)) for string in strings)
    characters = [char for string in islice(strings, 200) for char in string[:200] if not char.isspace()]
    others = sum(char.isdigit() or char in "-+.,:/;%" for char in characters)
    return (
        mean >= _MIN_LENGTH
        and (differ or mean >= _MIN_REPEATED_LENGTH)
        and codes < _MOST_SHARE * len(strings)
        and others < _MOST_SHARE * len(characters)
    )


def _modality_of_values(table: Table, column: str, modalities: Sequence[Modality]) -> Modality | None:
    """Return the modality whose examples the cells are, where they are no strings or numbers; None for none."""
    values = table.sample(column, _FETCHED_COUNT)
    if not values or any(isinstance(value, (str, int, float, bool, list, tuple)) for value in values):
        return None
    for modality in claiming_arrays(modalities) if hasattr(values[0], "dtype") else modalities:
        try:
            if all(modality.item(value) is not None for value in values):
                return modality
        except DataError:  # it is one, and cannot be used: reading the column says why
            return modality
    return None


def _modality_of_columns(table: Table, names: Sequence[str], modalities: Sequence[Modality]) -> Modality:
    """Return the modality of the columns that the user names.

    Raises:
        DataError: None can read them, or several can.
    """
    samples = [table.sample(name, _FETCHED_COUNT) for name in names]
    strings = [string for name in names for string in sample_of(table.strings(name, _SAMPLE_COUNT))]
    if not any(samples):
        raise DataError(f"There is nothing in the column {', '.join(map(repr, names))} of {table.name}.")

    def suits(modality: Modality) -> bool:
        try:
            if len(names) > 1:
                modality.join([values[0] if values else None for values in samples])
                return True
            return all(modality.item(value) is not None for value in samples[0])
        except DataError:
            return False

    found = [modality for modality in modalities if suits(modality)]
    if len(found) > 1 and strings:
        found = [modality for modality in found if modality.reads(strings)] or found
    if len(found) == 1:
        return found[0]
    what = f"{', '.join(map(repr, names))} of {table.name}, such as {[*samples[0]][:1]!r:.80},"
    if found:
        kinds = ", ".join(modality.name for modality in found)
        raise DataError(f"{what} can be read in several ways ({kinds}): name the modality with --modality (modality=).")
    raise DataError(
        f"{what} cannot be read as examples; data are {accepted(modalities)}. A column of paths is named with "
        "path_column (--path-column)."
    )
