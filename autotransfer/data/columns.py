"""Columns of targets: whether their texts are numbers or labels, and warnings on how they were read."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autotransfer.data.number_format import NumberFormat
from autotransfer.errors import DataError
from autotransfer.tasks.targets import Kind, Labels, is_collection, too_many_for_classes
from autotransfer.warnings import FitWarning

__all__ = ["TargetFormat", "TargetReader", "match_target_format"]

_WHOLE_NUMBER = re.compile(r"-?(0|[1-9]\d*)")
# Words that stand for missing values in tables.
_MISSING_WORDS = frozenset({"na", "n/a", "nan", "null", "none", "nil", "?", "-", "#n/a"})
_BOOLEAN_WORDS = {"true": 1, "false": 0, "yes": 1, "no": 0, "t": 1, "f": 0, "y": 1, "n": 0}
_SEPARATORS = "|;,+/&"
# Up to this many different numbers could be classes; more different whole numbers could be values.
_MAX_NUMBERED_CLASSES = 10
# Fewest examples of each number for which numbers could be classes.
_MIN_EXAMPLES_OF_NUMBERED_CLASS = 5
# Longest text that is read as a whole number.
_MAX_DIGITS = 60


@dataclass(frozen=True, kw_only=True)
class TargetFormat:
    """Format of the targets.

    Attributes:
        columns: Names of the target columns; empty for targets without names.
        kind: Kind of task that follows from the format; None where it follows from the values.
        number_format: Format of numbers that were read from texts; None for labels, and for values that are no texts.
    """

    columns: tuple[str, ...] = ()
    kind: Kind | None = None
    number_format: NumberFormat | None = None

    @property
    def location(self) -> str:
        """The target columns as text for a message."""
        if not self.columns:
            return "the targets"
        return f"the column{'s' if len(self.columns) > 1 else ''} {', '.join(self.columns[:5])}"


@dataclass(frozen=True, kw_only=True)
class TargetReader:
    """Reads columns of targets.

    Texts of a table file have no type, so texts that are all whole numbers become numbers. Texts of another source stay
    texts unless they are quantities. Quantities have a fraction somewhere, a decimal comma, groups of digits, or a
    percent sign.

    Attributes:
        kind: Kind of task that the user gave; None without one.
        separator: Text between the labels of an example; None where a text is one label.
        train_format: Format of the training targets, for validation and test targets; None for training targets.
    """

    kind: Kind | None = None
    separator: str | None = None
    train_format: TargetFormat | None = None

    def read(
        self,
        columns: Mapping[str, Sequence[Any]] | Sequence[Any],
        *,
        untyped: bool = False,
        labels: bool = False,
        comma: bool = False,
    ) -> tuple[list[Any], TargetFormat, tuple[FitWarning, ...]]:
        """Read targets.

        Args:
            columns: Columns by name, or values without a name.
            untyped: Whether the texts are from a table file.
            labels: Whether texts that look like numbers are labels, unless the user gave the kind regression.
            comma: Whether a comma in doubt is the decimal mark; see ``NumberFormat.of``.

        Returns:
            One target for each example (a row of numbers for several columns, None for a missing target), the format of
            the targets, and warnings.

        Raises:
            DataError: One of several columns holds something else than numbers, or there is a label separator and no
                texts.
        """
        names = tuple(map(str, columns)) if isinstance(columns, Mapping) else ()
        parts = list(columns.values()) if isinstance(columns, Mapping) else [columns]
        if len(parts) > 1:
            return _rows(names, parts, comma), TargetFormat(columns=names), ()
        target_format = TargetFormat(columns=names)
        values = list(parts[0])
        if self.separator is not None:
            return _split_labels(values, self.separator, target_format), replace(target_format, kind="multilabel"), ()
        texts = [value for value in values if value is not None]
        are_labels = labels and self.kind != "regression"
        if texts and not are_labels and all(isinstance(value, str) for value in texts):
            values, target_format, warnings = self._read_texts(values, target_format, untyped, comma)
        else:
            warnings = ()
        return values, target_format, (*warnings, *self._format_warnings(values, target_format))

    def _read_texts(
        self, values: list[Any], target_format: TargetFormat, untyped: bool, comma: bool
    ) -> tuple[list[Any], TargetFormat, tuple[FitWarning, ...]]:
        """Read a column of texts, as numbers where all texts are numbers."""
        if self.train_format is not None:
            return _read_like_training(values, self.train_format.number_format), target_format, ()
        texts = [value.strip() for value in values if value is not None]
        form = NumberFormat.of(texts, comma=comma)
        warnings = list[FitWarning]()
        if form is None and self.kind in (None, "regression"):
            known = [text for text in texts if text.lower() not in _MISSING_WORDS]
            form = NumberFormat.of(known, comma=comma)
            if form is not None:
                words = sorted(set(texts) - set(known))
                values = [None if value is None or value.strip() in words else value for value in values]
                warnings.append(_warn_of_missing(len(texts) - len(known), words, target_format))
                texts = known
        if form is None or self.kind in ("binary", "multiclass", "multilabel"):
            whole = untyped and all(_WHOLE_NUMBER.fullmatch(text) and len(text) < _MAX_DIGITS for text in texts)
            return ([None if v is None else int(v) for v in values] if whole else values), target_format, ()
        numbers = [None if value is None else form.number(value.strip()) for value in values]
        given = [number for number in numbers if number is not None]
        quantity = form.unusual or any(not number.is_integer() for number in given) or too_many_for_classes(given)
        if self.kind == "regression" or quantity:
            if form.unusual:
                warnings.append(_warn_of_format(texts, form, target_format))
            return numbers, replace(target_format, kind="regression", number_format=form), tuple(warnings)
        if untyped and all(_WHOLE_NUMBER.fullmatch(text) for text in texts):
            whole_numbers = [None if number is None else int(number) for number in numbers]
            return whole_numbers, replace(target_format, number_format=form), tuple(warnings)
        return values, target_format, tuple(warnings)

    def _format_warnings(self, values: Sequence[Any], target_format: TargetFormat) -> tuple[FitWarning, ...]:
        """Return warnings on targets that could be read differently, unless the user gave the kind of task."""
        given = [value for value in values if value is not None]
        if self.kind is not None or self.train_format is not None or any(map(is_collection, given)):
            return ()
        return (
            *_warn_of_numbers(given, target_format),
            *_warn_of_lists(given, target_format),
            *_warn_of_missing_words(given, target_format),
        )


def match_target_format(
    targets: Sequence[Any], target_format: TargetFormat, known: Sequence[Any], trained: TargetFormat
) -> tuple[Sequence[Any], TargetFormat]:
    """Return targets in the format of the training targets: the same order of columns and spelling of labels.

    Args:
        targets: The targets.
        target_format: Format of the targets.
        known: Training targets.
        trained: Format of the training targets.

    Raises:
        DataError: The columns of the targets are not those of the training targets.
    """
    if len(target_format.columns) > 1 and target_format.columns != trained.columns:
        if sorted(target_format.columns) == sorted(trained.columns):
            order = [target_format.columns.index(name) for name in trained.columns]
            targets = [[row[i] for i in order] for row in targets]
        elif len(trained.columns) > 1:
            raise DataError(
                f"Targets to score on are in the columns {list(target_format.columns)}, those to train on in "
                f"{list(trained.columns)}: give the same columns."
            )
        else:  # the training targets are labels, and these targets have a 0/1 column for each label
            targets = [
                [name for name, present in zip(target_format.columns, row, strict=True) if present] for row in targets
            ]
    if any(map(is_collection, targets)) or any(map(is_collection, known)):
        return targets, trained
    classes = list(dict.fromkeys(known))
    kinds = {isinstance(label, str) for label in classes}
    if len(kinds | {isinstance(label, str) for label in targets}) > 1 and len(kinds) == 1:
        labels = Labels(classes)
        targets = [target if (i := labels.find(target)) is None else classes[i] for target in targets]
    return targets, trained


def _rows(names: Sequence[str], columns: Sequence[Sequence[Any]], comma: bool) -> list[Any]:
    """Return a row of numbers for each example; words such as yes and no become 1 and 0."""
    numbers = [_numeric(name, list(column), comma) for name, column in zip(names, columns, strict=True)]
    rows = list(zip(*numbers, strict=True))
    # One float makes all numbers floats, since rows of mixed types would be labels.
    number = float if any(isinstance(v, float) for row in rows for v in row) else int
    return [None if None in row else [number(v) for v in row] for row in rows]


def _numeric(name: str, column: list[Any], comma: bool) -> list[Any]:
    given = [value for value in column if value is not None]
    if all(isinstance(value, (int, float)) for value in given):
        return column
    texts = [value.strip() for value in given if isinstance(value, str)]
    if len(texts) == len(given):
        if all(text.lower() in _BOOLEAN_WORDS for text in texts):
            return [None if value is None else _BOOLEAN_WORDS[value.strip().lower()] for value in column]
        if (form := NumberFormat.of(texts, comma=comma)) is not None:
            whole = all(_WHOLE_NUMBER.fullmatch(text) for text in texts)
            read = [None if value is None else form.number(value.strip()) for value in column]
            return [None if value is None else int(value) for value in read] if whole else read
    invalid = [v for v in given if not isinstance(v, str) or NumberFormat.of([v.strip()]) is None]
    unknown = [v for v in invalid if not isinstance(v, str) or v.strip().lower() not in _BOOLEAN_WORDS]
    raise DataError(f"Several target columns must hold numbers; {name!r} holds {(unknown or invalid or given)[0]!r}.")


def _split_labels(values: Sequence[Any], separator: str, target_format: TargetFormat) -> list[Any]:
    """Split texts into sorted tuples of different labels."""
    if not separator:
        raise DataError("A label separator is what stands between labels, such as '|'; it is empty.")
    if invalid := [value for value in values if value is not None and not isinstance(value, str)]:
        raise DataError(f"A label separator divides texts; {target_format.location} hold {invalid[0]!r}.")
    return [
        None if value is None else tuple(sorted({label for part in value.split(separator) if (label := part.strip())}))
        for value in values
    ]


def _read_like_training(values: Sequence[Any], form: NumberFormat | None) -> list[Any]:
    """Read texts as numbers in the format of the training targets; without this format, they stay texts."""
    if form is None:
        return list(values)
    texts = [None if value is None or value.strip().lower() in _MISSING_WORDS else value.strip() for value in values]
    read = [None if text is None else form.number(text) for text in texts]
    if any(number is None and text is not None for number, text in zip(read, texts, strict=True)):
        return list(values)
    whole = all(_WHOLE_NUMBER.fullmatch(text) for text in texts if text is not None)
    return [None if number is None else int(number) for number in read] if whole else read


def _warn_of_missing(count: int, words: Sequence[str], target_format: TargetFormat) -> FitWarning:
    shown = ", ".join(map(repr, words))
    message = f"{count} values of {target_format.location} are taken for missing ({shown}): all others are numbers."
    return FitWarning(
        code="target_format_assumed",
        message=message,
        details={"columns": list(target_format.columns), "missing": count},
    )


def _warn_of_format(texts: Sequence[str], form: NumberFormat, target_format: TargetFormat) -> FitWarning:
    """Return the warning that shows how numbers were read which Python would not read."""
    example = max(texts, key=lambda text: (len(set(text) - set("0123456789")), len(text)))
    how = "decimal commas" if form.decimal == "," else "groups of three digits" if form.grouped else "per cent"
    message = (
        f"Numbers from {target_format.location}, written with {how}: {example!r} reads as {form.number(example):.12g}. "
        "--task multiclass reads them as classes."
    )
    details = {"kind": "regression", "columns": list(target_format.columns), "example": example}
    return FitWarning(code="target_format_assumed", message=message, details=details)


def _warn_of_numbers(values: Sequence[Any], target_format: TargetFormat) -> list[FitWarning]:
    """Return a warning on numbers that could be classes, or on classes that could be numbers."""
    texts = all(isinstance(value, str) for value in values)
    numbers = values
    if texts and (form := NumberFormat.of([value.strip() for value in values])) is not None:
        numbers = [form.number(value.strip()) for value in values]
    if not numbers or not all(type(value) in (int, float) for value in numbers):
        return []
    different, location = len(set(numbers)), target_format.location
    details: dict[str, Any] = {"columns": list(target_format.columns), "different": different}
    if all(float(number).is_integer() for number in numbers):
        if not texts and too_many_for_classes(numbers) and not _has_unusual_format(target_format):
            message = (
                f"Numbers from {location}, whole numbers of which {different} differ, such as {numbers[0]:g}: half "
                f"of them or more come once. --task multiclass reads them as {different} classes."
            )
            return [
                FitWarning(code="target_format_assumed", message=message, details={**details, "kind": "regression"})
            ]
        if different > _MAX_NUMBERED_CLASSES and target_format.kind is None:
            message = (
                f"{different} classes from {location}, whole numbers such as {values[0]!r}: "
                "--task regression reads them as numbers."
            )
            return [
                FitWarning(code="target_format_assumed", message=message, details={**details, "kind": "multiclass"})
            ]
    elif (
        different <= _MAX_NUMBERED_CLASSES
        and min(Counter(numbers).values()) >= _MIN_EXAMPLES_OF_NUMBERED_CLASS
        and not _has_unusual_format(target_format)
    ):
        message = (
            f"Numbers from {location}, of which {different} differ, such as {numbers[0]!r}: "
            f"--task multiclass reads them as {different} classes."
        )
        return [FitWarning(code="target_format_assumed", message=message, details={**details, "kind": "regression"})]
    return []


def _has_unusual_format(target_format: TargetFormat) -> bool:
    return target_format.number_format is not None and target_format.number_format.unusual


def _warn_of_lists(values: Sequence[Any], target_format: TargetFormat) -> list[FitWarning]:
    """Return a warning on labels that look like lists of labels: some labels share parts with others."""
    labels = {value for value in values if isinstance(value, str)}
    for separator in _SEPARATORS:
        parts = {label: frozenset(filter(None, map(str.strip, label.split(separator)))) for label in labels}
        several = sorted(label for label, part in parts.items() if len(part) > 1)
        shared = defaultdict[str, set[str]](set)
        for label, part in parts.items():
            for each in part:
                shared[each].add(label)
        if len(several) < 2 or not all(all(len(shared[each]) > 1 for each in parts[label]) for label in several):
            continue
        example = several[0]
        other = next((label for label in several[1:] if parts[label] == parts[example]), several[1])
        message = (
            f"{len(labels)} classes from {target_format.location}, some of which look like lists of labels "
            f"({example!r}, {other!r}): --label-separator {separator!r} reads them as several labels each."
        )
        details = {"columns": list(target_format.columns), "kind": "multiclass", "label_separator": separator}
        return [FitWarning(code="target_format_assumed", message=message, details=details)]
    return []


def _warn_of_missing_words(values: Sequence[Any], target_format: TargetFormat) -> list[FitWarning]:
    """Return warnings on classes whose name is a word for a missing value."""
    counts = Counter(value for value in values if isinstance(value, str) and value.strip().lower() in _MISSING_WORDS)
    return [
        FitWarning(
            code="target_format_assumed",
            message=f"{word!r} in {target_format.location} is a class of {count} examples; where it means that the "
            "label is missing, leave the cell empty.",
            details={"columns": list(target_format.columns), "label": word},
        )
        for word, count in sorted(counts.items())
    ]
