"""Resolutions: a backbone that takes images of more than one size is searched at a smaller one, too.

Four sevenths of a side cost a third of the time. Photographs lose detail by it, so they are screened at each backbone's
own size first, then the best backbones at the smaller one. Images that are small themselves have no more detail than
the smaller size shows: they are screened there first, and at a backbone's own size where time allows.
"""

from __future__ import annotations

from collections.abc import Sequence

from autotransfer.contract.specs import BackboneSpec
from autotransfer_plugins.modalities.image.formats import GRID, at_side, size_of

__all__ = ["resolutions"]

# The smaller side, as a share of a backbone's own and rounded to what networks reduce an image by; 224 gives 128.
_SMALLER_SIDE_SHARE = 4 / 7
# Least side in pixels of which there is a smaller one.
_LEAST_SIDE = 160
# Images of so many times the smaller side are no larger than it, as far as detail goes.
_NO_DETAIL_FACTOR = 1.15


def resolutions(backbones: Sequence[BackboneSpec], typical: float | None) -> list[tuple[BackboneSpec, ...]]:
    """Return each backbone at its own size and, where it takes one, at a smaller size; the one to try first in front.

    Args:
        backbones: The backbones.
        typical: Typical length in pixels of an image's shorter side; None for unknown.
    """
    found: list[tuple[BackboneSpec, ...]] = []
    for spec in backbones:
        side = _smaller_side(spec)
        smaller = at_side(spec, side)
        if smaller is None:
            found.append((spec,))
        elif typical is not None and typical <= _NO_DETAIL_FACTOR * side:
            found.append((smaller, spec))
        else:
            found.append((spec, smaller))
    return found


def _smaller_side(spec: BackboneSpec) -> int:
    """Return the smaller side in pixels; 0 where there is none."""
    size = size_of(spec)
    if size is None or len(set(size)) > 1 or size[0] < _LEAST_SIDE:
        return 0
    return GRID * round(_SMALLER_SIDE_SHARE * size[0] / GRID)
