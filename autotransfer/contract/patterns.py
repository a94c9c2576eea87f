"""Selection of registered specs by names and glob patterns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from autotransfer.contract.modality import Modality
from autotransfer.contract.specs import BackboneSpec, FreezePolicySpec, HeadSpec
from autotransfer.errors import UnknownNameError

__all__ = ["match_names", "named_spec", "select_names", "without_excluded"]

S = TypeVar("S", Modality, BackboneSpec, HeadSpec, FreezePolicySpec)


def match_names(pattern: str, specs: Mapping[str, S]) -> list[S]:
    """Return the specs whose names match a glob pattern."""
    return [spec for name, spec in specs.items() if fnmatchcase(name, pattern)]


def named_spec(kind: str, name: str, specs: Mapping[str, S]) -> S:
    """Return the spec of a name.

    Raises:
        UnknownNameError: There is no such name.
    """
    if name not in specs:
        raise UnknownNameError(kind, name, specs)
    return specs[name]


def select_names(kind: str, patterns: Sequence[str], specs: Mapping[str, S]) -> list[S]:
    """Return the specs that match names or glob patterns; without patterns, all specs.

    Raises:
        UnknownNameError: A pattern matches nothing.
    """
    if not patterns:
        return list(specs.values())
    chosen: dict[str, S] = {}
    for pattern in patterns:
        found = [specs[pattern]] if pattern in specs else match_names(pattern, specs)
        if not found:
            raise UnknownNameError(kind, pattern, specs)
        chosen.update({spec.name: spec for spec in found})
    return list(chosen.values())


def without_excluded(
    chosen: Mapping[str, BackboneSpec], exclude: Iterable[str], known: Mapping[str, BackboneSpec]
) -> list[BackboneSpec]:
    """Return the chosen backbones without the excluded ones.

    Raises:
        UnknownNameError: A pattern matches no backbone at all.
    """
    remaining = dict(chosen)
    for pattern in exclude:
        if not match_names(pattern, {**known, **chosen}):
            raise UnknownNameError("backbone to leave out", pattern, {**known, **chosen})
        for spec in match_names(pattern, remaining):
            del remaining[spec.name]
    return list(remaining.values())
