"""Data that are divided already into train, validation and test examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from autotransfer.data.examples import Examples, Part
from autotransfer.errors import DataError
from autotransfer.warnings import FitWarning

__all__ = ["select_split", "divide_by_split", "split_used"]


def divide_by_split(data: Examples) -> tuple[Examples, Examples | None, Examples | None]:
    """Return the train, validation and test examples; None for a split without examples.

    Raises:
        DataError: Divided data hold no training example.
    """
    if data.parts is None:
        return data, None, None
    if "train" not in data.parts:
        raise DataError(f"Of the parts by {data.divided_by}, none of the examples to train on can be used.")
    train = replace(data.only("train"), described=data.described)
    others = ("validation", "test")
    validation, test = (_without_notes(data.only(part)) if part in data.parts else None for part in others)
    return train, validation, test


def select_split(examples: Examples, part: Part) -> Examples:
    """Return the examples of one split, with a warning that names it; all examples where the data are not divided."""
    if examples.parts is None or len(set(examples.parts)) < 2 or part not in examples.parts:
        return replace(examples, parts=None)
    found = examples.only(part)
    message = (
        f"Of the {part} data, which are divided by {examples.divided_by}, the part {part} alone is used: {len(found)} "
        f"of {len(examples)} examples."
    )
    details = {"by": examples.divided_by, "of": part, part: len(found), "unused": len(examples) - len(found)}
    return replace(found, warnings=(*found.warnings, FitWarning(code="split_used", message=message, details=details)))


def split_used(data: Examples, replaced: Sequence[str], *, groups: bool) -> FitWarning:
    """Return the warning that says how divided data are used.

    Args:
        data: All examples.
        replaced: Splits for which the user gave other examples.
        groups: Whether the user gave groups.
    """
    counts = Counter(data.parts)
    uses = {"train": "to train on", "validation": "to score candidates on", "test": "to test the model on, once"}
    used = [f"{counts[part]} {use}" for part, use in uses.items() if counts[part] and part not in replaced]  # type: ignore[index]
    message = f"The data are divided by {data.divided_by}: {', '.join(used)}."
    for part in replaced:
        message += f" The part {part} ({counts[part]}) is not used, since {part} data are given."  # type: ignore[index]
    if groups and "validation" in counts and "validation" not in replaced:
        message += " The groups have no effect on that."
    details = {"by": data.divided_by, "unused": list(replaced), **{part: counts[part] for part in uses}}  # type: ignore[index]
    return FitWarning(code="split_used", message=message, details=details)


def _without_notes(examples: Examples) -> Examples:
    """Return examples without the warnings and notes of all data."""
    return replace(examples, skipped=(), warnings=(), described="", advice=(), ignored_files={})
