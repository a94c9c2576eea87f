"""Weights of examples: one for each, beside them or in a column of their table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

import numpy as np

from autotransfer.contract.modality import Skipped, Store
from autotransfer.data.arrays import is_tensor, to_numpy
from autotransfer.data.examples import Examples
from autotransfer.data.number_format import NumberFormat
from autotransfer.data.skipped import WEIGHTLESS
from autotransfer.data.tables import Table
from autotransfer.errors import DataError

__all__ = ["listed_weights", "table_weights", "weights_of", "with_weights", "without_weightless"]


def listed_weights(weights: Any, count: int) -> list[float]:
    """Return one weight for each of ``count`` examples.

    Raises:
        DataError: There is not one for each, or one is no finite number from 0 on.
    """
    if isinstance(weights, (str, Set, Mapping)) or not (hasattr(weights, "__len__") or hasattr(weights, "__array__")):
        raise DataError(f"Weights are a sequence with one number for each example; got {type(weights).__name__}.")
    array = to_numpy(weights) if is_tensor(weights) else np.asarray(weights)
    if array.ndim != 1:
        raise DataError(f"Weights are one number for each example, an array (N,); got the shape {array.shape}.")
    if len(array) != count:
        raise DataError(f"There are {count} examples but {len(array)} weights: give one for each.")
    names = [f"example {i}" for i in range(count)]
    return _checked([None if _is_missing(value) else value for value in array.tolist()], names, "")


def _column_weights(table: Table, column: str) -> list[float]:
    """Return the weight of each row of a table.

    Raises:
        UnknownNameError: There is no such column.
        DataError: A weight is missing, or is no finite number from 0 on.
    """
    (column,) = table.named([column])
    values = list(table.texts(column))
    texts = [value for value in values if isinstance(value, str)]
    form = NumberFormat.of(texts, comma=table.comma) or NumberFormat()
    numbers = [form.number(value) if isinstance(value, str) else value for value in values]
    wrong = next((i for i, number in enumerate(numbers) if number is None and values[i] is not None), None)
    if wrong is not None:
        raise DataError(
            f"The weight of {table.rows[wrong]} in the column {column!r} is no number: {values[wrong]!r:.60}."
        )
    return _checked(numbers, table.rows, f" in the column {column!r}")


def table_weights(table: Table, sample_weight: Any, weight_column: str | None) -> Sequence[float | None]:
    """Return the weight of each row of a table, from a column or from beside it; None for each where there is none.

    Raises:
        UnknownNameError: There is no such column.
        DataError: There is not one for each, one is no finite number from 0 on, or both are given.
    """
    if sample_weight is not None and weight_column is not None:
        raise DataError("Weights are in a column or beside the data: give weight_column or sample_weight, not both.")
    if weight_column is not None:
        return _column_weights(table, weight_column)
    return [None] * len(table.rows) if sample_weight is None else listed_weights(sample_weight, len(table.rows))


def with_weights(examples: Examples, weights: Any) -> Examples:
    """Return the examples with weights, one for each; None gives them none.

    Raises:
        DataError: There is not one for each, or one is no finite number from 0 on.
    """
    return examples if weights is None else replace(examples, weights=tuple(listed_weights(weights, len(examples))))


def weights_of(examples: Examples, store: Store) -> np.ndarray | None:
    """Return the weights (n,) of the examples that could be read; None where all weigh the same."""
    return None if examples.weights is None else np.array(examples.weights)[store.kept]


def without_weightless(examples: Examples) -> Examples:
    """Leave out the examples whose weight is 0: they do not count.

    Raises:
        DataError: No example to train on, or to score on, is left.
    """
    weights = examples.weights
    if weights is None:
        return examples
    kept = [i for i, weight in enumerate(weights) if weight > 0]
    held_out = examples.held_out or (False,) * len(weights)
    if not kept or {held_out[i] for i in kept} != set(held_out):
        side = "" if examples.held_out is None else " of the examples to train on, or of those to score on,"
        raise DataError(f"All weights{side} are zero: give at least one example a weight above 0.")
    if len(kept) == len(weights):
        return examples
    targets = examples.targets or ()
    gone = [
        Skipped(name=name, reason=WEIGHTLESS, label=str(target) if isinstance(target, (str, int)) else None)
        for name, target, weight in zip(examples.names, targets, weights, strict=True)
        if not weight
    ]
    return examples.take(kept, gone)


def _checked(values: Sequence[Any], names: Sequence[str], where: str) -> list[float]:
    """Return weights as numbers.

    Raises:
        DataError: One is missing, or is no finite number from 0 on.
    """
    found = []
    for name, value in zip(names, values, strict=True):
        if value is None:
            raise DataError(f"There is no weight of {name}{where}: give each example one; 0 leaves it out.")
        if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            raise DataError(f"The weight of {name}{where} is no finite number from 0 on: {value!r:.60}.")
        found.append(float(value))
    return found


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
