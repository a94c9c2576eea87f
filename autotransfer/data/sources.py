"""From anything a user has to ``Examples``: folders, tables, arrays, lists, data sets. Nothing is decoded here."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from autotransfer.data.arrays import batch_of_images, image_of, is_tensor, to_numpy, to_storable
from autotransfer.data.columns import Reading, TargetReader
from autotransfer.data.examples import Examples, Item, Skipped
from autotransfer.data.folders import kind_of, printable, walk
from autotransfer.data.groups import groups_in_names, known_groups
from autotransfer.data.tables import Table, read_csv, read_frame, series_values
from autotransfer.errors import DataError, DataNotFoundError
from autotransfer.fit_warnings import FitWarning

__all__ = ["find_images", "load_examples"]

_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing", "eval", "dev"})
_LAYOUT = "Expected one sub-folder for each class, with its images in it: FOLDER/cat/1.jpg, FOLDER/dog/2.jpg."
_Row = tuple[Item, str, Any, Hashable]  # the item, its name, its target, its group
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

    Returns:
        The examples, in a repeatable order, and what was left out: missing files, repeats, links that lead away.

    Raises:
        DataNotFoundError: The folder or file, or every file listed, is missing.
        DataError: The data have another form, or other numbers of images and targets.
        UnknownNameError: There is no such column.
    """
    table, reader = _as_table(data), reader or TargetReader()
    if table is not None:
        if targets is not None:
            raise DataError("A table holds its targets: name their column with target_column, and leave targets out.")
        return _grouped(_from_table(table, path_column, target_column, groups, reader), groups)
    if path_column is not None or target_column is not None:
        raise DataError(f"path_column and target_column are for tables; got {_kind(data)}.")
    if isinstance(data, (str, os.PathLike)):
        if targets is not None:
            raise DataError("The sub-folders of a folder are its labels: leave targets out, or give a list of paths.")
        return _grouped(_from_folder(Path(data), reader), groups)
    if _is_dataset(data):
        return _grouped(_from_dataset(data, targets, reader), groups)
    items = _as_items(data)
    if not items:
        raise DataError("There are no images.")
    labels, reading, warnings = _as_read(targets, _as_targets(targets, len(items)), reader)
    if any(isinstance(item, Path) for item in items):
        given = [None] * len(items) if groups is None or isinstance(groups, str) else _one_each(groups, len(items))
        found = _existing(list(zip(items, _names(items), labels, given, strict=True)))
    else:
        found = Examples(items=items, names=_names(items), targets=labels)
    return _grouped(replace(found, reading=reading, warnings=warnings), groups)


def find_images(paths: Any) -> Examples:
    """Collect images to predict on: files, folders (searched to the bottom), arrays and PIL images, one or many.

    Raises:
        DataNotFoundError: A file or folder is missing.
        DataError: There is no image, or something that is none.
    """
    if isinstance(paths, (str, os.PathLike, Image.Image)) or _is_one_image(paths):
        paths = [paths]
    items: list[Item] = []
    skipped: list[Skipped] = []
    for item in _as_items(paths):
        kind = kind_of(item) if isinstance(item, Path) else ""
        if isinstance(item, Path) and kind == "folder":
            found, left_out = walk(item)
            items += found
            skipped += left_out
        elif kind == "missing":
            raise DataNotFoundError(f"There is no file or folder {str(item)!r}.")
        elif kind == "other":
            raise DataError(f"{str(item)!r} is neither a file nor a folder.")
        else:
            items.append(item)
    if not items:
        raise DataError(f"There are no images{_because(skipped)}.")
    return Examples(items=items, names=_names(items), skipped=tuple(skipped))


def _as_table(data: Any) -> Table | None:
    if hasattr(data, "columns") and hasattr(data, "iloc"):
        return read_frame(data)
    if not isinstance(data, (str, os.PathLike)) or kind_of(Path(data)) == "folder":
        return None
    path = Path(data)
    if kind_of(path) == "missing":
        raise DataNotFoundError(f"There is no file or folder {str(path)!r}.")
    if path.suffix.lower() not in (".csv", ".tsv", ".tab") or kind_of(path) != "file":
        raise DataError(f"{path} is neither a folder nor a CSV or TSV file. {_LAYOUT}")
    return read_csv(path)


