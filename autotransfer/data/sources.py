"""From anything a user has to ``Examples``: folders, tables, arrays, lists, data sets. Nothing is decoded here."""

from __future__ import annotations

import os
from collections.abc import Collection, Hashable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from autotransfer.data.columns import TargetFormat, TargetReader
from autotransfer.data.examples import Examples, Item, Skipped
from autotransfer.data.file_lists import Row, because, examples_of_rows
from autotransfer.data.file_lookup import Places
from autotransfer.data.folders import kind_of, printable, walk
from autotransfer.data.groups import groups_in_names, known_groups
from autotransfer.data.predefined_splits import LAYOUT, folder_examples, table_examples
from autotransfer.data.tables import Table, read_csv, read_frame, series_values
from autotransfer.errors import DataError, DataNotFoundError
from autotransfer.images.arrays import batch_of_images, image_of, is_tensor, split_images, to_numpy, to_storable
from autotransfer.warnings import FitWarning

__all__ = ["find_images", "is_folder", "is_table", "load_examples"]

_IMAGES = (
    "a file, a folder, an array or tensor of images, a PIL image, or a list of these; a CSV file or DataFrame with a "
    "column of paths; or a map-style Dataset"
)
_TABLES = (".csv", ".tsv", ".tab")
_ACCEPTED = (
    "a folder with one sub-folder per class, a CSV file or DataFrame, or targets together with an array or tensor of "
    "images, or a list of paths, PIL images or arrays; or a map-style Dataset of (image, label)"
)


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
) -> Examples:
    """Turn labelled data of any common form into examples.

    Args:
        data: A folder with one sub-folder per class (class names are text); a CSV or TSV file, or a pandas DataFrame,
            with a column of paths (relative to the file's folder; to the current one for a DataFrame); an array
            (N, H, W) or (N, H, W, C), or a tensor (N, C, H, W); a list of paths, PIL images or arrays; a map-style
            ``torch.utils.data.Dataset`` of ``(image, label)``, which is read lazily when it has ``targets``. Without
            them it takes a pass to see the labels; the images of that pass stay in memory, since nothing is decoded
            twice.
        targets: One for each image of an array or list: labels, numbers, collections of labels, indicator rows.
        path_column: Column of paths; None finds it.
        target_column: Column of targets; several, in a list or joined by commas, give one row of numbers per image.
            None finds it.
        groups: What may not be torn apart by a split, such as the photographs of one object: one for each image of an
            array or list; the column of a table; or a regular expression that finds the group in a path.
        reader: Reads the targets; None reads them without knowing what is wanted of them.
        root: Folder that the relative paths of a table or list are looked for in, before the table's own folder.
        suffix: What these paths lack at the end, such as ``".png"``.
        follow_links: Whether to follow links that lead out of a folder, and links to folders.
        known: Classes that are known already, of which a folder may hold a single one.
        argument: What messages call the targets.

    Returns:
        The examples, in a repeatable order, with their ``parts`` where a table or folder is divided into train and test
        already; and what was left out: missing files, repeats, links that lead away, files that are no images.

    Raises:
        DataNotFoundError: The folder or file, or every file listed, is missing.
        DataError: The data have another form, or other numbers of images and targets.
        UnknownNameError: There is no such column.
    """
    table, reader = _as_table(data), reader or TargetReader()
    if table is not None:
        if targets is not None:
            raise DataError("A table holds its targets: name their column with target_column, and leave targets out.")
        table = table.at(Places.of(table.places.folder, root, suffix))
        return _grouped(table_examples(table, path_column, target_column, groups, reader), groups)
    if path_column is not None or target_column is not None:
        raise DataError(f"path_column and target_column are for tables; got {_kind(data)}.")
    if (root is not None or suffix is not None) and (is_folder(data) or _is_dataset(data)):
        raise DataError(f"root and suffix are for tables and lists of paths; got {_kind(data)}.")
    if isinstance(data, (str, os.PathLike)):
        if targets is not None:
            raise DataError("The sub-folders of a folder are its labels: leave targets out, or give a list of paths.")
        return _grouped(folder_examples(Path(data), reader, follow_links=follow_links, known=known), groups)
    if _is_dataset(data):
        described = f"{len(data)} images of a data set, {_kind(data)}"
        return _grouped(replace(_from_dataset(data, targets, reader), described=described), groups)
    places = Places.of(Path(), root, suffix)
    items = _placed(_as_items(data), places)
    if not items:
        raise DataError("There are no images.")
    labels, reading, warnings = _as_read(targets, _as_targets(targets, len(items), argument), reader)
    given = [None] * len(items) if groups is None or isinstance(groups, str) else _one_each(groups, len(items))
    rows = [
        Row(item=item, name=name, target=label, group=group)
        for item, name, label, group in zip(items, _names(items), labels, given, strict=True)
    ]
    tried = next((places.tried(row.name) for row in rows if isinstance(row.item, Path)), "")
    examples = examples_of_rows(rows, tried=tried)
    shape = tuple(data.shape) if hasattr(data, "shape") and hasattr(data, "dtype") else ()
    described = f"{len(examples)} images from {_kind(data)}{f' of the shape {shape}' if shape else ''}"
    return _grouped(replace(examples, described=described, reading=reading, warnings=warnings), groups)


