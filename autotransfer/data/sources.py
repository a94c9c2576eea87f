"""From anything a user has to ``Examples``: folders, tables, arrays, lists, data sets. Nothing is decoded here."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotransfer.contract.modality import Item, Modality
from autotransfer.data.columns import TargetReader
from autotransfer.data.datasets import examples_of_dataset, is_dataset, names_of
from autotransfer.data.examples import Examples
from autotransfer.data.file_lists import Row, examples_of_rows
from autotransfer.data.file_lookup import Places
from autotransfer.data.forms import as_items, as_table, is_folder, is_table, placed, suffixes
from autotransfer.data.given_targets import listed_groups, listed_targets, read_targets, type_name, with_groups
from autotransfer.data.input_columns import AskedColumns, find_input_columns
from autotransfer.data.predefined_splits import folder_examples, table_examples
from autotransfer.data.recognition import known_modalities, modality_of_folder
from autotransfer.data.tables import Table
from autotransfer.data.unlabelled import find_examples
from autotransfer.data.weights import listed_weights, table_weights, with_weights
from autotransfer.errors import DataError

__all__ = ["find_examples", "is_folder", "is_table", "load_examples"]


def load_examples(
    data: Any,
    targets: Any = None,
    *,
    input_column: str | Sequence[str] | None = None,
    path_column: str | None = None,
    columns: Sequence[str] = (),
    target_column: str | Sequence[str] | None = None,
    groups: Any = None,
    sample_weight: Any = None,
    weight_column: str | None = None,
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
        columns: Columns that held the examples to train on: those are meant in a table that has them.
        target_column: Column of targets; several, in a list or joined by commas, give one row of numbers per example.
            None finds it.
        groups: Groups that no split separates, such as the photographs of one object: one for each example of an
            array or list; the column of a table; or a regular expression that finds the group in a path.
        sample_weight: Weight of each example of an array, list, table or data set; None weights all equally.
        weight_column: Column of the weights in a table; None for no such column.
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
    modalities, reader, places = known_modalities(modalities), reader or TargetReader(), Places.of(Path(), root, suffix)
    named = {"inputs": input_column, "paths": path_column, "targets": target_column, "groups": groups}
    asked = AskedColumns(**named, weights=weight_column, trained=tuple(columns))
    if (table := as_table(data)) is not None:
        table = table.at(replace(places, folder=table.places.folder), suffixes(modalities))
        weights = table_weights(table, sample_weight, weight_column)
        if targets is None:
            return with_groups(table_examples(table, asked, reader, modalities, weights), groups)
        data, sample_weight = _rows_of(data, table, asked, modalities), None if None in weights else weights
    elif asked.named:
        raise DataError(f"Columns are for tables; got {type_name(data)}: leave {asked.arguments} out.")
    _refuse_places(data, places)
    if isinstance(data, (str, os.PathLike)):
        _refuse_targets(targets, sample_weight)
        modality = modality_of_folder(Path(data), modalities)
        examples = folder_examples(Path(data), modality, reader, follow_links=follow_links, known=known)
    elif is_dataset(data):
        examples = with_weights(examples_of_dataset(data, targets, reader, modalities), sample_weight)
    else:
        examples = _listed_examples(data, targets, groups, sample_weight, reader, places, argument, modalities)
    return with_groups(examples, groups)


def _refuse_places(data: Any, places: Places) -> None:
    if places != Places() and (is_folder(data) or is_dataset(data)):
        raise DataError(f"root and suffix are for tables and lists of paths; got {type_name(data)}.")


def _refuse_targets(targets: Any, sample_weight: Any) -> None:
    if targets is not None:
        raise DataError("The sub-folders of a folder are its labels: leave targets out, or give a list of paths.")
    if sample_weight is not None:
        raise DataError(
            "The files of a folder have no order for sample_weight: give a list of paths with targets, or a table "
            "with weight_column."
        )


def _listed_examples(
    data: Any,
    targets: Any,
    groups: Any,
    sample_weight: Any,
    reader: TargetReader,
    places: Places,
    argument: str,
    modalities: Sequence[Modality],
) -> Examples:
    """Return the examples of an array, tensor or list, each with its target."""
    modality, found = as_items(data, modalities, paths=places != Places())
    items = placed(found, places)
    if not items:
        raise DataError("There are no examples.")
    labels, reading, warnings = read_targets(targets, listed_targets(targets, len(items), argument), reader)
    given = [None] * len(items) if groups is None or isinstance(groups, str) else listed_groups(groups, len(items))
    weights = [None] * len(items) if sample_weight is None else listed_weights(sample_weight, len(items))
    columns = zip(items, names_of(items), labels, given, weights, strict=True)
    rows = [Row(item=item, name=name, target=label, group=g, weight=w) for item, name, label, g, w in columns]
    tried = next((places.tried(row.name) for row in rows if isinstance(row.item, Path)), "")
    examples = examples_of_rows(rows, tried=tried, task_kind=reader.kind or reading.kind)
    shape = tuple(data.shape) if hasattr(data, "shape") and hasattr(data, "dtype") else ()
    described = f"{len(examples)} {modality.noun}s from {type_name(data)}{f' of the shape {shape}' if shape else ''}"
    return replace(examples, described=described, reading=reading, warnings=warnings, modality=modality)


def _rows_of(data: Any, table: Table, asked: AskedColumns, modalities: Sequence[Modality]) -> list[Item]:
    """Return the example, or the path, of each row of a table whose targets stand beside it.

    Raises:
        DataError: A row has none, or the table holds its targets.
    """
    if asked.targets is not None or isinstance(data, (str, os.PathLike, Mapping)):
        raise DataError("A table holds its targets: name their column with target_column, and leave targets out.")
    inputs = find_input_columns(table, modalities, asked)
    rows = inputs.cells(table)
    for row, item in zip(table.rows, rows, strict=True):
        if item is None:
            raise DataError(f"There is nothing in {row}, in {inputs.described}: leave the row and its target out.")
    return list(rows)
