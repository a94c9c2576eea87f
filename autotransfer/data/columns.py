"""Columns of targets: whether their texts are numbers or labels, and what to say of how they were read."""

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

_WHOLE = re.compile(r"-?(0|[1-9]\d*)")
# Words that tables put where a value is missing.
_MISSING = frozenset({"na", "n/a", "nan", "null", "none", "nil", "?", "-", "#n/a"})
_TRUTH = {"true": 1, "false": 0, "yes": 1, "no": 0, "t": 1, "f": 0, "y": 1, "n": 0}
_SEPARATORS = "|;,+/&"
# More different whole numbers than digits, and classes are not all that they could be.
_FEW_NUMBERS = 10
# Each of a few values that come so often could be a class.
_EACH = 5
_LONGEST = 60


@dataclass(frozen=True, kw_only=True)
class TargetFormat:
    """How targets were read.

    Attributes:
        columns: Names of the columns that hold them; empty for targets without names.
        kind: The kind of task that their form makes; None where their values tell.
        form: How their numbers are written; None for labels, and for values that were no texts.
    """

    columns: tuple[str, ...] = ()
    kind: Kind | None = None
    form: NumberFormat | None = None

    @property
    def place(self) -> str:
        """Where the targets stand, for messages."""
        if not self.columns:
            return "the targets"
        return f"the column{'s' if len(self.columns) > 1 else ''} {', '.join(self.columns[:5])}"