def find_images(
    data: Any,
    *,
    path_column: str | None = None,
    root: str | os.PathLike[str] | None = None,
    suffix: str | None = None,
    follow_links: bool = False,
    strict: bool = False,
    channels: int | None = None,
) -> Examples:
    """Collect images to predict on, in the order in which they are given.

    Args:
        data: Everything that ``load_examples`` takes, but without targets; a file, folder (searched to the bottom),
            array (H, W, C) or PIL image; or a list of any of these. A table gives an image for each row.
        path_column: Column of paths in a table; None finds it.
        root: Folder that relative paths are looked for in first.
        suffix: What these paths lack at the end.
        follow_links: Whether to follow links that lead out of a folder, and links to folders.
        strict: Refuse a table of which a row names no file, since not each row would have its image.
        channels: What an array of three axes holds; see ``split_images``.

    Returns:
        The examples. Files that a table or list names and that are missing are among them, so that each row has one.

    Raises:
        DataNotFoundError: A file or folder is missing.
        DataError: There is no image, or something that is none.
    """
    places = Places.of(Path(), root, suffix)
    if hasattr(data, "columns") and hasattr(data, "iloc"):
        return _images_of_table(read_frame(data), path_column, places, strict)
    if _is_dataset(data):
        if not len(data):
            raise DataError("The data set is empty.")
        items: Sequence[Item] = _DatasetImages(data)
        return Examples(items=items, names=_names(items))
    if isinstance(data, (str, os.PathLike, Image.Image)):
        data = [data]
    found: list[Examples] = []
    for item in _placed(_as_items(split_images(data, channels), _IMAGES), places):
        if not isinstance(item, Path):
            found.append(Examples(items=[item], names=("",)))
        elif item.suffix.lower() in _TABLES and kind_of(item) == "file":
            table = read_csv(item)
            found.append(_images_of_table(table, path_column, replace(places, folder=table.places.folder), strict))
        else:
            found.append(_images_at(item, follow_links))
    skipped = tuple(left_out for examples in found for left_out in examples.skipped)
    items = [item for examples in found for item in examples.items]
    if not items:
        raise DataError(f"There are no images{because(skipped)}.")
    names = [name for examples in found for name in examples.names]
    return Examples(items=items, names=tuple(name or f"item {i}" for i, name in enumerate(names)), skipped=skipped)


def is_folder(data: Any) -> bool:
    """Whether data are a folder."""
    return isinstance(data, (str, os.PathLike)) and kind_of(Path(data)) == "folder"


def is_table(data: Any) -> bool:
    """Whether data are a table: a data frame, or a file that is no folder."""
    return (hasattr(data, "columns") and hasattr(data, "iloc")) or (
        isinstance(data, (str, os.PathLike)) and not is_folder(data)
    )


def _images_at(path: Path, follow_links: bool) -> Examples:
    """Return the image that is at a path, or those below a folder."""
    kind = kind_of(path)
    if kind == "missing":
        raise DataNotFoundError(f"There is no file or folder {str(path)!r}.")
    if kind == "other":
        raise DataError(f"{str(path)!r} is neither a file nor a folder.")
    if kind == "file":
        return Examples(items=[path], names=_names([path]))
    below = walk(path, follow_links=follow_links)
    skipped = tuple(Skipped(name=printable(file), reason=reason) for file, reason in below.skipped)
    return Examples(items=below.files, names=_names(below.files), skipped=skipped)


def _images_of_table(table: Table, path_column: str | None, places: Places, strict: bool) -> Examples:
    """Return the images of a table, one for each row."""
    table = table.at(places)
    values = table.columns[table.path_column(path_column)]
    named = [value for value in values if value is not None]
    bare = [row for row, value in zip(table.rows, values, strict=True) if value is None]
    skipped = (*table.skipped, *(Skipped(name=row, reason="no path") for row in bare))
    if strict and skipped:
        raise DataError(f"Not every row of {table.name} names an image{because(skipped)}.")
    if not any(map(places.holds, named)):
        where = f"; the first is {named[0]!r} ({places.tried(named[0])})" if named else ""
        raise DataNotFoundError(f"None of the {len(named)} files that {table.name} lists is there{where}.")
    names = tuple(printable(str(value)) for value in named)
    return Examples(items=[places.find(value) for value in named], names=names, skipped=skipped)


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


