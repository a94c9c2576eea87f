"""Files that are listed with their targets: those that are there, each of them once."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotransfer.contract.modality import Item, Skipped
from autotransfer.data.examples import Examples, Part
from autotransfer.data.folders import kind_of
from autotransfer.errors import DataError, DataNotFoundError
from autotransfer.tasks.targets import Kind

__all__ = ["Row", "because", "examples_of_rows"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One file that is listed.

    Attributes:
        item: Its path; or a value in memory.
        name: What to call it.
        target: Its target.
        group: Its group; None for none.
        weight: Its weight; None where all weigh the same.
        part: The part of divided data that it belongs to; None where they are not divided.
    """

    item: Item
    name: str
    target: Any
    group: Hashable = None
    weight: float | None = None
    part: Part | None = None

    def left_out(self, reason: str) -> Skipped:
        """Return it as left out."""
        label = self.target if isinstance(self.target, (str, int)) else None
        return Skipped(name=self.name, reason=reason, label=None if label is None else str(label))


def examples_of_rows(
    rows: Sequence[Row], skipped: Iterable[Skipped] = (), tried: str = "", task_kind: Kind | None = None
) -> Examples:
    """Make examples of the rows whose files are there, each file once in each part.

    Args:
        rows: The rows.
        skipped: What is left out already.
        tried: Where the first of the files was looked for, if it is not there.
        task_kind: Kind of the task; None where it is not known yet. A file may have several values in a regression.

    Raises:
        DataNotFoundError: No file is there.
        DataError: No example is left.
    """
    left_out = list(skipped)
    there: list[Row] = []
    for row in rows:
        kind = kind_of(row.item) if isinstance(row.item, Path) else "file"
        if kind != "file":
            left_out.append(row.left_out("not found" if kind == "missing" else f"no file ({kind})"))
        else:
            there.append(row)
    if rows and not there:
        where = f" ({tried})" if tried else ""
        raise DataNotFoundError(f"None of the {len(rows)} files listed is there; the first is {rows[0].name!r}{where}.")
    kept, repeats = _without_repeats(there, have_labels=task_kind != "regression")
    left_out += repeats
    if not kept:
        raise DataError(f"No example is left{because(left_out)}.")
    return Examples(
        items=[row.item for row in kept],
        names=tuple(row.name for row in kept),
        targets=[row.target for row in kept],
        groups=None if all(row.group is None for row in kept) else tuple(row.group for row in kept),
        weights=None if kept[0].weight is None else tuple(row.weight or 0.0 for row in kept),
        parts=None if all(row.part is None for row in kept) else tuple(row.part or "train" for row in kept),
        skipped=tuple(left_out),
        advice=(f"Most files are missing: {tried}.",) if tried and 2 * len(there) < len(rows) else (),
    )


def because(skipped: Sequence[Skipped]) -> str:
    """Return what was left out as an explanation, in brackets."""
    return f" ({len(skipped)} left out; the first, {skipped[0].name}: {skipped[0].reason})" if skipped else ""


def _without_repeats(rows: Sequence[Row], *, have_labels: bool) -> tuple[list[Row], list[Skipped]]:
    """Keep the first of equal rows, and neither of two rows that give one file two labels; several values may stand."""
    keys = _keys(rows)
    known: dict[Any, list[Any]] = defaultdict(list)
    first = []
    for key, row in zip(keys, rows, strict=True):
        first.append(row.target not in known[key])
        if first[-1]:
            known[key].append(row.target)
    kept: list[Row] = []
    skipped: list[Skipped] = []
    for key, new, row in zip(keys, first, rows, strict=True):
        labels = known[key]
        if have_labels and len(labels) > 1 and all(isinstance(label, (str, int)) for label in labels):
            count = "two" if len(labels) == 2 else len(labels)
            skipped.append(row.left_out(f"listed under {count} labels: {', '.join(sorted(map(str, labels)))}"))
        elif new:
            kept.append(row)
        else:
            skipped.append(row.left_out("duplicate row"))
    return kept, skipped


def _keys(rows: Sequence[Row]) -> list[Any]:
    """Return what tells files of a part apart: the real path; values in memory all differ."""
    folders: dict[Path, str] = {}
    keys: list[Any] = []
    for i, row in enumerate(rows):
        item = row.item
        if not isinstance(item, Path):
            keys.append(i)
        elif item.is_symlink():
            keys.append((row.part, os.path.realpath(item)))
        else:
            folder = folders.get(item.parent) or folders.setdefault(item.parent, os.path.realpath(item.parent))
            keys.append((row.part, str(Path(folder, item.name))))
    return keys
