"""Label conflicts: copies of one image with different labels, of which at most one label is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from autotransfer.data.examples import Images, Skipped
from autotransfer.errors import DataError

__all__ = ["keep_rows", "without_label_conflicts"]


def without_label_conflicts(images: Images, names: Sequence[str], labels: Sequence[Any]) -> Images:
    """Leave out the images that have an exact copy with another label.

    Args:
        images: Decoded images; the remaining ones move up within their arrays.
        names: Name of each example, whether its image was decoded or not.
        labels: Label of each example, whether its image was decoded or not.

    Returns:
        The remaining images; ``skipped`` lists the others, each with a copy and the label of the copy.

    Raises:
        DataError: No image remains.
    """
    first: dict[str, int] = {}
    conflicting: dict[str, int] = {}
    examples = images.kept.tolist()
    for digest, i in zip(images.digests, examples, strict=True):
        if labels[first.setdefault(digest, i)] != labels[i]:
            conflicting.setdefault(digest, i)
    if not conflicting:
        return images
    skipped = list(images.skipped)
    stay = []
    for position, (digest, i) in enumerate(zip(images.digests, examples, strict=True)):
        if digest not in conflicting:
            stay.append(position)
            continue
        other = conflicting[digest] if labels[i] == labels[first[digest]] else first[digest]
        reason = f"labelled {labels[i]!r}, but its copy {names[other]} {labels[other]!r}"
        skipped.append(Skipped(name=names[i], reason=reason))
    if not stay:
        last = skipped[-1]
        raise DataError(f"No image is left: each has a copy with another label; {last.name} is {last.reason}.")
    return keep_rows(images, stay, skipped[len(images.skipped) :])


def keep_rows(images: Images, stay: Sequence[int], skipped: Sequence[Skipped]) -> Images:
    """Return the images at some positions, moved up within their arrays; ``skipped`` is added to the skipped ones."""
    for pixels in images.pixels.values():
        for to, position in enumerate(stay):
            if to != position:
                pixels[to] = pixels[position]
    return replace(
        images,
        pixels={mode: pixels[: len(stay)] for mode, pixels in images.pixels.items()},
        digests=tuple(images.digests[position] for position in stay),
        kept=images.kept[np.array(stay)],
        skipped=(*images.skipped, *skipped),
    )
