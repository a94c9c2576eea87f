"""Targets as they were given: what kind of task they make, and which classes they name."""

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


# Up to so many different whole numbers are classes whatever their counts are.
_MOST_RARE_CLASSES = 20
# Squares of greater numbers, and of lesser differences, are no float64 numbers.
_LARGEST, _SMALLEST_RANGE = 1e150, 1e-150


class Labels:
    """Finds the position of a label among the classes.

    A label that is no class as it stands may be written in another way: a folder is called '0' where a table holds 0,
    a table holds '1.0' where an array holds 1. It is found by its text, and then by its value as a number, where one
    class alone fits.

    Args:
        classes: The classes.
    """

    def __init__(self, classes: Sequence[Any]) -> None:
        self._exact = {label: i for i, label in enumerate(classes)}
        self._texts = _alone((str(label), i) for i, label in enumerate(classes))
        self._numbers = _alone((number, i) for i, label in enumerate(classes) if (number := _number(label)) is not None)

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


def _alone(pairs: Iterable[tuple[Any, int]]) -> dict[Any, int]:
    """Return a dictionary without the keys that come more than once."""
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
    """Whether a target is several values."""
    return value.ndim > 0 if isinstance(value, np.ndarray) else isinstance(value, (list, tuple, set, frozenset))


def are_indicators(targets: Sequence[Any] | np.ndarray, classes: int) -> bool:
    """Whether all of the targets are rows of 0 and 1; one row alone could be a list of the labels 0 and 1."""
    rows = classes > 1 and all(isinstance(row, (list, tuple, np.ndarray)) and len(row) == classes for row in targets)
    return rows and all(plain(value) in (0, 1) for row in targets for value in row)


def check_no_missing_targets(targets: Sequence[Any] | np.ndarray) -> None:
    """Refuse targets among which some are missing or not finite.

    Raises:
        DataError: There are such.
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
    """Find out what kind of task targets make; classes are ``"multiclass"``, two of them, too."""
    if any(is_collection(target) for target in targets):
        return "regression" if _are_vectors(targets) else "multilabel"
    values = [plain(target) for target in targets]
    if any(isinstance(v, float) and not v.is_integer() for v in values):
        return "regression"
    return "regression" if too_many_for_classes(values) else "multiclass"


def too_many_for_classes(values: Sequence[Any]) -> bool:
    """Whether whole numbers can be no classes: there are more than 20, and at least half of them come once.

    Other whole numbers stay classes: numbered classes that are taken for values make a useless model, values that are
    taken for classes a crude one.
    """
    if not all(type(value) in (int, float) for value in values):
        return False
    counts = Counter(values)
    return len(counts) > _MOST_RARE_CLASSES and 2 * sum(count == 1 for count in counts.values()) >= len(counts)


def _are_vectors(targets: Sequence[Any] | np.ndarray) -> bool:
    """Whether the targets are rows of one length, of numbers among which are floats, and other ones than 0 and 1."""
    if not all(isinstance(row, (list, tuple, np.ndarray)) and len(row) == len(targets[0]) for row in targets):
        return False
    values = [plain(value) for row in targets for value in row]
    numbers = all(isinstance(value, (int, float)) for value in values)
    return numbers and any(isinstance(value, float) for value in values) and not set(values) <= {0, 1}


def find_classes(targets: Sequence[Any] | np.ndarray, kind: Kind, names: Sequence[str] = ()) -> tuple[Any, ...]:
    """Return the classes that targets name, sorted; columns of 0 and 1 that have names are called by them.

    Raises:
        DataError: They are none, one alone, or they do not suit the kind.
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
        width: Number of values of each; None takes what is there.

    Raises:
        DataError: One is no number, not finite, or so large that its square is no number.
    """
    try:
        values = np.asarray(targets, dtype=np.float64)
        values = values.reshape(len(targets), -1 if width is None and values.size else width or 0)
    except (TypeError, ValueError):
        if width is None:
            raise DataError(f"A regression needs numbers as targets; got {_no_number(targets)!r}.") from None
        raise DataError(
            f"The targets are not {width} number(s) for each example; got {_no_number(targets)!r}."
        ) from None
    if not values.size:
        raise DataError("The targets hold no numbers.")
    if not np.isfinite(values).all():
        raise DataError(f"The target at position {int(np.argwhere(~np.isfinite(values))[0, 0])} is not finite.")
    if np.abs(values).max() > _LARGEST:
        at = int(np.argwhere(np.abs(values) > _LARGEST)[0, 0])
        raise DataError(f"The target at position {at} is beyond {_LARGEST:g}: give the targets in a greater unit.")
    return values


def _no_number(targets: Sequence[Any] | np.ndarray) -> Any:
    """Return the first target that is no number, or the first one where each by itself would be."""
    return next((target for target in targets if is_collection(target) or _number(target) is None), targets[0])


def check_not_constant(values: np.ndarray, names: Sequence[str] = ()) -> None:
    """Refuse targets of a regression (N, width) of which a column holds one value only, as one class is refused.

    Raises:
        DataError: There is such a column, or one whose values differ too little to be told apart.
    """
    low, high = values.min(0), values.max(0)
    for column, (least, most) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        if most - least > _SMALLEST_RANGE:
            continue
        which = "All targets are" if values.shape[1] == 1 else f"All targets of the column {_name(names, column)} are"
        if least == most:
            raise DataError(f"{which} {least!r}: a regression needs at least two different values.")
        raise DataError(f"{which} within {_SMALLEST_RANGE:g} of each other: give the targets in a smaller unit.")


def _name(names: Sequence[str], column: int) -> str:
    return repr(names[column]) if column < len(names) else str(column)


def _examples(labels: Iterable[Any]) -> str:
    """Return the first few labels, for messages."""
    shown = sorted(map(repr, labels))
    return ", ".join(shown[:5]) + (", …" if len(shown) > 5 else "")


def counted(labels: Iterable[Any]) -> Mapping[Any, int]:
    """Return how often each label comes."""
    return Counter(plain(label) for label in labels)