@dataclass(frozen=True, kw_only=True)
class TargetReader:
    """Reads columns of targets.

    Texts of a table file have no type: those that are all whole numbers become numbers. Texts of another source stay
    texts, unless they are a quantity. A quantity has a fraction somewhere, or is written as labels are not: with a
    decimal comma, with groups of digits, or as per cent.

    Attributes:
        kind: Kind of task that the user wants; None where the user has not said.
        separator: What stands between the labels of one text; None where a text is one label.
        like: The reading of the examples to train on, for others that go with them.
    """

    kind: Kind | None = None
    separator: str | None = None
    like: TargetFormat | None = None

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
            untyped: Whether texts are those of a table file.
            labels: Whether texts are labels, whatever they look like, unless the user wants a regression.
            comma: Whether a comma is rather a decimal mark; see ``NumberFormat.of``.

        Returns:
            One target for each example, a row of numbers for several columns, None where one is missing; how they were
            read; and what a user should know of that.

        Raises:
            DataError: One of several columns holds something else than numbers, or a label separator has no texts.
        """
        names = tuple(map(str, columns)) if isinstance(columns, Mapping) else ()
        parts = list(columns.values()) if isinstance(columns, Mapping) else [columns]
        if len(parts) > 1:
            return _rows(names, parts, comma), TargetFormat(columns=names), ()
        reading = TargetFormat(columns=names)
        values = list(parts[0])
        if self.separator is not None:
            return _divided(values, self.separator, reading), replace(reading, kind="multilabel"), ()
        texts = [value for value in values if value is not None]
        settled = labels and self.kind != "regression"
        if texts and not settled and all(isinstance(value, str) for value in texts):
            values, reading, more = self._read_texts(values, reading, untyped, comma)
        else:
            more = ()
        return values, reading, (*more, *self._said(values, reading))

    def _read_texts(
        self, values: list[Any], reading: TargetFormat, untyped: bool, comma: bool
    ) -> tuple[list[Any], TargetFormat, tuple[FitWarning, ...]]:
        """Read a column of texts as numbers where it is one."""
        if self.like is not None:
            return _in_form(values, self.like.form), reading, ()
        texts = [value.strip() for value in values if value is not None]
        form = NumberFormat.of(texts, comma=comma)
        warnings = []
        if form is None and self.kind in (None, "regression"):
            known = [text for text in texts if text.lower() not in _MISSING]
            form = NumberFormat.of(known, comma=comma)
            if form is not None:
                words = sorted(set(texts) - set(known))
                values = [None if value is None or value.strip() in words else value for value in values]
                warnings.append(_missing(len(texts) - len(known), words, reading))
                texts = known
        if form is None or self.kind in ("binary", "multiclass", "multilabel"):
            whole = untyped and all(_WHOLE.fullmatch(text) and len(text) < _LONGEST for text in texts)
            return ([None if v is None else int(v) for v in values] if whole else values), reading, ()
        numbers = [None if value is None else form.number(value.strip()) for value in values]
        given = [number for number in numbers if number is not None]
        quantity = form.unusual or any(not number.is_integer() for number in given) or too_many_for_classes(given)
        if self.kind == "regression" or quantity:
            if form.unusual:
                warnings.append(_unusual(texts, form, reading))
            return numbers, replace(reading, kind="regression", form=form), tuple(warnings)
        if untyped and all(_WHOLE.fullmatch(text) for text in texts):
            whole_numbers = [None if number is None else int(number) for number in numbers]
            return whole_numbers, replace(reading, form=form), tuple(warnings)
        return values, reading, tuple(warnings)

    def _said(self, values: Sequence[Any], reading: TargetFormat) -> tuple[FitWarning, ...]:
        """Say how targets are read where another reading makes sense, and the user has not chosen one."""
        given = [value for value in values if value is not None]
        if self.kind is not None or self.like is not None or any(map(is_collection, given)):
            return ()
        found = [*_numbers_said(given, reading), *_lists_said(given, reading), *_words_said(given, reading)]
        return tuple(found)


def match_target_format(
    targets: Sequence[Any], reading: TargetFormat, known: Sequence[Any], trained: TargetFormat
) -> tuple[Sequence[Any], TargetFormat]:
    """Return targets as those to train on are written: columns in their order, labels with their spelling.

    Args:
        targets: The targets.
        reading: How they were read.
        known: Targets to train on.
        trained: How these were read.

    Raises:
        DataError: They have other columns.
    """
    if len(reading.columns) > 1 and reading.columns != trained.columns:
        if sorted(reading.columns) == sorted(trained.columns):
            order = [reading.columns.index(name) for name in trained.columns]
            targets = [[row[i] for i in order] for row in targets]
        elif len(trained.columns) > 1:
            raise DataError(
                f"Targets to score on are in the columns {list(reading.columns)}, those to train on in "
                f"{list(trained.columns)}: give the same columns."
            )
        else:  # labels there, a column for each of them here
            targets = [[name for name, there in zip(reading.columns, row, strict=True) if there] for row in targets]
    if any(map(is_collection, targets)) or any(map(is_collection, known)):
        return targets, trained
    classes = list(dict.fromkeys(known))
    kinds = {isinstance(label, str) for label in classes}
    if len(kinds | {isinstance(label, str) for label in targets}) > 1 and len(kinds) == 1:
        labels = Labels(classes)
        targets = [target if (at := labels.find(target)) is None else classes[at] for target in targets]
    return targets, trained


def _rows(names: Sequence[str], columns: Sequence[Sequence[Any]], comma: bool) -> list[Any]:
    """Return a row of numbers for each example; words for true and false are 1 and 0."""
    numbers = [_numeric(name, list(column), comma) for name, column in zip(names, columns, strict=True)]
    rows = list(zip(*numbers, strict=True))
    # A float anywhere makes all of them floats: a row of mixed types would read as labels.
    number = float if any(isinstance(v, float) for row in rows for v in row) else int
    return [None if None in row else [number(v) for v in row] for row in rows]


def _numeric(name: str, column: list[Any], comma: bool) -> list[Any]:
    given = [value for value in column if value is not None]
    if all(isinstance(value, (int, float)) for value in given):
        return column
    texts = [value.strip() for value in given if isinstance(value, str)]
    if len(texts) == len(given):
        if all(text.lower() in _TRUTH for text in texts):
            return [None if value is None else _TRUTH[value.strip().lower()] for value in column]
        if (form := NumberFormat.of(texts, comma=comma)) is not None:
            whole = all(_WHOLE.fullmatch(text) for text in texts)
            read = [None if value is None else form.number(value.strip()) for value in column]
            return [None if value is None else int(value) for value in read] if whole else read
    odd = [v for v in given if not isinstance(v, str) or NumberFormat.of([v.strip()]) is None]
    unknown = [v for v in odd if not isinstance(v, str) or v.strip().lower() not in _TRUTH]
    raise DataError(f"Several target columns must hold numbers; {name!r} holds {(unknown or odd or given)[0]!r}.")


def _divided(values: Sequence[Any], separator: str, reading: TargetFormat) -> list[Any]:
    """Divide texts into tuples of labels; the order within a text means nothing, and a label counts once."""
    if not separator:
        raise DataError("A label separator is what stands between labels, such as '|'; it is empty.")
    if odd := [value for value in values if value is not None and not isinstance(value, str)]:
        raise DataError(f"A label separator divides texts; {reading.place} hold {odd[0]!r}.")
    return [
        None if value is None else tuple(sorted({label for part in value.split(separator) if (label := part.strip())}))
        for value in values
    ]


def _in_form(values: Sequence[Any], form: NumberFormat | None) -> list[Any]:
    """Read texts as those to train on were read; those that have another form stay."""
    if form is None:
        return list(values)
    texts = [None if value is None or value.strip().lower() in _MISSING else value.strip() for value in values]
    read = [None if text is None else form.number(text) for text in texts]
    if any(number is None and text is not None for number, text in zip(read, texts, strict=True)):
        return list(values)
    whole = all(_WHOLE.fullmatch(text) for text in texts if text is not None)
    return [None if number is None else int(number) for number in read] if whole else read


def _missing(count: int, words: Sequence[str], reading: TargetFormat) -> FitWarning:
    shown = ", ".join(map(repr, words))
    message = f"{count} values of {reading.place} are taken for missing ({shown}): all others are numbers."
    return FitWarning(code="read_as", message=message, details={"columns": list(reading.columns), "missing": count})


def _unusual(texts: Sequence[str], form: NumberFormat, reading: TargetFormat) -> FitWarning:
    """Say how numbers are read that are written in another form than Python's."""
    example = max(texts, key=lambda text: (len(set(text) - set("0123456789")), len(text)))
    how = "decimal commas" if form.decimal == "," else "groups of three digits" if form.grouped else "per cent"
    message = (
        f"Numbers from {reading.place}, written with {how}: {example!r} reads as {form.number(example):.12g}. "
        "--task multiclass reads them as classes."
    )
    details = {"kind": "regression", "columns": list(reading.columns), "example": example}
    return FitWarning(code="read_as", message=message, details=details)


