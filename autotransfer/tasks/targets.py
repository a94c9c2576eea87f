"""Targets as the user gives them: the kind of task, the classes, and regression values as arrays."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from autotransfer.errors import DataError
from autotransfer.settings import Kind

__all__ = [
    "Kind",
    "Labels",
    "are_indicators",
    "find_classes",
    "counted",
    "flat",
    "infer_kind",
    "is_collection",
    "to_float_targets",
    "plain",
    "check_not_constant",
    "check_no_missing_targets",
    "too_many_for_classes",
]


# Up to this many different whole numbers are always classes.
_MAX_RARE_CLASSES = 20
# Squares of greater values overflow float64, and squares of smaller differences become 0.
_MAX_TARGET, _MIN_TARGET_RANGE = 1e150, 1e-150


class Labels:
    """Finds the position of a label among the classes.

    A label that equals no class may be spelled differently: a folder is called '0' where a table holds 0, and a table
    holds '1.0' where an array holds 1. Such a label is compared as text, then as a number. The label matches a class if
    exactly one class has the same text or number.

    Args:
        classes: The classes.
    """

    def __init__(self, classes: Sequence[Any]) -> None:
        self._exact = {label: i for i, label in enumerate(classes)}
        self._texts = _unique_keys((str(label), i) for i, label in enumerate(classes))
        self._numbers = _unique_keys(
            (number, i) for i, label in enumerate(classes) if (number := _number(label)) is not None
        )

    def find(self, label: Any) -> int | None:
        """Return the position of a label; None where it is no class."""
        label = plain(label)
        try:
            if (found := self._exact.get(label)) is not None:
                return found
        except TypeError:  # a list, for example
            return None
        if not isinstance(label, (str, int, float)):
            return None
        if (found := self._texts.get(str(label))) is not None:
            return found
        number = _number(label)
        return None if number is None else self._numbers.get(number)


def _unique_keys(pairs: Iterable[tuple[Any, int]]) -> dict[Any, int]:
    """Return a dictionary without the keys that occur more than once."""
    found = list(pairs)
    counts = Counter(key for key, _ in found)
    return {key: i for key, i in found if counts[key] == 1}


def _number(label: Any) -> float | None:
    try:
        number = float(label)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def plain(value: Any) -> Any:
    """Turn a NumPy scalar into the Python value that JSON can hold."""
    return value.item() if isinstance(value, np.generic) else value


def flat(targets: Sequence[Any] | np.ndarray) -> Sequence[Any] | np.ndarray:
    """Turn a column (N, 1) into (N,), as scikit-learn does."""
    return targets.ravel() if isinstance(targets, np.ndarray) and targets.shape[1:] == (1,) else targets


def is_collection(value: Any) -> bool:
    """Whether a target holds several values."""
    return value.ndim > 0 if isinstance(value, np.ndarray) else isinstance(value, (list, tuple, set, frozenset))


def are_indicators(targets: Sequence[Any] | np.ndarray, classes: int) -> bool:
    """Whether every target is a row of 0 and 1 with one entry for each class."""
    rows = classes > 1 and all(isinstance(row, (list, tuple, np.ndarray)) and len(row) == classes for row in targets)
    return rows and all(plain(value) in (0, 1) for row in targets for value in row)


def check_no_missing_targets(targets: Sequence[Any] | np.ndarray) -> None:
    """Check that no target is missing or not finite.

    Raises:
        DataError: A target is missing, not finite, or nested deeper than one list.
    """

    def missing(value: Any) -> bool:
        if is_collection(value):
            return any(missing(v) for v in value)
        return value is None or (isinstance(value, (float, np.floating)) and not math.isfinite(value))

    if any(is_collection(value) for target in targets if is_collection(target) for value in target):
        raise DataError("Each target is a label, a number or one list of these; these targets nest deeper.")
    bad = [i for i, target in enumerate(targets) if missing(target)]
    if bad:
        raise DataError(
            f"{len(bad)} of {len(targets)} targets are missing or not finite (first at position {bad[0]}): "
            "drop these rows or fill them in."
        )


def infer_kind(targets: Sequence[Any] | np.ndarray) -> Kind:
    """Infer the kind of task; two classes count as ``"multiclass"`` here."""
    if any(is_collection(target) for target in targets):
        return "regression" if _are_vectors(targets) else "multilabel"
    values = [plain(target) for target in targets]
    if any(isinstance(v, float) and not v.is_integer() for v in values):
        return "regression"
    return "regression" if too_many_for_classes(values) else "multiclass"


def too_many_for_classes(values: Sequence[Any]) -> bool:
    """Whether whole numbers are values rather than classes: more than 20 differ, and at least half of these occur once.

    In doubt, whole numbers are classes. Classes that are read as values make a useless model, values that are read as
    classes only a coarse one.
    """
    if not all(type(value) in (int, float) for value in values):
        return False
    counts = Counter(values)
    return len(counts) > _MAX_RARE_CLASSES and 2 * sum(count == 1 for count in counts.values()) >= len(counts)


def _are_vectors(targets: Sequence[Any] | np.ndarray) -> bool:
    """Whether the targets are rows of numbers of one length, with a float among them, and not only 0 and 1."""
    if not all(isinstance(row, (list, tuple, np.ndarray)) and len(row) == len(targets[0]) for row in targets):
        return False
    values = [plain(value) for row in targets for value in row]
    numbers = all(isinstance(value, (int, float)) for value in values)
    return numbers and any(isinstance(value, float) for value in values) and not set(values) <= {0, 1}


def find_classes(targets: Sequence[Any] | np.ndarray, kind: Kind, names: Sequence[str] = ()) -> tuple[Any, ...]:
    """Return the sorted classes of the targets.

    Args:
        targets: The targets.
        kind: Kind of task.
        names: Names of the columns of a 0/1 matrix, which name its classes; without names, classes are positions.

    Raises:
        DataError: There are fewer than two classes, or the targets do not suit the kind.
    """
    several = [target for target in targets if is_collection(target)]
    if kind == "multilabel":
        if len(several) < len(targets):
            single = next(target for target in targets if not is_collection(target))
            raise DataError(
                f"Multilabel targets are lists of labels or rows of 0 and 1; got {single!r}. Texts that hold several "
                "labels are divided by a label separator."
            )
        if are_indicators(targets, len(targets[0])):
            width = len(targets[0])
            return tuple(names) if len(names) == width else tuple(range(width))
        given = [plain(label) for target in targets for label in target]
    else:
        if several:
            raise DataError(f"A {kind} task needs one label for each example; got {several[0]!r}.")
        given = [plain(target) for target in targets]
    if odd := [label for label in given if not isinstance(label, (str, int, float))]:
        raise DataError(f"Labels are text or numbers; got {odd[0]!r}, a {type(odd[0]).__name__}.")
    labels = set(given)
    if len({type(label) for label in labels}) > 1 and any(isinstance(label, str) for label in labels):
        raise DataError(f"Labels mix text and numbers ({_examples(labels)}): make them all text or numbers.")
    classes = tuple(sorted(labels))
    if len(classes) < 2:
        raise DataError(f"Only one class is there ({_examples(labels)}): a classifier needs at least two.")
    if kind == "binary" and len(classes) > 2:
        raise DataError(f"A binary task has two classes; the targets hold {len(classes)}: {_examples(labels)}.")
    return classes


def to_float_targets(targets: Sequence[Any] | np.ndarray, width: int | None = None) -> np.ndarray:
    """Return the targets of a regression as float64 (N, width).

    Args:
        targets: The targets.
        width: Number of values of each target; None infers it.

    Raises:
        DataError: A target is no number, not finite, or greater than 1e150.
    """
    try:
        values = np.asarray(targets, dtype=np.float64)
        values = values.reshape(len(targets), -1 if width is None and values.size else width or 0)
    except (TypeError, ValueError):
        if width is None:
            raise DataError(f"A regression needs numbers as targets; got {_first_invalid(targets)!r}.") from None
        raise DataError(
            f"The targets are not {width} number(s) for each example; got {_first_invalid(targets)!r}."
        ) from None
    if not values.size:
        raise DataError("The targets hold no numbers.")
    if not np.isfinite(values).all():
        raise DataError(f"The target at position {int(np.argwhere(~np.isfinite(values))[0, 0])} is not finite.")
    if np.abs(values).max() > _MAX_TARGET:
        position = int(np.argwhere(np.abs(values) > _MAX_TARGET)[0, 0])
        raise DataError(
            f"The target at position {position} is beyond {_MAX_TARGET:g}: give the targets in a greater unit."
        )
    return values


def _first_invalid(targets: Sequence[Any] | np.ndarray) -> Any:
    """Return the first target that is no number; the first of all where every target by itself is a number."""
    return next((target for target in targets if is_collection(target) or _number(target) is None), targets[0])


def check_not_constant(values: np.ndarray, names: Sequence[str] = ()) -> None:
    """Check that each column of regression targets (N, width) holds at least two different values.

    Raises:
        DataError: The values of a column are equal, or differ by less than 1e-150.
    """
    low, high = values.min(0), values.max(0)
    for column, (lowest, highest) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        if highest - lowest > _MIN_TARGET_RANGE:
            continue
        which = "All targets are" if values.shape[1] == 1 else f"All targets of the column {_name(names, column)} are"
        if lowest == highest:
            raise DataError(f"{which} {lowest!r}: a regression needs at least two different values.")
        raise DataError(f"{which} within {_MIN_TARGET_RANGE:g} of each other: give the targets in a smaller unit.")


def _name(names: Sequence[str], column: int) -> str:
    return repr(names[column]) if column < len(names) else str(column)


def _examples(labels: Iterable[Any]) -> str:
    """Return up to five labels as text for a message."""
    shown = sorted(map(repr, labels))
    return ", ".join(shown[:5]) + (", …" if len(shown) > 5 else "")


def counted(labels: Iterable[Any]) -> Mapping[Any, int]:
    """Return the number of examples of each label."""
    return Counter(plain(label) for label in labels)
