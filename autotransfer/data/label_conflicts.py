"""Label conflicts: copies of one example with different labels, of which at most one label is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autotransfer.contract.modality import Skipped, Store
from autotransfer.errors import DataError

__all__ = ["without_label_conflicts"]


def without_label_conflicts(store: Store, names: Sequence[str], labels: Sequence[Any]) -> Store:
    """Leave out the examples that have an exact copy with another label.

    Args:
        store: The examples; the remaining ones move up within their arrays.
        names: Name of each example, whether it was read or not.
        labels: Label of each example, whether it was read or not.

    Returns:
        The remaining examples; ``skipped`` lists the others, each with a copy and the label of the copy.

    Raises:
        DataError: No example remains.
    """
    first: dict[str, int] = {}
    conflicting: dict[str, int] = {}
    examples = store.kept.tolist()
    for digest, i in zip(store.digests, examples, strict=True):
        if labels[first.setdefault(digest, i)] != labels[i]:
            conflicting.setdefault(digest, i)
    if not conflicting:
        return store
    skipped = list(store.skipped)
    stay = []
    for position, (digest, i) in enumerate(zip(store.digests, examples, strict=True)):
        if digest not in conflicting:
            stay.append(position)
            continue
        other = conflicting[digest] if labels[i] == labels[first[digest]] else first[digest]
        reason = f"labelled {labels[i]!r}, but its copy {names[other]} {labels[other]!r}"
        skipped.append(Skipped(name=names[i], reason=reason))
    if not stay:
        last = skipped[-1]
        raise DataError(f"No example is left: each has a copy with another label; {last.name} is {last.reason}.")
    return store.keep(stay, skipped[len(store.skipped) :])
