"""From anything a user has to ``Examples``: folders, tables, arrays, lists, data sets. Nothing is decoded here."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import replace
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
from autotransfer.data.predefined_splits import LAYOUT, folder_examples, table_examples
from autotransfer.data.recognition import (
    accepted,
    batch_of,
    known_modalities,
    modality_of_files,
    modality_of_folder,
    values_of,
)
from autotransfer.data.tables import Table, read_csv, read_frame, series_values
from autotransfer.errors import DataError, DataNotFoundError

__all__ = ["find_examples", "is_folder", "is_table", "load_examples"]

_TABLES = (".csv", ".tsv", ".tab")


def load_examples(
    data: Any,
    targets: Any = None,
    *,
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
        data: A folder with one sub-folder per class (class names are text); a CSV or TSV file, or a pandas DataFrame,
            with a column of paths (relative to the file's folder; to the current one for a DataFrame); an array or
            tensor of N examples; a list of paths or examples; a map-style
            ``torch.utils.data.Dataset`` of ``(example, label)``, which is read lazily when it has ``targets``. Without
            them it takes a pass to see the labels; the examples of that pass stay in memory, since nothing is decoded
            twice.
        targets: One for each example of an array or list: labels, numbers, collections of labels, indicator rows.
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
    if table is not None:
        if targets is not None:
            raise DataError("A table holds its targets: name their column with target_column, and leave targets out.")
        table = table.at(Places.of(table.places.folder, root, suffix), _suffixes(modalities))
        return with_groups(table_examples(table, path_column, target_column, groups, reader, modalities), groups)
    if path_column is not None or target_column is not None:
        raise DataError(f"path_column and target_column are for tables; got {type_name(data)}.")
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
    path_column: str | None = None,
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
        path_column: Column of paths in a table; None finds it.
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
    if hasattr(data, "columns") and hasattr(data, "iloc"):
        return _examples_of_table(read_frame(data), path_column, places, strict, modalities)
    if is_dataset(data):
        if not len(data):
            raise DataError("The data set is empty.")
        items: Sequence[Item] = (fetched := DatasetItems.of(data, modalities))
        modality = fetched.modality
        return Examples(items=items, names=names_of(items), modality=modality)
    several = isinstance(data, (list, tuple, np.ndarray)) or is_tensor(data)
    if isinstance(data, (str, os.PathLike)) or (not several and any(m.item(data) is not None for m in modalities)):
        data = [data]
    modality, values = _as_items(data, modalities, {} if reading is None else reading)
    found = [_found_at(item, path_column, places, strict, follow_links, modalities) for item in _placed(values, places)]
    skipped = tuple(left_out for examples in found for left_out in examples.skipped)
    items = [item for examples in found for item in examples.items]
    if not items:
        raise DataError(f"There are no examples{because(skipped)}.")
    if files := [item for item in items if isinstance(item, Path)]:
        modality = modality_of_files(files, [modality] if len(files) < len(items) else modalities)
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
    """Whether data are a table: a data frame, or a file that is no folder."""
    return (hasattr(data, "columns") and hasattr(data, "iloc")) or (
        isinstance(data, (str, os.PathLike)) and not is_folder(data)
    )


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
    modality, found = _as_items(data, modalities)
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


def _found_at(
    item: Item,
    path_column: str | None,
    places: Places,
    strict: bool,
    follow_links: bool,
    modalities: Sequence[Modality],
) -> Examples:
    """Return the examples that one entry of a list stands for: itself, a file, a table or a folder."""
    if not isinstance(item, Path):
        return Examples(items=[item], names=("",))
    if item.suffix.lower() in _TABLES and kind_of(item) == "file":
        table = read_csv(item)
        here = replace(places, folder=table.places.folder)
        return _examples_of_table(table, path_column, here, strict, modalities)
    return _examples_at(item, follow_links, modalities)


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


def _examples_of_table(
    table: Table, path_column: str | None, places: Places, strict: bool, modalities: Sequence[Modality]
) -> Examples:
    """Return the examples of a table, one for each row."""
    table = table.at(places, _suffixes(modalities))
    values = table.columns[table.path_column(path_column)]
    named = [value for value in values if value is not None]
    bare = [row for row, value in zip(table.rows, values, strict=True) if value is None]
    skipped = (*table.skipped, *(Skipped(name=row, reason="no path") for row in bare))
    if strict and skipped:
        raise DataError(f"Not every row of {table.name} names an example{because(skipped)}.")
    if not any(map(places.holds, named)):
        where = f"; the first is {named[0]!r} ({places.tried(named[0])})" if named else ""
        raise DataNotFoundError(f"None of the {len(named)} files that {table.name} lists is there{where}.")
    names = tuple(printable(str(value)) for value in named)
    items = [places.find(value) for value in named]
    return Examples(items=items, names=names, skipped=skipped, modality=modality_of_files(items, modalities))


def _placed(items: Sequence[Item], places: Places) -> list[Item]:
    """Return the items with paths to where the files are."""
    usual = places == Places()
    return [places.find(item) if isinstance(item, Path) and not usual else item for item in items]


def _as_table(data: Any) -> Table | None:
    if hasattr(data, "columns") and hasattr(data, "iloc"):
        return read_frame(data)
    if not isinstance(data, (str, os.PathLike)) or kind_of(Path(data)) == "folder":
        return None
    path = Path(data)
    if kind_of(path) == "missing":
        raise DataNotFoundError(f"There is no file or folder {str(path)!r}.")
    if path.suffix.lower() not in _TABLES or kind_of(path) != "file":
        raise DataError(f"{path} is neither a folder nor a CSV or TSV file. {LAYOUT}")
    return read_csv(path)


def _suffixes(modalities: Sequence[Modality]) -> tuple[str, ...]:
    return tuple(sorted(suffix for modality in modalities for suffix in modality.suffixes))


def _as_items(
    data: Any, modalities: Sequence[Modality], reading: Mapping[str, Any] | None = None
) -> tuple[Modality, list[Item]]:
    """Return what kind of examples an array, tensor or list holds, and each of them."""
    if is_array(data):
        return batch_of(data, modalities, reading)
    if isinstance(data, np.ndarray) and data.ndim == 1:
        data = data.tolist()
    elif hasattr(data, "notna"):
        data = series_values(data)
    if not isinstance(data, (list, tuple)):
        raise DataError(
            "Data are a folder with one sub-folder per class, a CSV file or DataFrame, or targets together with "
            f"{accepted(modalities)}; or a map-style Dataset of (example, label); got {type_name(data)}."
            f"{_other_form(data)}"
        )
    return values_of(data, modalities)


def _other_form(data: Any) -> str:
    """Advise on data that can be gone through once and in one order only."""
    if hasattr(data, "dataset"):
        return " Give the data set of the loader, loader.dataset."
    if hasattr(data, "__iter__") and not isinstance(data, (str, bytes, Mapping, Set)):
        return " Make a list of it first, and of its targets: list(...)."
    return ""
