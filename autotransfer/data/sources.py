"""From anything a user has to ``Examples``: folders, tables, arrays, lists, data sets. Nothing is decoded here."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from autotransfer.contract.modality import Item, Modality, Skipped
from autotransfer.data.arrays import is_array, is_tensor
from autotransfer.data.columns import TargetReader
from autotransfer.data.datasets import DatasetItems, examples_of_dataset, is_dataset, names_of
from autotransfer.data.examples import Examples, modality_of
from autotransfer.data.file_lists import Row, because, examples_of_rows
from autotransfer.data.file_lookup import Places
from autotransfer.data.folders import kind_of, printable, walk
from autotransfer.data.given_targets import listed_groups, listed_targets, read_targets, type_name, with_groups
from autotransfer.data.hugging_face import is_hugging_face, is_split_by_name
from autotransfer.data.input_columns import InputColumns, find_input_columns
from autotransfer.data.predefined_splits import LAYOUT, AskedColumns, folder_examples, table_examples
from autotransfer.data.recognition import (
    accepted,
    batch_of,
    known_modalities,
    modality_of_files,
    modality_of_folder,
    values_of,
)
from autotransfer.data.tables import Table, read_csv, read_frame, read_hugging_face, read_lines, series_values
from autotransfer.errors import DataError, DataNotFoundError

__all__ = ["find_examples", "is_folder", "is_table", "load_examples"]

_DELIMITED, _JSON_LINES = (".csv", ".tsv", ".tab"), (".jsonl", ".ndjson")
_TABLES = (*_DELIMITED, *_JSON_LINES)


def load_examples(
    data: Any,
    targets: Any = None,
    *,
    input_column: str | Sequence[str] | None = None,
    path_column: str | None = None,
    target_column: str | Sequence[str] | None = None,
    groups: Any = None,
    reader: TargetReader | None = None,
    root: str | os.PathLike[str] | None = None,
    suffix: str | None = None,
    follow_links: bool = False,
    known: Collection[str] = (),
    argument: str = "targets",
    modalities: Sequence[Modality] | None = None,
) -> Examples:
    """Turn labelled data of any common form into examples.

    Args:
        data: A folder with one sub-folder per class (class names are text); a CSV, TSV or JSON lines file, a pandas
            DataFrame or a table of ``datasets``, with a column of examples, or of paths (relative to the file's folder;
            to the current one otherwise); an array or tensor of N examples; a list of paths or examples; a map-style
            ``torch.utils.data.Dataset`` of ``(example, label)``, which is read lazily when it has ``targets``. Without
            them it takes a pass to see the labels; the examples of that pass stay in memory, since nothing is decoded
            twice.
        targets: One for each example of an array, list or DataFrame: labels, numbers, collections of labels, indicator
            rows.
        input_column: Column whose cells are the examples; several, in a list or joined by commas, make one example.
        path_column: Column of paths; None finds it.
        target_column: Column of targets; several, in a list or joined by commas, give one row of numbers per example.
            None finds it.
        groups: Groups that no split separates, such as the photographs of one object: one for each example of an
            array or list; the column of a table; or a regular expression that finds the group in a path.
        reader: Reads the targets; None reads them without knowing what is wanted of them.
        root: Folder that the relative paths of a table or list are looked for in, before the table's own folder.
        suffix: What these paths lack at the end, such as ``".png"``.
        follow_links: Whether to follow links that lead out of a folder, and links to folders.
        known: Classes that are known already, of which a folder may hold a single one.
        argument: What messages call the targets.
        modalities: What kinds of examples the data may hold; None means all that are installed.

    Returns:
        The examples, in a repeatable order, with their ``parts`` where a table or folder is divided into train and test
        already; and what was left out: missing files, repeats, links that lead away, files that are no examples.

    Raises:
        DataNotFoundError: The folder or file, or every file listed, is missing.
        DataError: The data have another form, or other numbers of examples and targets.
        UnknownNameError: There is no such column.
    """
    table, reader, modalities = _as_table(data), reader or TargetReader(), known_modalities(modalities)
    asked = AskedColumns(inputs=input_column, paths=path_column, targets=target_column, groups=groups)
    if table is not None:
        table = table.at(Places.of(table.places.folder, root, suffix), _suffixes(modalities))
        if targets is None:
            return with_groups(table_examples(table, asked, reader, modalities), groups)
        if target_column is not None or isinstance(data, (str, os.PathLike, Mapping)):
            raise DataError("A table holds its targets: name their column with target_column, and leave targets out.")
        data = _rows_of(table, asked, modalities)
    elif any(column is not None for column in (input_column, path_column, target_column)):
        raise DataError(f"input_column, path_column and target_column are for tables; got {type_name(data)}.")
    if (root is not None or suffix is not None) and (is_folder(data) or is_dataset(data)):
        raise DataError(f"root and suffix are for tables and lists of paths; got {type_name(data)}.")
    if isinstance(data, (str, os.PathLike)):
        if targets is not None:
            raise DataError("The sub-folders of a folder are its labels: leave targets out, or give a list of paths.")
        folder = Path(data)
        modality = modality_of_folder(folder, modalities)
        examples = folder_examples(folder, modality, reader, follow_links=follow_links, known=known)
        return with_groups(examples, groups)
    if is_dataset(data):
        examples = examples_of_dataset(data, targets, reader, modalities)
        described = f"{len(data)} {modality_of(examples).noun}s of a data set, {type_name(data)}"
        return with_groups(replace(examples, described=described), groups)
    places = Places.of(Path(), root, suffix)
    return with_groups(_listed_examples(data, targets, groups, reader, places, argument, modalities), groups)


def find_examples(
    data: Any,
    *,
    input_column: str | Sequence[str] | None = None,
    path_column: str | None = None,
    columns: Sequence[str] = (),
    root: str | os.PathLike[str] | None = None,
    suffix: str | None = None,
    follow_links: bool = False,
    strict: bool = False,
    modalities: Sequence[Modality] | None = None,
    reading: Mapping[str, Any] | None = None,
) -> Examples:
    """Collect examples to predict on, in the order in which they are given.

    Args:
        data: Everything that ``load_examples`` takes, but without targets; a file, folder (searched to the bottom)
            or single example; or a list of any of these. A table gives an example for each row.
        input_column: Column of a table whose cells are the examples; several make one example.
        path_column: Column of paths in a table; None finds it.
        columns: Columns that held the examples to train on: those are meant in a table that has them.
        root: Folder that relative paths are looked for in first.
        suffix: What these paths lack at the end.
        follow_links: Whether to follow links that lead out of a folder, and links to folders.
        strict: Refuse a table of which a row names no file, since not each row would have its example.
        modalities: What kinds of examples the data may hold; None means all that are installed.
        reading: How the examples to train on were read; None for unknown.

    Returns:
        The examples. Files that a table or list names and that are missing are among them, so that each row has one.

    Raises:
        DataNotFoundError: A file or folder is missing.
        DataError: There is no example, or something that is none.
    """
    modalities = known_modalities(modalities)
    places = Places.of(Path(), root, suffix)
    asked = AskedColumns(inputs=input_column, paths=path_column)
    table = _Reader(asked=asked, trained=tuple(columns), strict=strict, modalities=modalities)
    if not isinstance(data, (str, os.PathLike)) and (given := _as_table(data)) is not None:
        return table.examples(given, places)
    if is_dataset(data):
        if not len(data):
            raise DataError("The data set is empty.")
        lazy = DatasetItems.of(data, modalities)
        return Examples(items=lazy, names=names_of(lazy), modality=lazy.modality)
    several = isinstance(data, (list, tuple, np.ndarray)) or is_tensor(data) or hasattr(data, "notna")
    single = isinstance(data, (str, os.PathLike))
    if single or (not several and any(m.item(data) is not None for m in modalities)):
        data = [Path(data)] if single and len(modalities) > 1 else [data]  # one string is a path, in doubt
    modality, values = _as_items(data, modalities, {} if reading is None else reading, paths=places != Places())
    placed = _placed(values, places)
    if placed and not any(isinstance(item, Path) for item in placed):
        return Examples(items=placed, names=names_of(placed), modality=modality)
    found = [_found_at(item, table, places, follow_links) for item in placed]
    skipped = tuple(left_out for examples in found for left_out in examples.skipped)
    items = [item for examples in found for item in examples.items]
    if not items:
        raise DataError(f"There are no examples{because(skipped)}.")
    if files := [item for item in items if isinstance(item, Path)]:
        modality = modality_of_files(files, [modality] if len(files) < len(items) else modalities)
    else:
        modality = next((examples.modality for examples in found if examples.modality is not None), modality)
    names = [name for examples in found for name in examples.names]
    return Examples(
        items=items,
        names=tuple(name or f"item {i}" for i, name in enumerate(names)),
        skipped=skipped,
        modality=modality,
    )


def is_folder(data: Any) -> bool:
    """Whether data are a folder."""
    return isinstance(data, (str, os.PathLike)) and kind_of(Path(data)) == "folder"


def is_table(data: Any) -> bool:
    """Whether data are a table: a data frame, a table of ``datasets``, or a file that is no folder."""
    if isinstance(data, (str, os.PathLike)):
        return not is_folder(data)
    return (hasattr(data, "columns") and hasattr(data, "iloc")) or is_hugging_face(data) or is_split_by_name(data)


def _listed_examples(
    data: Any,
    targets: Any,
    groups: Any,
    reader: TargetReader,
    places: Places,
    argument: str,
    modalities: Sequence[Modality],
) -> Examples:
    """Return the examples of an array, tensor or list, each with its target."""
    modality, found = _as_items(data, modalities, paths=places != Places())
    items = _placed(found, places)
    if not items:
        raise DataError("There are no examples.")
    labels, reading, warnings = read_targets(targets, listed_targets(targets, len(items), argument), reader)
    given = [None] * len(items) if groups is None or isinstance(groups, str) else listed_groups(groups, len(items))
    rows = [
        Row(item=item, name=name, target=label, group=group)
        for item, name, label, group in zip(items, names_of(items), labels, given, strict=True)
    ]
    tried = next((places.tried(row.name) for row in rows if isinstance(row.item, Path)), "")
    examples = examples_of_rows(rows, tried=tried)
    shape = tuple(data.shape) if hasattr(data, "shape") and hasattr(data, "dtype") else ()
    described = f"{len(examples)} {modality.noun}s from {type_name(data)}{f' of the shape {shape}' if shape else ''}"
    return replace(examples, described=described, reading=reading, warnings=warnings, modality=modality)


def _found_at(item: Item, table: _Reader, places: Places, follow_links: bool) -> Examples:
    """Return the examples that one entry of a list stands for: itself, a file, a table or a folder."""
    if not isinstance(item, Path):
        return Examples(items=[item], names=("",))
    if item.suffix.lower() in _TABLES and kind_of(item) == "file":
        given = _read_file(item)
        return table.examples(given, replace(places, folder=given.places.folder))
    return _examples_at(item, follow_links, table.modalities)


def _examples_at(path: Path, follow_links: bool, modalities: Sequence[Modality]) -> Examples:
    """Return the example that is at a path, or those below a folder."""
    kind = kind_of(path)
    if kind == "missing":
        raise DataNotFoundError(f"There is no file or folder {str(path)!r}.")
    if kind == "other":
        raise DataError(f"{str(path)!r} is neither a file nor a folder.")
    if kind == "file":
        return Examples(items=[path], names=names_of([path]))
    below = walk(path, modality_of_folder(path, modalities), follow_links=follow_links)
    skipped = tuple(Skipped(name=printable(file), reason=reason) for file, reason in below.skipped)
    return Examples(items=below.files, names=names_of(below.files), skipped=skipped)


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """Reads tables without targets.

    Attributes:
        asked: The columns that the user names.
        trained: The columns that held the examples to train on.
        strict: Whether a row without an example is refused.
        modalities: What kinds of examples tables may hold.
    """

    asked: AskedColumns
    trained: tuple[str, ...]
    strict: bool
    modalities: Sequence[Modality]

    def examples(self, table: Table, places: Places) -> Examples:
        """Return the examples of a table, one for each row."""
        table = table.at(places, _suffixes(self.modalities))
        inputs = self._inputs(table)
        if inputs.modality is None:
            values: Sequence[Any] = table.columns[inputs.names[0]]
            reason = "no path"
        else:
            values, reason = inputs.items(table), f"nothing in the column {', '.join(map(str, inputs.names))}"
        there = [i for i, value in enumerate(values) if value is not None]
        bare = [row for row, value in zip(table.rows, values, strict=True) if value is None]
        skipped = (*table.skipped, *(Skipped(name=row, reason=reason) for row in bare))
        if self.strict and skipped:
            raise DataError(f"Not every row of {table.name} names an example{because(skipped)}.")
        if inputs.modality is not None:
            return Examples(
                items=[values[i] for i in there],
                names=tuple(table.rows[i] for i in there),
                skipped=skipped,
                modality=inputs.modality,
            )
        named = [values[i] for i in there]
        if not any(map(places.holds, named)):
            where = f"; the first is {named[0]!r} ({places.tried(named[0])})" if named else ""
            raise DataNotFoundError(f"None of the {len(named)} files that {table.name} lists is there{where}.")
        names = tuple(printable(str(value)) for value in named)
        items = [places.find(value) for value in named]
        return Examples(items=items, names=names, skipped=skipped, modality=modality_of_files(items, self.modalities))

    def _inputs(self, table: Table) -> InputColumns:
        """Return the columns that hold the examples: those that are named, those of training, or what looks like it."""
        inputs, paths = self.asked.inputs, self.asked.paths
        if inputs is None and paths is None and self.trained and all(name in table.columns for name in self.trained):
            if len(self.trained) > 1 or table.column_of_files(self.trained) is None:
                inputs = self.trained
            else:
                paths = self.trained[0]
        return find_input_columns(table, self.modalities, input_column=inputs, path_column=paths)


def _rows_of(table: Table, asked: AskedColumns, modalities: Sequence[Modality]) -> list[Item]:
    """Return the example, or the path, of each row of a table whose targets stand beside it.

    Raises:
        DataError: A row has none.
    """
    inputs = find_input_columns(table, modalities, input_column=asked.inputs, path_column=asked.paths)
    rows: Sequence[Any] = table.columns[inputs.names[0]] if inputs.modality is None else inputs.items(table)
    for row, item in zip(table.rows, rows, strict=True):
        if item is None:
            raise DataError(f"There is nothing in {row}, in {inputs.described}: leave the row and its target out.")
    return list(rows)


def _placed(items: Sequence[Item], places: Places) -> list[Item]:
    """Return the items with paths to where the files are."""
    usual = places == Places()
    return [places.find(item) if isinstance(item, Path) and not usual else item for item in items]


def _as_table(data: Any) -> Table | None:
    if hasattr(data, "columns") and hasattr(data, "iloc"):
        return read_frame(data)
    if is_hugging_face(data) or is_split_by_name(data):
        return read_hugging_face(data)
    if not isinstance(data, (str, os.PathLike)) or kind_of(Path(data)) == "folder":
        return None
    path = Path(data)
    if kind_of(path) == "missing":
        raise DataNotFoundError(f"There is no file or folder {str(path)!r}.")
    if path.suffix.lower() not in _TABLES or kind_of(path) != "file":
        raise DataError(f"{path} is neither a folder nor a CSV, TSV or JSON lines file. {LAYOUT}")
    return _read_file(path)


def _read_file(path: Path) -> Table:
    return read_lines(path) if path.suffix.lower() in _JSON_LINES else read_csv(path)


def _suffixes(modalities: Sequence[Modality]) -> tuple[str, ...]:
    return tuple(sorted(suffix for modality in modalities for suffix in modality.suffixes))


def _as_items(
    data: Any, modalities: Sequence[Modality], reading: Mapping[str, Any] | None = None, *, paths: bool = False
) -> tuple[Modality, list[Item]]:
    """Return what kind of examples an array, tensor or list holds, and each of them; with ``paths``, strings are paths.

    Raises:
        DataError: It is nothing of this kind.
    """
    if isinstance(data, np.ndarray) and data.ndim == 2 and data.shape[1] == 1 and data.dtype.kind in "OUT":
        data = data[:, 0]  # a column of strings, as scikit-learn has them
    if is_array(data):
        return batch_of(data, modalities, reading)
    if isinstance(data, np.ndarray) and data.ndim == 1:
        data = data.tolist()
    elif hasattr(data, "notna"):
        data = series_values(data)
    if not isinstance(data, (list, tuple)):
        raise DataError(
            "Data are a folder with one sub-folder per class, a CSV, TSV or JSON lines file, a DataFrame, or targets "
            f"together with {accepted(modalities)}; or a map-style Dataset of (example, label); got {type_name(data)}."
            f"{_other_form(data)}"
        )
    return values_of(data, modalities, paths=paths)


def _other_form(data: Any) -> str:
    """Advise on data that can be gone through once and in one order only."""
    if hasattr(data, "dataset"):
        return " Give the data set of the loader, loader.dataset."
    if hasattr(data, "__iter__") and not isinstance(data, (str, bytes, Mapping, Set)):
        return " Make a list of it first, and of its targets: list(...)."
    return ""
