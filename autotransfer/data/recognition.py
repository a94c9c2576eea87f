"""Which modality data are of: the suffixes of files say it, or what the modalities make of values in memory."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autotransfer.contract.modality import Item, Modality
from autotransfer.contract.patterns import named_spec
from autotransfer.contract.registry import installed_modalities
from autotransfer.data.folders import kind_of
from autotransfer.errors import DataError, PluginError

__all__ = [
    "accepted",
    "batch_of",
    "claiming_arrays",
    "item_of",
    "known_modalities",
    "modality_named",
    "modality_of_files",
    "modality_of_folder",
    "reader_of",
    "sample_of",
    "values_of",
]

# Files of a folder that are looked at to tell its modality, where several are installed.
_MOST_FILES = 10_000
# Values that are looked at to tell what all of them are.
_SAMPLE_COUNT = 50


class _UnknownItemError(DataError):
    """A value is no example of a modality."""


def known_modalities(given: Sequence[Modality] | None) -> Sequence[Modality]:
    """Return the modalities that data may be of; None means all that are installed.

    Raises:
        PluginError: No plugin has one.
    """
    known = installed_modalities() if given is None else given
    if not known:
        raise PluginError("No plugin that is installed reads any kind of example: install autotransfer again.")
    return known


def modality_named(name: str | None, options: Collection[str] | None = None) -> tuple[Modality, ...] | None:
    """Return the modality of a name alone, as ``modalities`` of ``load_examples``; None where nothing names one.

    Args:
        name: Name of the modality; None for those that have the options.
        options: Names of options of modalities that are set.

    Raises:
        UnknownNameError: No installed plugin has it.
    """
    known = {modality.name: modality for modality in installed_modalities()}
    if name is None:
        having = tuple(each for each in known.values() if options and set(options) <= set(each.options))
        return having or None
    return (named_spec("modality", name, known),)


def accepted(modalities: Sequence[Modality]) -> str:
    """Return what all of them take, in words."""
    return "; or ".join(modality.accepted for modality in modalities)


def modality_of_files(paths: Iterable[Path], modalities: Sequence[Modality]) -> Modality:
    """Return the modality that most files are of, by their suffixes.

    Where no modality, or more than one, has the suffixes, the first file decides by what it holds. A modality that
    cannot tell comes before one that says no.
    """
    if len(modalities) == 1:
        return modalities[0]
    paths = list(paths)
    counts = Counter(path.suffix.lower() for path in paths)
    known = {each.name: sum(counts[suffix] for suffix in each.suffixes) for each in modalities}
    most = max(known.values())
    best = [each for each in modalities if known[each.name] == most]
    if len(best) == 1 or not paths:
        return best[0]
    holding = [each for each in best if each.holds(paths[0])]
    unsure = [each for each in best if most and type(each).holds is Modality.holds]
    return (holding or unsure or best)[0]


def modality_of_folder(root: Path, modalities: Sequence[Modality]) -> Modality:
    """Return the modality that most files below a folder are of."""
    if len(modalities) == 1:
        return modalities[0]
    found: list[Path] = []
    for here, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(here, name) for name in files if not name.startswith(".")]
        if len(found) >= _MOST_FILES:
            break
    return modality_of_files(found, modalities)


def batch_of(
    value: Any, modalities: Sequence[Modality], reading: Mapping[str, Any] | None = None
) -> tuple[Modality, list[Item]]:
    """Return the modality of an array or tensor, and the examples that it holds; see ``Modality.batch``.

    Raises:
        DataError: It is none of them, or of several.
    """
    found: list[tuple[Modality, list[Item]]] = []
    refused: list[DataError] = []
    for modality in (claiming := claiming_arrays(modalities)):
        try:
            items = modality.batch(value, reading)
        except DataError as error:
            refused.append(error)
        else:
            found += [] if items is None else [(modality, items)]
    what = f"An array of the shape {tuple(value.shape)}"
    with _naming_others(modalities, claiming):
        return _only(found, refused, what, modalities)


def values_of(
    values: Sequence[Any], modalities: Sequence[Modality], *, paths: bool = False
) -> tuple[Modality, list[Item]]:
    """Return the modality of several values, and what it makes of them.

    Strings are paths, unless a modality reads strings of this kind; see ``reader_of``.

    Args:
        values: The values.
        modalities: What they may be of.
        paths: Whether strings are paths in any case.

    Raises:
        DataError: One of them is no example, or they are of several modalities.
    """
    strings = [value for value in values if isinstance(value, str)]
    paths = paths or any(isinstance(value, os.PathLike) for value in values)
    reader = None if paths or not strings else reader_of(strings, modalities)
    if strings and len(strings) == len(values) and not any(map(str.strip, strings)):
        raise DataError(f"All {len(strings)} strings are empty: there is nothing to read.")
    found: list[tuple[Modality, list[Item]]] = []
    refused: list[DataError] = []
    arrays = any(hasattr(value, "dtype") for value in values)
    claiming = (reader,) if reader is not None else claiming_arrays(modalities) if arrays else modalities
    for modality in claiming:
        try:
            read = modality is reader
            found.append((modality, [item_of(value, i, modality, read=read) for i, value in enumerate(values)]))
        except DataError as error:
            refused.append(error)
    if len(found) > 1 and (files := [item for item in found[0][1] if isinstance(item, Path)]):
        best = modality_of_files(files, [modality for modality, _ in found])
        found = [(modality, items) for modality, items in found if modality is best]
    with _naming_others(modalities if reader is None else claiming, claiming):
        return _only(found, refused, "What the list holds", modalities)


def reader_of(strings: Sequence[str], modalities: Sequence[Modality]) -> Modality | None:
    """Return the modality of which strings are examples themselves; None where they are paths.

    Strings are paths where most of a sample name what is there, or where no modality reads them.

    Raises:
        DataError: Several modalities read them.
    """
    sample = sample_of([string for string in strings if string.strip()])
    there = sum(kind_of(Path(string)) != "missing" for string in sample)
    if not sample or 2 * there >= len(sample):
        return None
    readers = [modality for modality in modalities if modality.reads(sample)]
    if len(readers) > 1:
        raise _ambiguous("What the strings hold", readers)
    return readers[0] if readers else None


def sample_of(values: Sequence[Any], count: int = _SAMPLE_COUNT) -> list[Any]:
    """Return so many of the values, which are spread over all of them."""
    step = max(1, len(values) // count)
    return [values[i] for i in range(0, len(values), step)][:count]


def item_of(value: Any, position: int, modality: Modality, *, read: bool = False) -> Item:
    """Return what a modality makes of one value.

    Args:
        value: The value.
        position: Its position, for messages.
        modality: The modality.
        read: Whether a string is an example itself and no path.

    Raises:
        DataError: It is no example of the modality.
    """
    path = isinstance(value, os.PathLike) or (isinstance(value, str) and not read)
    item = None if path else modality.item(value)
    if path:
        return Path(value)
    if item is None:
        kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
        raise _UnknownItemError(f"Item {position} is {kind}; data are {modality.accepted}.")
    return item


def claiming_arrays(modalities: Sequence[Modality]) -> Sequence[Modality]:
    """Return the modalities that take arrays although others are there; the only one takes them in any case."""
    return modalities if len(modalities) == 1 else [each for each in modalities if each.claims_arrays]


@contextmanager
def _naming_others(modalities: Sequence[Modality], claiming: Sequence[Modality]) -> Iterator[None]:
    """Say of arrays that nothing takes which modalities were not asked."""
    try:
        yield
    except DataError as error:
        others = [each for each in modalities if each not in claiming]
        ways = "".join(f" If they are {each.noun}s, name the modality: {each.name!r}." for each in others)
        raise DataError(f"{error}{ways}") from error


def _only(
    found: list[tuple[Modality, list[Item]]], refused: list[DataError], what: str, modalities: Sequence[Modality]
) -> tuple[Modality, list[Item]]:
    if len(found) == 1:
        return found[0]
    if found:
        raise _ambiguous(what, [modality for modality, _ in found])
    if refused:
        known = [error for error in refused if not isinstance(error, _UnknownItemError)]
        if known or len(refused) == 1:
            raise (known or refused)[0]
        raise DataError(f"{str(refused[0]).partition(';')[0]}; data are {accepted(modalities)}.")
    raise DataError(f"{what} is nothing that can be read; data are {accepted(modalities)}.")


def _ambiguous(what: str, modalities: Sequence[Modality]) -> DataError:
    names = ", ".join(modality.name for modality in modalities)
    return DataError(
        f"{what} can be read in several ways ({names}): name the modality with --modality (modality=), or give files."
    )