def _from_dataset(dataset: Any, targets: Any, reader: TargetReader) -> Examples:
    total = len(dataset)
    if not total:
        raise DataError("The data set is empty.")
    if targets is None and getattr(dataset, "target_transform", None) is None:  # it would change what targets says
        own = getattr(dataset, "targets", None)
        targets = own if own is not None and hasattr(own, "__len__") and len(own) == total else None
    if targets is not None:
        items: Sequence[Item] = _DatasetImages(dataset)
        labels, reading, warnings = _as_read(targets, _as_targets(targets, total), reader)
        return Examples(items=items, names=_names(items), targets=labels, reading=reading, warnings=warnings)
    pairs = [_pair(dataset[i], i) for i in range(total)]
    items = _as_items([image for image, _ in pairs])
    labels, reading, warnings = reader.read([_plain(label) for _, label in pairs])
    return Examples(items=items, names=_names(items), targets=labels, reading=reading, warnings=warnings)


class _DatasetImages(Sequence[Item]):
    """The images of a data set, each fetched when it is asked for."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: Any) -> Any:
        sample = self.dataset[i]
        return _as_item(sample[0] if isinstance(sample, (tuple, list)) else sample, i)


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
        raise DataError(f"A data set yields (image, label); sample {i} is {_kind(sample)}.{advice}")
    if isinstance(sample[0], Image.Image):
        sample[0].load()  # closes the file of an image that was only opened: thousands of them would stay open
    return sample[0], sample[1]


def _as_items(data: Any, accepted: str = _ACCEPTED) -> list[Item]:
    if is_tensor(data) or (isinstance(data, np.ndarray) and (data.ndim != 1 or data.dtype.kind in "buif")):
        return list(batch_of_images(data))
    if isinstance(data, np.ndarray) and data.ndim == 1:
        data = data.tolist()
    elif hasattr(data, "notna"):
        data = series_values(data)
    if not isinstance(data, (list, tuple)):
        raise DataError(f"Data are {accepted}; got {_kind(data)}.{_other_form(data)}")
    items = [_as_item(value, i) for i, value in enumerate(data)]
    arrays = iter(to_storable([item for item in items if isinstance(item, np.ndarray)]))
    return [next(arrays) if isinstance(item, np.ndarray) else item for item in items]


def _as_item(value: Any, i: int) -> Item:
    if isinstance(value, (str, os.PathLike)):
        return Path(value)
    if isinstance(value, Image.Image):
        return value
    if is_tensor(value) or isinstance(value, np.ndarray):
        return image_of(value)
    raise DataError(f"Item {i} is {_kind(value)}; an image is a path, a PIL image, an array or a tensor.")


def _as_targets(targets: Any, count: int, argument: str = "targets") -> list[Any]:
    """Return one plain Python target for each image."""
    if targets is None:
        where = "" if argument == "targets" else f" in {argument}"
        raise DataError(f"The {count} images have no targets: give one for each{where}.")
    if isinstance(targets, (str, Set, Mapping)) or not hasattr(targets, "__len__"):
        raise DataError(f"Targets are a sequence with one for each of the {count} images; got {_kind(targets)}.")
    if len(targets) != count:
        raise DataError(f"There are {count} images but {len(targets)} targets: give one for each.")
    if hasattr(targets, "notna") and hasattr(targets, "tolist"):
        return series_values(targets)
    if is_tensor(targets) or hasattr(targets, "to_numpy"):
        targets = targets.to_numpy() if hasattr(targets, "to_numpy") else to_numpy(targets)
    if isinstance(targets, np.ndarray):
        # A column vector is one value for each image, as scikit-learn reads it.
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
        raise DataError(f"Groups are a column, a regular expression, or one for each image; got {_kind(groups)}.")
    if len(groups) != count:
        raise DataError(f"There are {count} images but {len(groups)} groups: give one for each.")
    values = series_values(groups) if hasattr(groups, "notna") else [_plain(group) for group in groups]
    return known_groups(values)


def _is_dataset(data: Any) -> bool:
    """Whether it is a map-style data set, as torch asks of one."""
    known = isinstance(data, (list, tuple, np.ndarray, Image.Image)) or is_tensor(data) or hasattr(data, "notna")
    return not known and hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, (str, dict))


def _other_form(data: Any) -> str:
    """Advise on data that can be gone through once and in one order only."""
    if hasattr(data, "dataset"):
        return " Give the data set of the loader, loader.dataset."
    if hasattr(data, "__iter__") and not isinstance(data, (str, bytes, Mapping, Set)):
        return " Make a list of it first, and of its targets: list(...)."
    return ""


def _names(items: Sequence[Any]) -> tuple[str, ...]:
    if isinstance(items, _DatasetImages):
        return tuple(f"item {i}" for i in range(len(items)))
    return tuple(_name(item, i) for i, item in enumerate(items))


def _name(item: Item, i: int) -> str:
    return printable(item) if isinstance(item, Path) else f"item {i}"


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
