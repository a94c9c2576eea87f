"""From anything a user has to ``Examples``: folders, tables, arrays, lists, data sets. Nothing is decoded here."""

from __future__ import annotations

import os
from collections.abc import Collection, Hashable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from autotransfer.contract.modality import Item, Modality, Skipped
from autotransfer.data.arrays import is_array, is_tensor, to_numpy
from autotransfer.data.columns import TargetFormat, TargetReader
from autotransfer.data.examples import Examples, modality_of
from autotransfer.data.file_lists import Row, because, examples_of_rows
from autotransfer.data.file_lookup import Places
from autotransfer.data.folders import kind_of, printable, walk
from autotransfer.data.groups import groups_in_names, known_groups
from autotransfer.data.predefined_splits import LAYOUT, folder_examples, table_examples
from autotransfer.data.recognition import (
    accepted,
    batch_of,
    item_of,
    known_modalities,
    modality_of_files,
    modality_of_folder,
    values_of,
)
from autotransfer.data.tables import Table, read_csv, read_frame, series_values
from autotransfer.errors import DataError, DataNotFoundError
from autotransfer.warnings import FitWarning

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
        return _grouped(table_examples(table, path_column, target_column, groups, reader, modalities), groups)
    if path_column is not None or target_column is not None:
        raise DataError(f"path_column and target_column are for tables; got {_kind(data)}.")
    if (root is not None or suffix is not None) and (is_folder(data) or _is_dataset(data)):
        raise DataError(f"root and suffix are for tables and lists of paths; got {_kind(data)}.")
    if isinstance(data, (str, os.PathLike)):
        if targets is not None:
            raise DataError("The sub-folders of a folder are its labels: leave targets out, or give a list of paths.")
        folder = Path(data)
        modality = modality_of_folder(folder, modalities)
        examples = folder_examples(folder, modality, reader, follow_links=follow_links, known=known)
        return _grouped(examples, groups)
    if _is_dataset(data):
        examples = _from_dataset(data, targets, reader, modalities)
        described = f"{len(data)} {modality_of(examples).noun}s of a data set, {_kind(data)}"
        return _grouped(replace(examples, described=described), groups)
    places = Places.of(Path(), root, suffix)
    modality, found = _as_items(data, modalities)
    items = _placed(found, places)
    if not items:
        raise DataError("There are no examples.")
    labels, reading, warnings = _as_read(targets, _as_targets(targets, len(items), argument), reader)
    given = [None] * len(items) if groups is None or isinstance(groups, str) else _one_each(groups, len(items))
    rows = [
        Row(item=item, name=name, target=label, group=group)
        for item, name, label, group in zip(items, _names(items), labels, given, strict=True)
    ]
    tried = next((places.tried(row.name) for row in rows if isinstance(row.item, Path)), "")
    examples = examples_of_rows(rows, tried=tried)
    shape = tuple(data.shape) if hasattr(data, "shape") and hasattr(data, "dtype") else ()
    described = f"{len(examples)} {modality.noun}s from {_kind(data)}{f' of the shape {shape}' if shape else ''}"
    examples = replace(examples, described=described, reading=reading, warnings=warnings, modality=modality)
    return _grouped(examples, groups)


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
    if _is_dataset(data):
        if not len(data):
            raise DataError("The data set is empty.")
        modality = _modality_of_dataset(data, modalities)
        items: Sequence[Item] = _DatasetItems(data, modality)
        return Examples(items=items, names=_names(items), modality=modality)
    several = isinstance(data, (list, tuple, np.ndarray)) or is_tensor(data)
    if isinstance(data, (str, os.PathLike)) or (not several and any(m.item(data) is not None for m in modalities)):
        data = [data]
    found: list[Examples] = []
    modality, values = _as_items(data, modalities, {} if reading is None else reading)
    for item in _placed(values, places):
        if not isinstance(item, Path):
            found.append(Examples(items=[item], names=("",)))
        elif item.suffix.lower() in _TABLES and kind_of(item) == "file":
            table = read_csv(item)
            here = replace(places, folder=table.places.folder)
            found.append(_examples_of_table(table, path_column, here, strict, modalities))
        else:
            found.append(_examples_at(item, follow_links, modalities))
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


def _examples_at(path: Path, follow_links: bool, modalities: Sequence[Modality]) -> Examples:
    """Return the example that is at a path, or those below a folder."""
    kind = kind_of(path)
    if kind == "missing":
        raise DataNotFoundError(f"There is no file or folder {str(path)!r}.")
    if kind == "other":
        raise DataError(f"{str(path)!r} is neither a file nor a folder.")
    if kind == "file":
        return Examples(items=[path], names=_names([path]))
    below = walk(path, modality_of_folder(path, modalities), follow_links=follow_links)
    skipped = tuple(Skipped(name=printable(file), reason=reason) for file, reason in below.skipped)
    return Examples(items=below.files, names=_names(below.files), skipped=skipped)


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


def _from_dataset(dataset: Any, targets: Any, reader: TargetReader, modalities: Sequence[Modality]) -> Examples:
    total = len(dataset)
    if not total:
        raise DataError("The data set is empty.")
    if targets is None and getattr(dataset, "target_transform", None) is None:  # it would change what targets says
        own = getattr(dataset, "targets", None)
        targets = own if own is not None and hasattr(own, "__len__") and len(own) == total else None
    if targets is not None:
        modality = _modality_of_dataset(dataset, modalities)
        items: Sequence[Item] = _DatasetItems(dataset, modality)
        labels, reading, warnings = _as_read(targets, _as_targets(targets, total), reader)
        return Examples(
            items=items, names=_names(items), targets=labels, reading=reading, warnings=warnings, modality=modality
        )
    pairs = [_pair(dataset[i], i) for i in range(total)]
    modality, items = values_of([example for example, _ in pairs], modalities)
    labels, reading, warnings = reader.read([_plain(label) for _, label in pairs])
    return Examples(
        items=items, names=_names(items), targets=labels, reading=reading, warnings=warnings, modality=modality
    )


