"""Copies of one image under different labels: at most one of them is right, and nobody can tell which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autotransfer.contract.modality import Skipped, Store
from autotransfer.errors import DataError

__all__ = ["without_label_conflicts"]


def without_label_conflicts(store: Store, names: Sequence[str], labels: Sequence[Any]) -> Store:
    """Leave out the images of which exact copies have another label, as a file that is listed under two labels is.

    Args:
        store: The examples; those that stay move up within their arrays.
        names: What to call each example, those included that were not decoded.
        labels: The label of each example, likewise.

    Returns:
        The images that stay; each that does not is listed in ``skipped`` with a copy and its label.

    Raises:
        DataError: None stays.
    """
    first: dict[str, int] = {}
    rival: dict[str, int] = {}
    examples = store.kept.tolist()
    for digest, i in zip(store.digests, examples, strict=True):
        if labels[first.setdefault(digest, i)] != labels[i]:
            rival.setdefault(digest, i)
    if not rival:
        return store
    skipped = list(store.skipped)
    stay = []
    for position, (digest, i) in enumerate(zip(store.digests, examples, strict=True)):
        if digest not in rival:
            stay.append(position)
            continue
        other = rival[digest] if labels[i] == labels[first[digest]] else first[digest]
        reason = f"labelled {labels[i]!r}, but its copy {names[other]} {labels[other]!r}"
        skipped.append(Skipped(name=names[i], reason=reason))
    if not stay:
        last = skipped[-1]
        raise DataError(f"No image is left: each has a copy with another label; {last.name} is {last.reason}.")
    return store.keep(stay, skipped[len(store.skipped) :])
