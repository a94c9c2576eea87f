"""Classes with too few examples, left out where the user wants that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from autotransfer.contract.modality import Skipped, Store
from autotransfer.data.examples import Examples
from autotransfer.data.skipped import TOO_SMALL
from autotransfer.errors import ConfigError, DataError

__all__ = ["small_classes", "without_classes", "without_small_classes"]


def small_classes(examples: Examples, least: int) -> frozenset[Any]:
    """Return the classes that have fewer examples to train on.

    Raises:
        ConfigError: The examples have no classes, or several each.
        DataError: All classes but one have fewer.
    """
    targets = examples.targets or ()
    if not all(map(_is_label, targets)):
        raise ConfigError(
            "min_examples counts the examples of a class, and these targets are no classes: leave it out."
        )
    held_out = examples.held_out or (False,) * len(targets)
    counts = Counter(target for target, held in zip(targets, held_out, strict=True) if not held)
    small = frozenset(target for target in {*targets} if counts[target] < least)
    if len(small) > len({*targets}) - 2:
        left = sorted(map(str, {*targets} - small))
        raise DataError(
            f"Of {len({*targets})} classes, {len(left)} have {least} examples or more ({', '.join(left) or 'none'}); "
            "it takes two classes. Add examples, or give a smaller min_examples."
        )
    return small


def without_classes(examples: Examples, classes: Collection[Any]) -> Examples:
    """Leave out the examples of some classes."""
    targets = examples.targets or ()
    gone = [i for i, target in enumerate(targets) if target in classes]
    if not gone:
        return examples
    skipped = [Skipped(name=examples.names[i], reason=TOO_SMALL, label=str(targets[i])) for i in gone]
    return examples.take([i for i, target in enumerate(targets) if target not in classes], skipped)


def without_small_classes(store: Store, examples: Examples, least: int) -> Store:
    """Leave out examples of classes that have fewer different examples to train on that can be read.

    Raises:
        DataError: No example is left.
    """
    targets: Sequence[Any] = examples.targets or ()
    held_out = examples.held_out or (False,) * len(targets)
    rows = store.kept.tolist()
    differing = {(targets[i], digest) for i, digest in zip(rows, store.digests, strict=True) if not held_out[i]}
    counts = Counter(target for target, _ in differing)
    gone = [i for i in rows if counts[targets[i]] < least]
    if not gone:
        return store
    skipped = [Skipped(name=examples.names[i], reason=TOO_SMALL, label=str(targets[i])) for i in gone]
    stay = [position for position, i in enumerate(rows) if counts[targets[i]] >= least]
    if not stay:
        raise DataError(f"No class has {least} examples that differ and can be read: give a smaller min_examples.")
    return store.keep(stay, skipped)


def _is_label(target: Any) -> bool:
    return isinstance(target, (str, int)) or (isinstance(target, float) and target.is_integer())
