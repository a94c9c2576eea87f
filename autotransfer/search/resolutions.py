"""Input sizes: a backbone that takes images of more than one size is searched at a smaller one, too.

Four sevenths of a side cost a third of the time. Photographs lose detail by it, so they are screened at each backbone's
own size first, then the best backbones at the smaller one. Images that are small themselves have no more detail than
the smaller size shows: they are screened there first, and at a backbone's own size where time allows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from autotransfer.contract.specs import GRID, BackboneSpec

__all__ = ["Resolutions", "offer_resolutions"]

# The smaller side, as a share of a backbone's own and rounded to what networks reduce an image by; 224 gives 128.
_SHARE = 4 / 7
# Least side of which there is a smaller one.
_LEAST = 160
# Images of so many times the smaller side are no larger than it, as far as detail goes.
_NO_DETAIL = 1.15


@dataclass(frozen=True, kw_only=True)
class Resolutions:
    """Backbones at their sizes.

    Attributes:
        backbones: All of them, at all sizes.
        first: Those that are screened first: each backbone once.
        others: By the name of one that is screened first, the name of the same backbone at its other size.
        smaller: Names of those that are screened at the smaller size first: they have seen larger images.
    """

    backbones: tuple[BackboneSpec, ...]
    first: tuple[BackboneSpec, ...]
    others: Mapping[str, str]
    smaller: frozenset[str]


def offer_resolutions(backbones: Sequence[BackboneSpec], named: Collection[str], typical: float | None) -> Resolutions:
    """Return each backbone at its own size and, where it takes one, at a smaller size.

    Args:
        backbones: The backbones, the cheapest first.
        named: Names that the user gave in full: those are searched at their own size alone.
        typical: Typical length in pixels of an image's shorter side; None for unknown.
    """
    offered, first, others, small = list(backbones), list[BackboneSpec](), dict[str, str](), set[str]()
    for spec in backbones:
        side = 0 if spec.name in named else _smaller_side(spec)
        smaller = spec.at(side)
        if smaller is None:
            first.append(spec)
            continue
        offered.append(smaller)
        chosen, other = spec, smaller
        if typical is not None and typical <= _NO_DETAIL * side:
            chosen, other = smaller, spec
            small.add(smaller.name)
        first.append(chosen)
        others[chosen.name] = other.name
    return Resolutions(backbones=tuple(offered), first=tuple(first), others=others, smaller=frozenset(small))


def _smaller_side(spec: BackboneSpec) -> int:
    """Return the smaller side; 0 where there is none."""
    if spec.size is None or len(set(spec.size)) > 1 or spec.size[0] < _LEAST:
        return 0
    return GRID * round(_SHARE * spec.size[0] / GRID)
