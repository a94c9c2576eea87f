"""The forms that data may have: a table, an array, a list, a folder. Nothing is decoded here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np

from autotransfer.contract.modality import Item, Modality
from autotransfer.data.arrays import is_array
from autotransfer.data.file_lookup import Places
from autotransfer.data.folders import kind_of
from autotransfer.data.given_targets import type_name
from autotransfer.data.hugging_face import is_hugging_face, is_split_by_name
from autotransfer.data.recognition import accepted, batch_of, values_of
from autotransfer.data.tables import Table, read_csv, read_frame, read_hugging_face, read_lines, series_values
from autotransfer.errors import DataError, DataNotFoundError

__all__ = [
    "LAYOUT",
    "TABLE_SUFFIXES",
    "as_items",
    "as_table",
    "is_folder",
    "is_table",
    "placed",
    "read_file",
    "suffixes",
]

LAYOUT = "Expected one sub-folder for each class, with its files in it, such as FOLDER/cat and FOLDER/dog."
_DELIMITED, _JSON_LINES = (".csv", ".tsv", ".tab"), (".jsonl", ".ndjson")
TABLE_SUFFIXES = (*_DELIMITED, *_JSON_LINES)
"""Suffixes of files that are tables."""


def is_folder(data: Any) -> bool:
    """Whether data are a folder."""
    return isinstance(data, (str, os.PathLike)) and kind_of(Path(data)) == "folder"


def is_table(data: Any) -> bool:
    """Whether data are a table: a data frame, a table of ``datasets``, or a file that is no folder."""
    if isinstance(data, (str, os.PathLike)):
        return not is_folder(data)
    return (hasattr(data, "columns") and hasattr(data, "iloc")) or is_hugging_face(data) or is_split_by_name(data)


def placed(items: Sequence[Item], places: Places) -> list[Item]:
    """Return the items with paths to where the files are."""
    usual = places == Places()
    return [places.find(item) if isinstance(item, Path) and not usual else item for item in items]


def as_table(data: Any) -> Table | None:
    """Return the table that data are; None for a folder, and for what is in memory and no table.

    Raises:
        DataNotFoundError: There is no such file.
        DataError: The file is no table.
    """
    if hasattr(data, "columns") and hasattr(data, "iloc"):
        return read_frame(data)
    if is_hugging_face(data) or is_split_by_name(data):
        return read_hugging_face(data)
    if not isinstance(data, (str, os.PathLike)) or kind_of(Path(data)) == "folder":
        return None
    path = Path(data)
    if kind_of(path) == "missing":
        raise DataNotFoundError(f"There is no file or folder {str(path)!r}.")
    if path.suffix.lower() not in TABLE_SUFFIXES or kind_of(path) != "file":
        raise DataError(f"{path} is neither a folder nor a CSV, TSV or JSON lines file. {LAYOUT}")
    return read_file(path)


def read_file(path: Path) -> Table:
    """Read a file that is a table, by its suffix."""
    return read_lines(path) if path.suffix.lower() in _JSON_LINES else read_csv(path)


def suffixes(modalities: Sequence[Modality]) -> tuple[str, ...]:
    """Return the suffixes of files of any of these modalities."""
    return tuple(sorted(suffix for modality in modalities for suffix in modality.suffixes))


def as_items(
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
