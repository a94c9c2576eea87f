"""What the names of examples say of which belong together: numbers that they share, and numbers near each other."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import PurePath

import numpy as np

__all__ = ["Keys", "keys_from_names", "neighbours_by_name", "reading_order"]

Keys = np.ndarray
"""For each example (N,) the number of its set; -1 where it has none."""

# No set may hold a larger share of the examples: that says more of a class, or of a camera, than of an object.
_LARGEST_SHARE = 0.1
# Numbers that are no further apart are neighbours, and so are those within so many median gaps of their series.
_NEAR, _NEAR_GAPS = 2.0, 2.0
# Gaps of two scales differ by such a factor at least: those within a burst, and those between bursts. So many steps
# from one scale to the next are tried, the finest first.
_SCALE_RATIO, _SCALES = 4.0, 3
# More differing numbers than this in one name say nothing that the first ones do not.
_MOST_NUMBERS = 8
_TIME = re.compile(r"(?<!\d)((?:19|20)\d\d)([-_.]?)([01]\d)\2([0-3]\d)[-_.T ]*([0-2]\d)([-_.h]?)([0-5]\d)\6([0-5]\d)")

Parts = tuple[str, ...]
"""A name, split into text and numbers in turn: text stands at even positions, digits at odd ones."""


def keys_from_names(names: Sequence[str]) -> Iterator[Keys]:
    """Yield what names may be grouped by: all but one of their numbers, bursts of a number, or their folder.

    ``exp1_num_4727.jpg`` and ``exp2_num_4727.jpg`` share all but their first number; ``IMG_20240101_120503.jpg`` and
    ``IMG_20240101_120505.jpg`` are two seconds apart where the next picture follows after minutes.
    """
    parts = [_parts(name) for name in names]
    for series in _series(parts):
        yield _numbered((rows for rows, _ in series), len(names))
        for level in range(_SCALES):
            yield _numbered((burst for rows, numbers in series for burst in _bursts(rows, numbers, level)), len(names))
    folders = defaultdict(list)
    for i, name in enumerate(names):
        folders[PurePath(name).parent].append(i)
    yield _numbered(map(np.array, folders.values()), len(names))


def neighbours_by_name(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of examples (pairs,), (pairs,) that were named one after the other.

    Their names differ in one number, by 2 at most or by twice the median gap between such numbers: frames of which
    every tenth was kept are as near as slices that are numbered one by one.
    """
    first, second = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for series in _series([_parts(name) for name in names]):
        for rows, numbers in series:
            gaps = np.diff(numbers)
            if len(gaps):
                near = max(_NEAR, _NEAR_GAPS * float(np.median(gaps)))
                for step in (1, 2):
                    close = numbers[step:] - numbers[:-step] <= near
                    first.append(rows[:-step][close])
                    second.append(rows[step:][close])
    return np.concatenate(first), np.concatenate(second)


def reading_order(names: Sequence[str]) -> np.ndarray:
    """Return the rows (N,) in the order of their names, where numbers count as numbers."""
    keys = [tuple((int(p[-300:]), "") if i % 2 else (0, p) for i, p in enumerate(_parts(name))) for name in names]
    return np.array(sorted(range(len(names)), key=keys.__getitem__), dtype=np.int64)


def _parts(name: str) -> Parts:
    """Split the name of a file at its numbers; a date with its time is one number, in seconds."""
    return tuple(re.split(r"(\d+)", _TIME.sub(_seconds, PurePath(name).name)))


def _seconds(match: re.Match[str]) -> str:
    """Return a time stamp as seconds since 1970, or as it is where there is no such day or time."""
    year, _, month, day, hour, _, minute, second = match.groups()
    try:
        moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=timezone.utc)
    except ValueError:
        return match.group()
    return str(max(int(moment.timestamp()), 0))


def _series(parts: Sequence[Parts]) -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
    """Yield for each position of a number the series that differ in it alone: rows and numbers, in ascending order."""
    for position in range(1, min(max(map(len, parts), default=0), 2 * _MOST_NUMBERS), 2):
        members: dict[Parts, list[int]] = defaultdict(list)
        for i, p in enumerate(parts):
            if len(p) > position:
                members[p[:position] + p[position + 1 :]].append(i)
        found = []
        for rows in members.values():
            numbers = np.array([float(parts[i][position][-15:]) for i in rows])
            order = np.argsort(numbers, kind="stable")
            found.append((np.array(rows)[order], numbers[order]))
        yield found


def _bursts(rows: np.ndarray, numbers: np.ndarray, level: int) -> list[np.ndarray]:
    """Return the rows between wide gaps, where gaps are of several scales: those of a burst, of a scene, of a day.

    Args:
        rows: Rows of a series, in the order of their numbers.
        numbers: The numbers.
        level: How many of the steps from one scale to the next count as narrow: 0 splits at all but the finest gaps.
    """
    gaps = np.maximum(np.diff(numbers), 1.0)
    ranked = np.sort(gaps)
    steps = np.flatnonzero(ranked[1:] >= _SCALE_RATIO * ranked[:-1])
    if level >= len(steps):
        return []
    return np.split(rows, np.flatnonzero(gaps > ranked[steps[level]]) + 1)


def _numbered(sets: Iterable[np.ndarray], count: int) -> Keys:
    """Number sets of rows that are not rare and not common: -1 stands for the others."""
    numbers = np.full(count, -1)
    for number, rows in enumerate(sets):
        if 2 <= len(rows) <= max(2, _LARGEST_SHARE * count):
            numbers[rows] = number
    return numbers
