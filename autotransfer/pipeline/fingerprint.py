"""A hash of what a run was started with: one that is resumed has to have the same data."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

from autotransfer.pipeline.prepare import Prepared

__all__ = ["fingerprint"]


def fingerprint(data: Prepared) -> str:
    """Return a hash of the examples, their targets and their weights, in order."""
    targets = np.ascontiguousarray(data.folds[0].targets)
    digest = blake2b(f"{data.store.fingerprint}{targets.dtype}{targets.shape}".encode(), digest_size=16)
    digest.update(targets.tobytes())
    if (weights := data.folds[0].weights) is not None:
        digest.update(weights.tobytes())
    return digest.hexdigest()
