"""Sparse features, such as counts: a CSR matrix in memory, ragged arrays in the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix, issparse
from torch import Tensor

from autotransfer.features.batches import BatchSize, Rows, in_batches
from autotransfer.features.ragged import Arrays, Ragged

__all__ = ["as_matrix", "as_tensor", "collect_sparse"]


# Rows, or positions of rows, that are computed at a time: there is next to nothing to compute.
_ROWS, _POSITIONS = 512, 2**17


def collect_sparse(features: Callable[[Rows], Tensor], n: int, lengths: np.ndarray | None) -> Arrays:
    """Compute sparse features batch by batch.

    Args:
        features: ``features(rows)`` computes a sparse tensor (rows, width).
        n: Number of rows.
        lengths: Number of positions of each row (n,); None where all take the same.

    Returns:
        The columns and the values of what is not zero of each row, as ragged arrays.
    """
    parts = []
    size = BatchSize((_ROWS if lengths is None else _POSITIONS,))
    for _, found in in_batches(features, n, size, lengths=lengths):
        coo = found.coalesce().cpu()
        (rows, columns), values = coo.indices().numpy(), coo.values().float().numpy()
        parts.append((np.bincount(rows, minlength=len(found)), columns.astype(np.int32), values))
    counts, columns, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    return Ragged(columns, offsets), Ragged(values, offsets)


def as_matrix(arrays: Arrays, width: int) -> Any:
    """Return what ``collect_sparse`` returned as a scipy CSR matrix (N, width) of float32."""
    columns, values = arrays
    assert isinstance(columns, Ragged)
    assert isinstance(values, Ragged)
    return csr_matrix((values.values, columns.values, columns.offsets), shape=(len(columns), width))


def as_tensor(features: Any) -> Tensor:
    """Return features (N, width) as a tensor; a CSR matrix as a sparse one in COO format."""
    if not issparse(features):
        return torch.from_numpy(features)
    coo = features.tocoo()
    places = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
    values = torch.from_numpy(coo.data)
    return torch.sparse_coo_tensor(places, values, coo.shape, is_coalesced=True, check_invariants=False)