def _from_table(
    table: Table,
    path_column: str | None,
    target_column: str | Sequence[str] | None,
    groups: Any,
    reader: TargetReader,
) -> Examples:
    path_column = table.path_column(path_column)
    group_column = groups if isinstance(groups, str) and groups in table.columns else None
    names = table.target_columns(target_column, path_column, group_column)
    columns = {name: table.columns[name] for name in names}
    targets, reading, warnings = reader.read(columns, untyped=table.untyped, comma=table.comma)
    given = [None] * len(targets) if group_column is None else table.columns[group_column]
    rows: list[_Row] = []
    skipped = list(table.skipped)
    for row, value, target, group in zip(table.rows, table.columns[path_column], targets, given, strict=True):
        if value is None or target is None:
            skipped.append(Skipped(name=row, reason="no path" if value is None else "no target"))
        else:
            rows.append((table.folder / str(value), printable(str(value)), target, group))
    return replace(_existing(rows, skipped), reading=reading, warnings=warnings)


def _from_folder(root: Path, reader: TargetReader) -> Examples:
    found, skipped = walk(root)
    rows: list[_Row] = []
    for path in found:
        parts = path.relative_to(root).parts
        if len(parts) > 1:
            rows.append((path, printable(path), printable(parts[0]), None))
        else:
            skipped.append(Skipped(name=printable(path), reason="directly in the folder: it belongs to no class"))
    if not rows:
        raise DataError(f"No class with images in {printable(root)!r}{_because(skipped)}. {_LAYOUT}")
    classes = {label for _, _, label, _ in rows}
    if {label.lower() for label in classes} <= _SPLITS and not any(p.parent.parent == root for p in found):
        raise DataError(
            f"The sub-folders of {printable(root)!r} are splits, not classes ({', '.join(sorted(classes))}): "
            "give one of them."
        )
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and not folder.name.startswith(".") and printable(folder.name) not in classes:
            skipped.append(Skipped(name=printable(folder), reason="a folder without images"))
    examples = _existing(rows, skipped)
    targets, reading, warnings = reader.read(list(examples.targets or ()), labels=True)
    return replace(examples, targets=targets, reading=reading, warnings=warnings)


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


def _as_read(given: Any, values: list[Any], reader: TargetReader) -> tuple[list[Any], Reading, tuple[FitWarning, ...]]:
    """Read plain targets; those of a data frame or series have the names of its columns."""
    columns = getattr(given, "columns", None)
    if columns is not None and len(columns) > 1:
        return reader.read({str(name): [row[i] for row in values] for i, name in enumerate(columns)})
    name = columns[0] if columns is not None and len(columns) else getattr(given, "name", None)
    return reader.read(values if not isinstance(name, str) else {name: values})


def _pair(sample: Any, i: int) -> tuple[Any, Any]:
    if not isinstance(sample, (tuple, list)) or len(sample) < 2:
        raise DataError(f"A data set yields (image, label); sample {i} is {_kind(sample)}.")
    if isinstance(sample[0], Image.Image):
        sample[0].load()  # closes the file of an image that was only opened: thousands of them would stay open
    return sample[0], sample[1]


def _as_items(data: Any) -> list[Item]:
    if is_tensor(data) or (isinstance(data, np.ndarray) and (data.ndim != 1 or data.dtype.kind in "buif")):
        return list(batch_of_images(data))
    if isinstance(data, np.ndarray) and data.ndim == 1:
        data = data.tolist()
    elif hasattr(data, "notna"):
        data = series_values(data)
    if not isinstance(data, (list, tuple)):
        raise DataError(f"Data are {_ACCEPTED}; got {_kind(data)}.")
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


