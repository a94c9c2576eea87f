"""Examples of tables and folders, in the parts that these are divided into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from autotransfer.contract.modality import Modality, Skipped
from autotransfer.data.columns import TargetReader
from autotransfer.data.examples import Examples
from autotransfer.data.file_lists import Row, because, examples_of_rows
from autotransfer.data.folders import LINKS, Found, kind_of, printable, walk
from autotransfer.data.forms import LAYOUT
from autotransfer.data.input_columns import AskedColumns, InputColumns, find_input_columns, never_targets
from autotransfer.data.layout import NO_LABEL, Layout, Steps
from autotransfer.data.recognition import modality_of_files
from autotransfer.data.tables import Table
from autotransfer.errors import DataError
from autotransfer.warnings import FitWarning

__all__ = ["folder_examples", "table_examples"]

_MAX_CLASSES_IN_MESSAGE = 5  # classes that are named with their numbers of examples


def table_examples(
    table: Table,
    asked: AskedColumns,
    reader: TargetReader,
    modalities: Sequence[Modality],
    weights: Sequence[float | None],
) -> Examples:
    """Return the examples of a table, their targets as the reader reads its columns.

    Args:
        table: The table.
        asked: The columns that the user names.
        reader: Reads the targets.
        modalities: What kinds of examples the table may hold.
        weights: Weight of each row; None in it weights all equally.

    Raises:
        DataNotFoundError: No file that it lists is there.
        DataError: It does not say what its columns are, or no example is left.
    """
    inputs, target_columns, group_column, split = _columns_of(table, asked, modalities)
    named = {column: table.texts(column) for column in target_columns}
    targets, reading, said = reader.read(named, untyped=table.untyped, comma=table.comma)
    given = [None] * len(targets) if group_column is None else table.texts(group_column)
    parts = [None] * len(targets) if split is None else table.parts(split)
    rows, skipped, missing = list[Row](), list(table.skipped), ""
    broken = set() if inputs.modality is None else table.broken_rows(inputs.names)
    columns = (table.rows, inputs.cells(table), targets, given, weights, parts)
    for i, (line, cell, target, group, weight, part) in enumerate(zip(*columns, strict=True)):
        known = {"target": target, "group": group, "weight": weight, "part": part}
        if i in broken:
            skipped.append(Skipped(name=line, reason="bytes that are not UTF-8"))
        elif cell is None or target is None:
            skipped.append(Skipped(name=line, reason=inputs.nothing if cell is None else "no target"))
        elif split is not None and part is None:
            skipped.append(Skipped(name=line, reason=f"nothing in the column {split}", label=str(target)))
        elif inputs.modality is not None:
            rows.append(Row(item=cell, name=line, **known))
        else:
            item = table.place(line, inputs.names[0], cell)
            missing = missing or ("" if kind_of(item) == "file" else table.places.tried(cell))
            rows.append(Row(item=item, name=printable(str(cell)), **known))
    examples = examples_of_rows(rows, skipped, missing, reader.kind or reading.kind)
    modality = inputs.modality or modality_of_files(examples.items, modalities)
    return replace(
        examples,
        divided_by="" if split is None else f"the column {split!r}",
        described=_described(examples, modality, table, inputs, target_columns),
        modality=modality,
        reading=reading,
        columns=inputs.names,
        warnings=(*said, *_notes(table, inputs, (group_column, asked.weights, split, *target_columns))),
    )


def _notes(table: Table, inputs: InputColumns, others: Sequence[str | None]) -> tuple[FitWarning, ...]:
    """Return the warnings of what columns could be meant, or are not used."""
    odd = table.not_parts((*inputs.names, *others))
    notes = (inputs.warning(table), None if odd is None else _not_divided(table, *odd))
    return tuple(note for note in notes if note is not None)


def _described(
    examples: Examples, modality: Modality, table: Table, inputs: InputColumns, target_columns: Sequence[str]
) -> str:
    targets = ", ".join(map(str, target_columns))
    return f"{len(examples)} {modality.noun}s from {table.name}: {inputs.described}, targets in {targets}"


def _columns_of(
    table: Table, asked: AskedColumns, modalities: Sequence[Modality]
) -> tuple[InputColumns, list[str], str | None, str | None]:
    """Return the columns of the examples, of the targets, of the groups, and of the parts."""
    group = asked.groups if isinstance(asked.groups, str) and asked.groups in table.columns else None
    known = [] if asked.targets is None else table.named(asked.targets)
    others = [column for column in (group, asked.weights) if column is not None]
    inputs = find_input_columns(table, modalities, asked, reserved={*known, *others})
    used = (*inputs.names, *others)
    targets, split = table.columns_for(used, asked.targets, partial(never_targets, table))
    return inputs, targets, group, split


def folder_examples(
    root: Path, modality: Modality, reader: TargetReader, *, follow_links: bool = False, known: Collection[str] = ()
) -> Examples:
    """Return the examples of a folder with a sub-folder for each class.

    Args:
        root: The folder; it may hold parts, such as ``train`` and ``test``, or one folder that holds all.
        modality: What kind of examples it holds.
        reader: Reads the names of the sub-folders.
        follow_links: Whether to follow links that lead out of it, and links to folders.
        known: Classes that are known already.

    Raises:
        DataError: It holds no class with examples, or its parts are none to train on.
    """
    found = walk(root, modality, follow_links=follow_links)
    layout = Layout.of((path.relative_to(root).parts for path in found.files), known)
    rows: list[Row] = []
    skipped = [_left_out(path, reason, layout, path.relative_to(root).parts) for path, reason in found.skipped]
    for path in found.files:
        steps = path.relative_to(root).parts
        label, part = layout.label_of(steps), layout.part_of(steps)
        if label is None or (layout.parts and part is None):
            skipped.append(_left_out(path, layout.why_not(steps), layout, steps))
        else:
            rows.append(Row(item=path, name=printable(path), target=printable(label), part=part))
    links = any(reason in LINKS for _, reason in found.skipped)
    advice = ("--follow-links (follow_links=True) follows links.",) if links else ()
    if not rows:
        noun = modality.noun if found.files else "example"  # without a file, nothing says what they should be
        raise DataError(
            f"No class with {noun}s in {printable(root)!r}{because(skipped)}. {' '.join((*advice, LAYOUT))}"
        )
    named = {row.target for row in rows} | {left_out.label for left_out in skipped}
    rows, nameless = _without_nameless_parts(rows)
    skipped += nameless + _bare_folders(root, found, layout, named)
    examples = examples_of_rows(rows, skipped)
    targets, reading, said = reader.read(list(examples.targets or ()), labels=True)
    start = printable(Path(root, *layout.start))
    hints = [FitWarning(code="split_ignored", message=f"In {start}, {hint}.") for hint in layout.hints]
    return replace(
        examples,
        divided_by=f"the folders {', '.join(sorted(layout.parts))} in {start}" if layout.parts else "",
        described=f"{len(examples)} {modality.noun}s of {_classes(examples)} from the folder {start}",
        targets=targets,
        reading=reading,
        warnings=(*said, *hints),
        advice=advice,
        ignored_files=found.ignored_files,
        modality=modality,
    )


def _left_out(path: Path, reason: str, layout: Layout, steps: Steps) -> Skipped:
    label = layout.label_of((*steps, "")) if "link to a folder" in reason else layout.label_of(steps)
    return Skipped(name=printable(path), reason=reason, label=None if label is None else printable(label))


def _bare_folders(root: Path, found: Found, layout: Layout, named: Collection[str | None]) -> list[Skipped]:
    """Return folders that stand where classes do, and hold nothing that is named already."""
    places = {Path(root, *base) for base in layout.bases()}
    return [
        Skipped(name=printable(folder), reason="a folder without examples", label=printable(folder.name))
        for folder in sorted(found.folders)
        if folder.parent in places and folder != root and printable(folder.name) not in named
        if not layout.outer or folder.name not in layout.outer
    ]


def _without_nameless_parts(rows: Sequence[Row]) -> tuple[list[Row], list[Skipped]]:
    """Leave out parts without labels: all of their files are in one folder that is no class, as ``test/images`` is."""
    trained = {row.target for row in rows if row.part in (None, "train")}
    others = {part: {row.target for row in rows if row.part == part} for part in ("validation", "test")}
    nameless = {part for part, labels in others.items() if len(labels) == 1 and not labels & trained}
    kept = [row for row in rows if row.part not in nameless]
    return kept, [Skipped(name=row.name, reason=NO_LABEL) for row in rows if row.part in nameless]


def _classes(examples: Examples) -> str:
    counts = Counter(map(str, examples.targets or ()))
    shown = ", ".join(f"{label} {count}" for label, count in sorted(counts.items())[:_MAX_CLASSES_IN_MESSAGE])
    more = ", …" if len(counts) > _MAX_CLASSES_IN_MESSAGE else ""
    return f"{len(counts)} class{'es' * (len(counts) != 1)} ({shown}{more})"


def _not_divided(table: Table, column: str, values: Sequence[str]) -> FitWarning:
    shown = ", ".join(values[:_MAX_CLASSES_IN_MESSAGE]) + (", …" if len(values) > _MAX_CLASSES_IN_MESSAGE else "")
    return FitWarning(
        code="split_ignored",
        message=f"The column {column!r} of {table.name} is not used, all rows are there to train on: it holds {shown}. "
        "A column of train, val and test divides the rows; --validation and --test take rows of their own.",
        details={"column": column, "values": list(values[:20])},
    )