def _modality_of_dataset(dataset: Any, modalities: Sequence[Modality]) -> Modality:
    """Return the modality of a data set; its first example is fetched only where several are installed."""
    return modalities[0] if len(modalities) == 1 else values_of([_example(dataset[0])], modalities)[0]


def _example(sample: Any) -> Any:
    return sample[0] if isinstance(sample, (tuple, list)) else sample


def _suffixes(modalities: Sequence[Modality]) -> tuple[str, ...]:
    return tuple(sorted(suffix for modality in modalities for suffix in modality.suffixes))


class _DatasetItems(Sequence[Item]):
    """The examples of a data set, each fetched when it is asked for."""

    def __init__(self, dataset: Any, modality: Modality) -> None:
        self.dataset, self.modality = dataset, modality

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: Any) -> Any:
        return item_of(_example(self.dataset[i]), i, self.modality)


def _as_read(
    given: Any, values: list[Any], reader: TargetReader
) -> tuple[list[Any], TargetFormat, tuple[FitWarning, ...]]:
    """Read plain targets; those of a data frame or series have the names of its columns."""
    columns = getattr(given, "columns", None)
    if columns is not None and len(columns) > 1:
        return reader.read({str(name): [row[i] for row in values] for i, name in enumerate(columns)})
    name = columns[0] if columns is not None and len(columns) else getattr(given, "name", None)
    return reader.read(values if not isinstance(name, str) else {name: values})


def _pair(sample: Any, i: int) -> tuple[Any, Any]:
    if not isinstance(sample, (tuple, list)) or len(sample) < 2:
        advice = f" Give lists of its columns, which are {list(sample)[:10]}." if isinstance(sample, Mapping) else ""
        raise DataError(f"A data set yields (example, label); sample {i} is {_kind(sample)}.{advice}")
    if hasattr(sample[0], "load") and hasattr(sample[0], "fp"):
        sample[0].load()  # closes the file of an example that was only opened: thousands of them would stay open
    return sample[0], sample[1]


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
            f"{accepted(modalities)}; or a map-style Dataset of (example, label); got {_kind(data)}.{_other_form(data)}"
        )
    return values_of(data, modalities)


def _as_targets(targets: Any, count: int, argument: str = "targets") -> list[Any]:
    """Return one plain Python target for each example."""
    if targets is None:
        where = "" if argument == "targets" else f" in {argument}"
        raise DataError(f"The {count} examples have no targets: give one for each{where}.")
    if isinstance(targets, (str, Set, Mapping)) or not hasattr(targets, "__len__"):
        raise DataError(f"Targets are a sequence with one for each of the {count} examples; got {_kind(targets)}.")
    if len(targets) != count:
        raise DataError(f"There are {count} examples but {len(targets)} targets: give one for each.")
    if hasattr(targets, "notna") and hasattr(targets, "tolist"):
        return series_values(targets)
    if is_tensor(targets) or hasattr(targets, "to_numpy"):
        targets = targets.to_numpy() if hasattr(targets, "to_numpy") else to_numpy(targets)
    if isinstance(targets, np.ndarray):
        # A column vector is one value for each example, as scikit-learn reads it.
        return list((targets.ravel() if targets.shape == (count, 1) else targets).tolist())
    return [_plain(target) for target in targets]


def _plain(target: Any) -> Any:
    """Return a scalar or row of NumPy or torch as Python values."""
    return to_numpy(target).tolist() if is_tensor(target) or isinstance(target, (np.generic, np.ndarray)) else target


def _grouped(examples: Examples, groups: Any) -> Examples:
    """Return the examples with their groups, unless they have them already.

    Raises:
        DataError: There is not one for each, or no path holds what the regular expression looks for in time.
    """
    if groups is None or examples.groups is not None:
        return examples
    if not isinstance(groups, str):
        return replace(examples, groups=tuple(_one_each(groups, len(examples))))
    return replace(examples, groups=groups_in_names(groups, examples.names))


def _one_each(groups: Any, count: int) -> list[Hashable]:
    if isinstance(groups, (str, Set, Mapping)) or not hasattr(groups, "__len__"):
        raise DataError(f"Groups are a column, a regular expression, or one for each example; got {_kind(groups)}.")
    if len(groups) != count:
        raise DataError(f"There are {count} examples but {len(groups)} groups: give one for each.")
    values = series_values(groups) if hasattr(groups, "notna") else [_plain(group) for group in groups]
    return known_groups(values)


def _is_dataset(data: Any) -> bool:
    """Whether it is a map-style data set, as torch asks of one."""
    known = isinstance(data, (list, tuple, np.ndarray)) or is_tensor(data) or hasattr(data, "notna")
    return not known and hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, (str, dict))


def _other_form(data: Any) -> str:
    """Advise on data that can be gone through once and in one order only."""
    if hasattr(data, "dataset"):
        return " Give the data set of the loader, loader.dataset."
    if hasattr(data, "__iter__") and not isinstance(data, (str, bytes, Mapping, Set)):
        return " Make a list of it first, and of its targets: list(...)."
    return ""


def _names(items: Sequence[Any]) -> tuple[str, ...]:
    if isinstance(items, _DatasetItems):
        return tuple(f"item {i}" for i in range(len(items)))
    return tuple(_name(item, i) for i, item in enumerate(items))


def _name(item: Item, i: int) -> str:
    return printable(item) if isinstance(item, Path) else f"item {i}"


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