def _as_targets(targets: Any, count: int) -> list[Any]:
    """Return one plain Python target for each image."""
    if targets is None:
        raise DataError(f"The {count} images have no targets: give one for each.")
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


def _existing(rows: Sequence[_Row], skipped: Iterable[Skipped] = ()) -> Examples:
    """Make examples of the rows whose files are there, each file once."""
    left_out = list(skipped)
    there: list[_Row] = []
    for row in rows:
        kind = kind_of(row[0]) if isinstance(row[0], Path) else "file"
        if kind != "file":
            left_out.append(Skipped(name=row[1], reason="not found" if kind == "missing" else f"no file ({kind})"))
        else:
            there.append(row)
    if rows and not there:
        raise DataNotFoundError(f"None of the {len(rows)} files listed is there; the first is {str(rows[0][0])!r}.")
    kept, repeats = _without_repeats(there)
    left_out += repeats
    if not kept:
        raise DataError(f"No example is left{_because(left_out)}.")
    items, names, targets, groups = zip(*kept, strict=True)
    return Examples(
        items=list(items),
        names=names,
        targets=list(targets),
        groups=None if all(group is None for group in groups) else groups,
        skipped=tuple(left_out),
    )


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


def _without_repeats(rows: Sequence[_Row]) -> tuple[list[_Row], list[Skipped]]:
    """Keep the first of equal rows, and neither of two rows that give one file two labels."""
    keys = _keys(rows)
    known: dict[Any, list[Any]] = defaultdict(list)
    first = []
    for key, (_, _, target, _) in zip(keys, rows, strict=True):
        first.append(target not in known[key])
        if first[-1]:
            known[key].append(target)
    kept: list[_Row] = []
    skipped: list[Skipped] = []
    for key, new, row in zip(keys, first, rows, strict=True):
        labels = known[key]
        if len(labels) > 1 and all(isinstance(label, (str, int)) for label in labels):
            count = "two" if len(labels) == 2 else len(labels)
            reason = f"listed under {count} labels: {', '.join(sorted(map(str, labels)))}"
            skipped.append(Skipped(name=row[1], reason=reason))
        elif new:
            kept.append(row)
        else:
            skipped.append(Skipped(name=row[1], reason="duplicate row"))
    return kept, skipped


def _keys(rows: Sequence[_Row]) -> list[Any]:
    """Return what tells files apart: the real path; arrays and PIL images all differ."""
    folders: dict[Path, str] = {}
    keys: list[Any] = []
    for i, (item, *_) in enumerate(rows):
        if not isinstance(item, Path):
            keys.append(i)
        elif item.is_symlink():
            keys.append(os.path.realpath(item))
        else:
            folder = folders.get(item.parent) or folders.setdefault(item.parent, os.path.realpath(item.parent))
            keys.append(str(Path(folder, item.name)))
    return keys


def _is_dataset(data: Any) -> bool:
    """Whether it is a map-style data set, as torch asks of one."""
    known = isinstance(data, (list, tuple, np.ndarray, Image.Image)) or is_tensor(data) or hasattr(data, "notna")
    return not known and hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, (str, dict))


def _is_one_image(data: Any) -> bool:
    """Whether an array is one image (H, W, C), or a tensor one of (C, H, W), rather than several in grey."""
    if not is_tensor(data) and not isinstance(data, np.ndarray):
        return False
    return data.ndim == 3 and (data.shape[0] if is_tensor(data) else data.shape[-1]) in (3, 4)


def _names(items: Sequence[Any]) -> tuple[str, ...]:
    if isinstance(items, _DatasetImages):
        return tuple(f"item {i}" for i in range(len(items)))
    return tuple(_name(item, i) for i, item in enumerate(items))


def _name(item: Item, i: int) -> str:
    return printable(item) if isinstance(item, Path) else f"item {i}"


def _because(skipped: Sequence[Skipped]) -> str:
    return f" ({len(skipped)} left out; the first, {skipped[0].name}: {skipped[0].reason})" if skipped else ""


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
