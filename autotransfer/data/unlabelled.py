"""From anything a user has to ``Examples`` to predict on, which have no targets. Nothing is decoded here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from autotransfer.contract.modality import Item, Modality, Skipped
from autotransfer.data.arrays import is_tensor
from autotransfer.data.datasets import DatasetItems, is_dataset, names_of
from autotransfer.data.examples import Examples
from autotransfer.data.file_lists import because
from autotransfer.data.file_lookup import Places
from autotransfer.data.folders import kind_of, printable, walk
from autotransfer.data.forms import TABLE_SUFFIXES, as_items, as_table, placed, read_file, suffixes
from autotransfer.data.input_columns import AskedColumns, find_input_columns
from autotransfer.data.recognition import known_modalities, modality_of_files, modality_of_folder
from autotransfer.data.tables import Table
from autotransfer.errors import DataError, DataNotFoundError

__all__ = ["find_examples"]


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
    asked = AskedColumns(inputs=input_column, paths=path_column, trained=tuple(columns))
    reader = _Reader(
        asked=asked, places=places, strict=strict, follow_links=follow_links, modalities=modalities, reading=reading
    )
    if not isinstance(data, (str, os.PathLike)) and (table := as_table(data)) is not None:
        return reader.of_table(table, places)
    if is_dataset(data):
        if not len(data):
            raise DataError("The data set is empty.")
        lazy = DatasetItems.of(data, modalities)
        return Examples(items=lazy, names=names_of(lazy), modality=lazy.modality)
    return reader.of_list(data)


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """Reads examples without targets.

    Attributes:
        asked: The columns that the user names.
        places: Where listed files are looked for.
        strict: Whether a row of a table without an example is refused.
        follow_links: Whether links out of folders are followed.
        modalities: What kinds of examples there may be.
        reading: How the examples to train on were read; None for unknown.
    """

    asked: AskedColumns
    places: Places
    strict: bool
    follow_links: bool
    modalities: Sequence[Modality]
    reading: Mapping[str, Any] | None

    def of_list(self, data: Any) -> Examples:
        """Return the examples of an array, a list, a file, a folder or a single example."""
        modalities = self.modalities
        several = isinstance(data, (list, tuple, np.ndarray)) or is_tensor(data) or hasattr(data, "notna")
        single = isinstance(data, (str, os.PathLike))
        if single or (not several and any(m.item(data) is not None for m in modalities)):
            data = [Path(data)] if single and len(modalities) > 1 else [data]  # one string is a path, in doubt
        modality, values = as_items(data, modalities, self.reading or {}, paths=self.places != Places())
        items = placed(values, self.places)
        if items and not any(isinstance(item, Path) for item in items):
            return Examples(items=items, names=names_of(items), modality=modality)
        return self._of_entries(items, modality)

    def _of_entries(self, entries: Sequence[Item], modality: Modality) -> Examples:
        """Return the examples of files, tables and folders, and those in memory between them."""
        found = [self._of_entry(entry) for entry in entries]
        skipped = tuple(left_out for examples in found for left_out in examples.skipped)
        items = [item for examples in found for item in examples.items]
        if not items:
            raise DataError(f"There are no examples{because(skipped)}.")
        if files := [item for item in items if isinstance(item, Path)]:
            modality = modality_of_files(files, [modality] if len(files) < len(items) else self.modalities)
        else:
            modality = next((examples.modality for examples in found if examples.modality is not None), modality)
        names = [name for examples in found for name in examples.names]
        return Examples(
            items=items,
            names=tuple(name or f"item {i}" for i, name in enumerate(names)),
            skipped=skipped,
            modality=modality,
        )

    def _of_entry(self, entry: Item) -> Examples:
        """Return the examples that one entry of a list stands for: itself, a file, a table or a folder."""
        if not isinstance(entry, Path):
            return Examples(items=[entry], names=("",))
        if entry.suffix.lower() in TABLE_SUFFIXES and kind_of(entry) == "file":
            table = read_file(entry)
            return self.of_table(table, replace(self.places, folder=table.places.folder))
        return _examples_at(entry, self.follow_links, self.modalities)

    def of_table(self, table: Table, places: Places) -> Examples:
        """Return the examples of a table, one for each row."""
        table = table.at(places, suffixes(self.modalities))
        inputs = find_input_columns(table, self.modalities, self.asked)
        cells = inputs.cells(table)
        there = [i for i, cell in enumerate(cells) if cell is not None]
        bare = [row for row, cell in zip(table.rows, cells, strict=True) if cell is None]
        skipped = (*table.skipped, *(Skipped(name=row, reason=inputs.nothing) for row in bare))
        if self.strict and skipped:
            raise DataError(f"Not every row of {table.name} names an example{because(skipped)}.")
        found = [cells[i] for i in there]
        if inputs.modality is not None:
            names = tuple(table.rows[i] for i in there)
            return Examples(items=found, names=names, skipped=skipped, modality=inputs.modality)
        if not any(map(places.holds, found)):
            where = f"; the first is {found[0]!r} ({places.tried(found[0])})" if found else ""
            raise DataNotFoundError(f"None of the {len(found)} files that {table.name} lists is there{where}.")
        names = tuple(printable(str(value)) for value in found)
        items = [places.find(value) for value in found]
        return Examples(items=items, names=names, skipped=skipped, modality=modality_of_files(items, self.modalities))


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
