"""Groups of examples by their names: equal numbers, bursts of numbers, folders, and neighbouring numbers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import PurePath

import numpy as np

__all__ = ["Keys", "join_over_classes", "keys_from_names", "neighbours_by_name", "reading_order"]

Keys = np.ndarray
"""Number of each example's set (N,); -1 for an example without a set."""

# Largest share of the examples in one set. A larger set reflects a class or a camera rather than an object.
_MAX_SET_SHARE = 0.1
# Largest difference of neighbouring numbers: absolute, and in median gaps of their series.
_MAX_NEIGHBOUR_GAP, _MAX_NEIGHBOUR_MEDIAN_GAPS = 2.0, 2.0
# Smallest ratio between gaps of two scales, such as gaps within a burst and between bursts, and the number of scales
# that are tried. Tuned on names of real exposures and frames.
_MIN_SCALE_RATIO, _MAX_SCALES = 4.0, 3
# Largest share of the examples in one set of those that were joined over classes: the rest must be enough to train on.
_MAX_JOINED_SHARE = 1 / 3
_WORD = re.compile(r"[^\W_]+")
# Numbers of a name that are looked at.
_MAX_NUMBERS_OF_NAME = 8
_TIME = re.compile(r"(?<!\d)((?:19|20)\d\d)([-_.]?)([01]\d)\2([0-3]\d)[-_.T ]*([0-2]\d)([-_.h]?)([0-5]\d)\6([0-5]\d)")

Parts = tuple[str, ...]
"""A name that is split at its numbers: text is at even positions, digits are at odd positions."""


def keys_from_names(names: Sequence[str]) -> Iterator[Keys]:
    """Yield partitions of the examples by name: equal but for one number, within a burst, or in one folder.

    ``exp1_num_4727.jpg`` and ``exp2_num_4727.jpg`` are equal but for their first number. ``IMG_20240101_120503.jpg``
    and ``IMG_20240101_120505.jpg`` are a burst if the next picture follows minutes later.
    """
    parts = [_parts(name) for name in names]
    for series in _series(parts):
        yield _numbered((rows for rows, _ in series), len(names))
        for level in range(_MAX_SCALES):
            yield _numbered((burst for rows, numbers in series for burst in _bursts(rows, numbers, level)), len(names))
    folders = defaultdict(list)
    for i, name in enumerate(names):
        folders[PurePath(name).parent].append(i)
    yield _numbered(map(np.array, folders.values()), len(names))


def join_over_classes(key: Keys, names: Sequence[str], classes: np.ndarray) -> Keys:
    """Join the sets of a key whose names differ in the class alone, such as all digits that one speaker says.

    ``3_george_10.wav`` names a class, a speaker and a number. On folds of sets of one speaker and one digit, whoever
    knows the speaker from other digits is misled: the score is lower than that of new speakers.

    Args:
        key: The key; its sets hold one class each.
        names: Name of each example.
        classes: Class (N,) of each example.

    Returns:
        The key of the joined sets. The key as it is where names do not say the class, or where the joined sets cannot
        be divided into folds.
    """
    rows = np.flatnonzero(key >= 0)
    words = [_WORD.findall(PurePath(names[i]).stem) for i in rows.tolist()]
    if len({len(found) for found in words}) != 1 or len(np.unique(classes)) < 2:
        return key
    numbers = [np.unique(column, return_inverse=True)[1] for column in zip(*words, strict=True)]
    own, labels = key[rows], classes[rows]
    fixed = [column for column in numbers if column.max() > 0 and _determines(own, column)]
    others = [column for column in fixed if not _determines(labels, column)]
    if not others or len(others) == len(fixed):
        return key
    joined = np.unique(np.stack(others, axis=1), axis=0, return_inverse=True)[1].ravel()
    sets_of_classes = [len(np.unique(joined[labels == label])) for label in np.unique(labels)]
    if min(sets_of_classes) < 2 or np.bincount(joined).max() > _MAX_JOINED_SHARE * len(key):
        return key
    found = np.full(len(key), -1)
    found[rows] = joined
    return found


def _determines(known: np.ndarray, other: np.ndarray) -> bool:
    """Whether examples with the same number in ``known`` (n,) have the same number in ``other`` (n,)."""
    return len(np.unique(np.stack([known, other]), axis=1).T) == len(np.unique(known))


def neighbours_by_name(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of examples (pairs,), (pairs,) with neighbouring names.

    Neighbouring names differ in one number, by at most 2 or by at most twice the median gap of the series. Every tenth
    frame of a video is therefore a neighbour of the next one.
    """
    first, second = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for series in _series([_parts(name) for name in names]):
        for rows, numbers in series:
            gaps = np.diff(numbers)
            if len(gaps):
                near = max(_MAX_NEIGHBOUR_GAP, _MAX_NEIGHBOUR_MEDIAN_GAPS * float(np.median(gaps)))
                for step in (1, 2):
                    close = numbers[step:] - numbers[:-step] <= near
                    first.append(rows[:-step][close])
                    second.append(rows[step:][close])
    return np.concatenate(first), np.concatenate(second)


def reading_order(names: Sequence[str]) -> np.ndarray:
    """Return the rows (N,) in the natural order of their names, in which 2 comes before 10."""
    keys = [tuple((int(p[-300:]), "") if i % 2 else (0, p) for i, p in enumerate(_parts(name))) for name in names]
    return np.array(sorted(range(len(names)), key=keys.__getitem__), dtype=np.int64)


def _parts(name: str) -> Parts:
    """Split the name of a file at its numbers; a date with a time is one number in seconds."""
    return tuple(re.split(r"(\d+)", _TIME.sub(_seconds, PurePath(name).name)))


def _seconds(match: re.Match[str]) -> str:
    """Return a time stamp in seconds since 1970; an impossible date or time stays as it is."""
    year, _, month, day, hour, _, minute, second = match.groups()
    try:
        moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=timezone.utc)
    except ValueError:
        return match.group()
    return str(max(int(moment.timestamp()), 0))


def _series(parts: Sequence[Parts]) -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
    """Yield, for each position of a number, the series that differ in this number only: sorted rows and numbers."""
    for position in range(1, min(max(map(len, parts), default=0), 2 * _MAX_NUMBERS_OF_NAME), 2):
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
    """Split a series at its wide gaps, if its gaps have several scales: within a burst, a scene or a day.

    Args:
        rows: Rows of a series in the order of their numbers.
        numbers: Numbers of the series.
        level: Number of scales that count as narrow, beside the finest.

    Returns:
        The rows of each burst; none where there are not so many scales.
    """
    gaps = np.maximum(np.diff(numbers), 1.0)
    ranked = np.sort(gaps)
    steps = np.flatnonzero(ranked[1:] >= _MIN_SCALE_RATIO * ranked[:-1])
    if level >= len(steps):
        return []
    return np.split(rows, np.flatnonzero(gaps > ranked[steps[level]]) + 1)


def _numbered(sets: Iterable[np.ndarray], count: int) -> Keys:
    """Number the sets of at least two rows and at most a tenth of all rows; other rows get -1."""
    numbers = np.full(count, -1)
    for number, rows in enumerate(sets):
        if 2 <= len(rows) <= max(2, _MAX_SET_SHARE * count):
            numbers[rows] = number
    return numbers
