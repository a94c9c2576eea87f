"""Copies of one image under different labels: at most one of them is right, and nobody can tell which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from autotransfer.data.examples import Images, Skipped
from autotransfer.errors import DataError

__all__ = ["keep_rows", "without_label_conflicts"]


def without_label_conflicts(images: Images, names: Sequence[str], labels: Sequence[Any]) -> Images:
    """Leave out the images of which exact copies have another label, as a file that is listed under two labels is.

    Args:
        images: Decoded images; those that stay move up within their arrays.
        names: What to call each example, those included that were not decoded.
        labels: The label of each example, likewise.

    Returns:
        The images that stay; each that does not is listed in ``skipped`` with a copy and its label.

    Raises:
        DataError: None stays.
    """
    first: dict[str, int] = {}
    rival: dict[str, int] = {}
    examples = images.kept.tolist()
    for digest, i in zip(images.digests, examples, strict=True):
        if labels[first.setdefault(digest, i)] != labels[i]:
            rival.setdefault(digest, i)
    if not rival:
        return images
    skipped = list(images.skipped)
    stay = []
    for position, (digest, i) in enumerate(zip(images.digests, examples, strict=True)):
        if digest not in rival:
            stay.append(position)
            continue
        other = rival[digest] if labels[i] == labels[first[digest]] else first[digest]
        reason = f"labelled {labels[i]!r}, but its copy {names[other]} {labels[other]!r}"
        skipped.append(Skipped(name=names[i], reason=reason))
    if not stay:
        last = skipped[-1]
        raise DataError(f"No image is left: each has a copy with another label; {last.name} is {last.reason}.")
    return keep_rows(images, stay, skipped[len(images.skipped) :])


def keep_rows(images: Images, stay: Sequence[int], skipped: Sequence[Skipped]) -> Images:
    """Return the images at some positions, moved up within their arrays; the others are listed as left out."""
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
