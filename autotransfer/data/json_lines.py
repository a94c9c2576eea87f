"""JSON lines: a file with one object a line, whose keys are the columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotransfer.contract.modality import Skipped
from autotransfer.data.delimited import decoded
from autotransfer.errors import DataError

__all__ = ["JsonLines", "read_json_lines"]

# Share of the lines that may be no objects: a file with more is of another kind.
_MAX_BAD_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class JsonLines:
    """The objects of a file.

    Attributes:
        columns: Values by key, in the order in which keys appear; None where an object lacks one, or it is empty.
        lines: Number of the line of each object.
        skipped: Lines that hold no object.
    """

    columns: Mapping[str, list[Any]]
    lines: list[int]
    skipped: tuple[Skipped, ...] = ()


def read_json_lines(path: Path) -> JsonLines:
    """Read a file of one JSON object a line.

    Raises:
        DataError: The file holds something else.
    """
    columns: dict[str, list[Any]] = {}
    lines: list[int] = []
    skipped: list[Skipped] = []
    for number, line in enumerate(decoded(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
            reason = "" if isinstance(found, dict) else f"a {type(found).__name__}, and no object"
        except (ValueError, RecursionError) as error:
            found, reason = None, f"no JSON: {getattr(error, 'msg', error)}"
        if reason:
            skipped.append(Skipped(name=f"{path}, line {number}", reason=reason))
            continue
        for key, value in found.items():
            if key not in columns:
                columns[key] = [None] * len(lines)
            columns[key].append(None if isinstance(value, str) and not value.strip() else value)
        lines.append(number)
        for column in columns.values():
            if len(column) < len(lines):
                column.append(None)
    if not lines or len(skipped) > _MAX_BAD_SHARE * (len(lines) + len(skipped)):
        first = f"; the first of the others, {skipped[0].name}: {skipped[0].reason}" if skipped else ""
        raise DataError(
            f'{path} holds {len(lines)} lines that are a JSON object, such as {{"label": "x"}}{first}. Write one '
            "object on each line."
        )
    return JsonLines(columns=columns, lines=lines, skipped=tuple(skipped))
