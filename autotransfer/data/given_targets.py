"""Targets and groups as a user gives them beside the examples: one for each."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Set
from dataclasses import replace
from typing import Any

import numpy as np

from autotransfer.data.arrays import is_tensor, to_numpy
from autotransfer.data.columns import TargetFormat, TargetReader
from autotransfer.data.examples import Examples
from autotransfer.data.groups import groups_in_names, known_groups
from autotransfer.data.tables import series_values
from autotransfer.errors import DataError
from autotransfer.warnings import FitWarning

__all__ = ["listed_groups", "listed_targets", "plain_value", "read_targets", "type_name", "with_groups"]


def read_targets(
    given: Any, values: list[Any], reader: TargetReader
) -> tuple[list[Any], TargetFormat, tuple[FitWarning, ...]]:
    """Read plain targets; those of a data frame or series have the names of its columns."""
    columns = getattr(given, "columns", None)
    if columns is not None and len(columns) > 1:
        return reader.read({str(name): [row[i] for row in values] for i, name in enumerate(columns)})
    name = columns[0] if columns is not None and len(columns) else getattr(given, "name", None)
    return reader.read(values if not isinstance(name, str) else {name: values})


def listed_targets(targets: Any, count: int, argument: str = "targets") -> list[Any]:
    """Return one plain Python target for each example."""
    if targets is None:
        where = "" if argument == "targets" else f" in {argument}"
        raise DataError(f"The {count} examples have no targets: give one for each{where}.")
    if isinstance(targets, (str, Set, Mapping)) or not hasattr(targets, "__len__"):
        raise DataError(f"Targets are a sequence with one for each of the {count} examples; got {type_name(targets)}.")
    if len(targets) != count:
        raise DataError(f"There are {count} examples but {len(targets)} targets: give one for each.")
    if hasattr(targets, "notna") and hasattr(targets, "tolist"):
        return series_values(targets)
    if is_tensor(targets) or hasattr(targets, "to_numpy"):
        targets = targets.to_numpy() if hasattr(targets, "to_numpy") else to_numpy(targets)
    if isinstance(targets, np.ndarray):
        # A column vector is one value for each example, as scikit-learn reads it.
        return list((targets.ravel() if targets.shape == (count, 1) else targets).tolist())
    return [plain_value(target) for target in targets]


def plain_value(target: Any) -> Any:
    """Return a scalar or row of NumPy or torch as Python values."""
    return to_numpy(target).tolist() if is_tensor(target) or isinstance(target, (np.generic, np.ndarray)) else target


def listed_groups(groups: Any, count: int) -> list[Hashable]:
    """Return one group for each example.

    Raises:
        DataError: There is not one for each.
    """
    if isinstance(groups, (str, Set, Mapping)) or not hasattr(groups, "__len__"):
        raise DataError(f"Groups are a column, a regular expression, or one for each example; got {type_name(groups)}.")
    if len(groups) != count:
        raise DataError(f"There are {count} examples but {len(groups)} groups: give one for each.")
    values = series_values(groups) if hasattr(groups, "notna") else [plain_value(group) for group in groups]
    return known_groups(values)


def with_groups(examples: Examples, groups: Any) -> Examples:
    """Return the examples with their groups, unless they have them already.

    Raises:
        DataError: There is not one for each, or no path holds what the regular expression looks for in time.
    """
    if groups is None or examples.groups is not None:
        return examples
    if not isinstance(groups, str):
        return replace(examples, groups=tuple(listed_groups(groups, len(examples))))
    return replace(examples, groups=groups_in_names(groups, examples.names))


def type_name(value: Any) -> str:
    """Return what messages call the type of a value."""
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
