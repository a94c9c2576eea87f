"""What to tell a user of what was left out: how much, by reason and class, and what to do about it."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from autotransfer.contract.modality import Skipped
from autotransfer.data.examples import Examples
from autotransfer.warnings import FitWarning

__all__ = ["TOO_SMALL", "WEIGHTLESS", "with_labels", "warnings_of"]

TOO_SMALL = "its class has fewer examples than min_examples"
WEIGHTLESS = "its weight is 0"
# Reasons that say that examples contradict each other.
_CONFLICT = re.compile(r"listed under |labelled ")
_MAX_REASONS_IN_MESSAGE = 5


def with_labels(skipped: Sequence[Skipped], examples: Examples) -> tuple[Skipped, ...]:
    """Return what was left out of examples, each with its class where the examples know it."""
    targets = dict(zip(examples.names, examples.targets or (), strict=False))
    return tuple(
        Skipped(name=one.name, reason=one.reason, label=str(targets[one.name]))
        if one.label is None and isinstance(targets.get(one.name), (str, int))
        else one
        for one in skipped
    )


def warnings_of(
    skipped: Sequence[Skipped],
    used: Sequence[Any],
    *,
    what: str = "the data",
    advice: Sequence[str] = (),
    ignored_files: Mapping[str, int] | None = None,
) -> tuple[FitWarning, ...]:
    """Return the warnings about what was left out; examples of the weight 0 are left out on purpose, without one.

    Args:
        skipped: What was left out.
        used: The targets of the examples that are used.
        what: What they are examples of.
        advice: What to do about it.
        ignored_files: Files that nobody takes for examples: they are counted, and are no reason for a warning.
    """
    skipped = [one for one in skipped if one.reason != WEIGHTLESS]
    small = [one for one in skipped if one.reason == TOO_SMALL]
    conflicts = [one for one in skipped if _CONFLICT.match(one.reason)]
    others = [one for one in skipped if one.reason != TOO_SMALL and not _CONFLICT.match(one.reason)]
    found = []
    if others:
        labels = Counter(str(target) for target in used if isinstance(target, (str, int)))
        found.append(_left_out(others, labels, len(used), what, advice, ignored_files or {}))
    if small:
        found.append(_small_classes(small, what))
    if conflicts:
        found.append(_label_conflicts(conflicts, what))
    return tuple(found)


def _left_out(
    skipped: Sequence[Skipped],
    labels: Counter[str],
    used: int,
    what: str,
    advice: Sequence[str],
    ignored_files: Mapping[str, int],
) -> FitWarning:
    kinds = _kinds([one.reason for one in skipped])
    reasons = Counter(kinds)
    classes: dict[str, Counter[str]] = defaultdict(Counter)
    for one, kind in zip(skipped, kinds, strict=True):
        if one.label is not None:
            classes[one.label][kind] += 1
    by_class = {
        label: {"skipped": counts.total(), "used": labels[label], "reasons": dict(counts)}
        for label, counts in sorted(classes.items(), key=lambda item: -item[1].total())
    }
    shown = _listed([f"{reason} ({count})" for reason, count in reasons.most_common()], "; ")
    message = f"{len(skipped)} of {len(skipped) + used} files, folders or rows of {what} are not used: {shown}"
    if classes:
        counts = {label: classes[label].total() for label in by_class}
        shown = _listed([f"{label} {count} of {count + labels[label]}" for label, count in counts.items()])
        message += f". By class: {shown}"
    if gone := [repr(label) for label in by_class if not labels[label]]:
        message += f". Nothing can be used of {_listed(gone)}"
    first = skipped[0].name
    message = " ".join([f"{message}. The first is {first}.", *advice])
    details = {
        "of": what,
        "count": len(skipped),
        "used": used,
        "reasons": dict(reasons),
        "classes": by_class,
        "ignored_files": dict(ignored_files),
    }
    return FitWarning(code="examples_skipped", message=message, details=details)


def _small_classes(skipped: Sequence[Skipped], what: str) -> FitWarning:
    counts = Counter(str(one.label) for one in skipped)
    shown = _listed([f"{label} ({count})" for label, count in sorted(counts.items())])
    return FitWarning(
        code="small_classes",
        message=f"{len(counts)} classes of {what} have fewer examples than min_examples and are not used: {shown}.",
        details={"of": what, "classes": dict(counts)},
    )


def _label_conflicts(skipped: Sequence[Skipped], what: str) -> FitWarning:
    shown = _listed([f"{one.name} is {one.reason}" for one in skipped], "; ")
    return FitWarning(
        code="label_conflicts",
        message=f"{len(skipped)} files of {what} are not used, since copies of them have other labels: {shown}.",
        details={"of": what, "count": len(skipped), "names": [one.name for one in skipped[:20]]},
    )


def _listed(texts: Sequence[str], between: str = ", ") -> str:
    return between.join(texts[:_MAX_REASONS_IN_MESSAGE]) + (
        f"{between}…" if len(texts) > _MAX_REASONS_IN_MESSAGE else ""
    )


def _kinds(reasons: Sequence[str]) -> list[str]:
    """Return each reason, with N for the numbers in which it differs from others."""
    kinds = [re.sub(r"\d+", "N", reason) for reason in reasons]
    known: dict[str, set[str]] = defaultdict(set)
    for kind, reason in zip(kinds, reasons, strict=True):
        known[kind].add(reason)
    found = [kind if len(known[kind]) > 1 else reason for kind, reason in zip(kinds, reasons, strict=True)]
    return [kind if len(kind) <= 80 else f"{kind[:79]}…" for kind in found]