def _numbers_said(values: Sequence[Any], reading: TargetFormat) -> list[FitWarning]:
    """Say what becomes of numbers that could be classes, and of classes that could be numbers."""
    texts = all(isinstance(value, str) for value in values)
    numbers = values
    if texts and (form := NumberFormat.of([value.strip() for value in values])) is not None:
        numbers = [form.number(value.strip()) for value in values]
    if not numbers or not all(type(value) in (int, float) for value in numbers):
        return []
    different, place = len(set(numbers)), reading.place
    details: dict[str, Any] = {"columns": list(reading.columns), "different": different}
    if all(float(number).is_integer() for number in numbers):
        if not texts and too_many_for_classes(numbers) and not _is_unusual(reading):
            message = (
                f"Numbers from {place}, whole numbers of which {different} differ, such as {numbers[0]:g}: half "
                f"of them or more come once. --task multiclass reads them as {different} classes."
            )
            return [FitWarning(code="read_as", message=message, details={**details, "kind": "regression"})]
        if different > _FEW_NUMBERS and reading.kind is None:
            message = (
                f"{different} classes from {place}, whole numbers such as {values[0]!r}: "
                "--task regression reads them as numbers."
            )
            return [FitWarning(code="read_as", message=message, details={**details, "kind": "multiclass"})]
    elif different <= _FEW_NUMBERS and min(Counter(numbers).values()) >= _EACH and not _is_unusual(reading):
        message = (
            f"Numbers from {place}, of which {different} differ, such as {numbers[0]!r}: "
            f"--task multiclass reads them as {different} classes."
        )
        return [FitWarning(code="read_as", message=message, details={**details, "kind": "regression"})]
    return []


def _is_unusual(reading: TargetFormat) -> bool:
    return reading.form is not None and reading.form.unusual


def _lists_said(values: Sequence[Any], reading: TargetFormat) -> list[FitWarning]:
    """Say that labels look like lists of labels: parts of some are labels, or parts of others."""
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
            f"{len(labels)} classes from {reading.place}, some of which look like lists of labels ({example!r}, "
            f"{other!r}): --label-separator {separator!r} reads them as several labels each."
        )
        details = {"columns": list(reading.columns), "kind": "multiclass", "label_separator": separator}
        return [FitWarning(code="read_as", message=message, details=details)]
    return []


def _words_said(values: Sequence[Any], reading: TargetFormat) -> list[FitWarning]:
    """Say that a word that often stands for a missing value is a class."""
    counts = Counter(value for value in values if isinstance(value, str) and value.strip().lower() in _MISSING)
    return [
        FitWarning(
            code="read_as",
            message=f"{word!r} in {reading.place} is a class of {count} examples; where it means that the label is "
            "missing, leave the cell empty.",
            details={"columns": list(reading.columns), "label": word},
        )
        for word, count in sorted(counts.items())
    ]
