"""The conformance checks of examples of unequal length: their masks, and backbones that do not look at padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from autotransfer.backbones.inputs import each, length_of, mask_of, rows_of, shortened
from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import InputFormat, Inputs, Store
from autotransfer.testing.rules import close, require

__all__ = ["check_lengths", "check_padding"]

_CPU = torch.device("cpu")


def check_lengths(name: str, store: Store, how: InputFormat) -> None:
    """Check the masks of inputs, in each view and augmentation, against the lengths that the store says."""
    rows, lengths, modality = slice(0, 3), store.lengths(how), store.modality
    masked = _has_mask(name, store.inputs(rows, how, _CPU))
    rule = "lengths() gives the number of positions of each example where inputs have a mask, and else None"
    require(masked == (lengths is not None), name, f"{rule}; got {lengths!r:.60}")
    if lengths is None:
        return
    good = isinstance(lengths, np.ndarray) and lengths.shape == (len(store),) and lengths.dtype.kind in "iu"
    require(good, name, f"{rule}; got {lengths!r:.60}")
    _check_probe(name, how)
    for view in modality.views:
        counts = _check_mask(name, f"the view {view!r}", store.inputs(rows, how, _CPU, view))
        require(counts == lengths[rows].tolist(), name, f"{rule}; got {lengths[rows].tolist()}, masks have {counts}")
    for strength in modality.augmentations:
        drawn = torch.Generator().manual_seed(0)
        _check_mask(name, f"the augmentation {strength!r}", store.augmented(rows, how, _CPU, strength, drawn))


def check_padding(name: str, model: Backbone, inputs: Inputs) -> None:
    """Check that positions that are not there change nothing; a backbone whose inputs have no mask has none.

    Args:
        name: The backbone in messages.
        model: The backbone, in eval mode.
        inputs: Its probe (N, ...).
    """
    if (mask := mask_of(inputs)) is None:
        return
    features = model(inputs)
    for row in range(rows_of(inputs)):
        alone = shortened(each(lambda tensor, row=row: tensor[row : row + 1], inputs), int(mask[row].sum()))  # type: ignore[misc]
        rule = "features of an example do not depend on positions that are not there"
        require(close(model(alone), features[row : row + 1]), name, rule)


def _has_mask(name: str, inputs: Inputs) -> bool:
    named = {} if isinstance(inputs, Tensor) else inputs
    has_mask = mask_of(inputs) is not None
    require(has_mask or "mask" not in named, name, "a tensor 'mask' is of truth values (rows, L)")
    return has_mask


def _check_probe(name: str, how: InputFormat) -> None:
    probe = how.probe(3)
    mask, length = mask_of(probe), length_of(probe) or 0
    good = mask is not None and length > 1 and not bool(mask.all())
    require(good, name, "probe() gives examples of unequal length with a mask: a cut is checked on them")
    _check_mask(name, "the probe", probe)


def _check_mask(name: str, where: str, inputs: Any) -> list[int]:
    """Check the mask of inputs; return how many positions of each row are there."""
    mask = mask_of(inputs)
    if mask is None:
        require(False, name, f"all inputs have a mask where some have; {where} has none")
        return []
    counts: list[int] = mask.sum(1).tolist()
    first = torch.arange(mask.shape[1]) < mask.sum(1, keepdim=True)
    require(torch.equal(mask, first), name, f"the positions that are there come first ({where})")
    require(min(counts) > 0, name, f"each example has a position or more ({where})")
    require(max(counts) == mask.shape[1], name, f"inputs are as long as the longest of their rows ({where})")
    return counts
