"""Linear heads on counts of n-grams, weighted by TF-IDF: the baseline that pretrained backbones have to beat.

A text's count of an n-gram becomes (1 + ln count) times the n-gram's inverse document frequency over the training
texts; the words of a text and its runs of characters are each scaled to length 1 (Salton and Buckley 1988).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix, diags, issparse
from sklearn.linear_model import Ridge
from torch import Tensor, nn

from autotransfer.errors import TrialError
from autotransfer.tasks.task import Task
from autotransfer_plugins.heads._solving import one_thread, without_weightless
from autotransfer_plugins.heads.closed_form import fit_logistic

__all__ = ["DEFAULTS", "TfidfHead", "build", "solve_logistic", "solve_ridge"]

DEFAULTS: Mapping[str, Any] = {"C": 10.0, "alpha": 1.0}

# N-grams of fewer texts are left out where there are at least so many texts: they are noise, and most of all n-grams.
_MIN_DOCUMENTS, _MIN_TEXTS = 2, 100
# Most n-grams that are used, those of most texts; a model of 100 classes then has 80 MB.
_MAX_NGRAMS = 200_000
_TOLERANCE = 1e-4
_MIN_LENGTH = 1e-12


class TfidfHead(nn.Module):
    """Maps counts (N, width), sparse or dense, to outputs; the lower half of the columns is of words.

    It holds the used columns alone: loading takes their number from the state.

    Args:
        width: Number of columns.
        outputs: Number of outputs.
    """

    columns: Tensor
    idf: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("columns", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("idf", torch.zeros(1))
        self.register_buffer("weight", torch.zeros(outputs, 1))
        self.register_buffer("bias", torch.zeros(outputs))

    def forward(self, features: Tensor) -> Tensor:
        """Weight the counts, and map them to outputs (N, outputs)."""
        rows, columns, counts = _entries(features)
        place = torch.searchsorted(self.columns, columns).clamp(max=len(self.columns) - 1)
        used = (self.columns[place] == columns) & (counts > 0)
        rows, columns, place, counts = rows[used], columns[used], place[used], counts[used]
        values = (1 + counts.float().log()).clamp(min=0) * self.idf[place]
        part = 2 * rows + (columns >= self.width // 2)
        squares = torch.zeros(2 * len(features), device=values.device).index_add(0, part, values.square())
        values = values / squares.clamp(min=_MIN_LENGTH).sqrt()[part]
        size = (len(features), len(self.columns))
        weighted = torch.sparse_coo_tensor(torch.stack([rows, place]), values, size, check_invariants=False)
        outputs: Tensor = torch.sparse.mm(weighted, self.weight.T) + self.bias
        return outputs

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        count = getattr(state_dict.get(prefix + "columns"), "shape", (1,))[0]
        for name in ("columns", "idf", "weight"):
            saved, buffer = state_dict.get(prefix + name), getattr(self, name)
            if saved is not None and saved.shape == (*buffer.shape[:-1], count):
                setattr(self, name, buffer.new_zeros(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def build(shape: tuple[int, ...], outputs: int, params: Mapping[str, Any]) -> nn.Module:
    """Return an untrained head; see ``HeadSpec.build``."""
    return TfidfHead(shape[0], outputs)


def _entries(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return row, column and value of all that is not 0, of a dense tensor or a sparse one in COO format."""
    if features.layout == torch.strided:
        rows, columns = features.nonzero(as_tuple=True)
        return rows, columns, features[rows, columns]
    features = features.coalesce()
    rows, columns = features.indices()
    return rows, columns, features.values()


@one_thread
def solve_logistic(
    module: nn.Module,
    features: Any,
    targets: np.ndarray,
    task: Task,
    params: Mapping[str, Any],
    weights: np.ndarray | None,
    sample_weight: np.ndarray | None = None,
) -> None:
    """Fit a logistic regression on the weighted counts, scipy CSR (N, width); for several labels, one for each."""
    features, targets, sample_weight = without_weightless(features, targets, sample_weight)
    x, columns, idf = _weighted(features)
    strength = {**DEFAULTS, **params}["C"]
    weight, bias = fit_logistic(x, targets, task, strength, weights, sample_weight=sample_weight, tolerance=_TOLERANCE)
    _fill(module, columns, idf, weight, bias)


@one_thread
def solve_ridge(
    module: nn.Module,
    features: Any,
    targets: np.ndarray,
    task: Task,
    params: Mapping[str, Any],
    weights: np.ndarray | None,
    sample_weight: np.ndarray | None = None,
) -> None:
    """Fit a ridge regression of values on the weighted counts, scipy CSR (N, width)."""
    features, targets, sample_weight = without_weightless(features, targets, sample_weight)
    x, columns, idf = _weighted(features)
    ridge = Ridge(alpha={**DEFAULTS, **params}["alpha"], solver="sparse_cg", tol=1e-5, max_iter=1000)
    ridge.fit(x, targets.astype(np.float64), sample_weight)
    weight = ridge.coef_.reshape(targets.shape[1] if targets.ndim > 1 else 1, -1)
    _fill(module, columns, idf, weight, np.atleast_1d(ridge.intercept_))


def _weighted(features: Any) -> tuple[csr_matrix, np.ndarray, np.ndarray]:
    """Return weighted counts (N, used) as CSR, the used columns (used,) and their inverse document frequency.

    Raises:
        TrialError: No n-gram is in enough texts.
    """
    counts = csr_matrix(features, dtype=np.float32) if not issparse(features) else features.tocsr().astype(np.float32)
    counts.data[counts.data < 0] = 0
    counts.eliminate_zeros()
    texts, width = counts.shape
    documents = np.bincount(counts.indices, minlength=width)
    columns = np.flatnonzero(documents >= (_MIN_DOCUMENTS if texts >= _MIN_TEXTS else 1))
    if not len(columns):
        raise TrialError("No n-gram is in two of the texts: nothing can be learned from their words.")
    if len(columns) > _MAX_NGRAMS:
        columns = np.sort(columns[np.argsort(-documents[columns], kind="stable")[:_MAX_NGRAMS]])
    idf = (np.log((1 + texts) / (1 + documents[columns])) + 1).astype(np.float32)
    x = counts[:, columns]
    x.data = np.maximum(1 + np.log(x.data), 0).astype(np.float32)
    x = (x @ diags(idf, dtype=np.float32)).tocsr()
    halves = np.searchsorted(columns, width // 2)
    for part in (slice(0, halves), slice(halves, None)):
        _scale(x, np.arange(len(columns))[part])
    return x, columns, idf


def _scale(x: csr_matrix, columns: np.ndarray) -> None:
    """Scale a run of columns of each row to length 1, in place."""
    if not len(columns):
        return
    inside = (x.indices >= columns[0]) & (x.indices <= columns[-1])
    rows = np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))[inside]
    squares = np.bincount(rows, weights=x.data[inside].astype(np.float64) ** 2, minlength=x.shape[0])
    x.data[inside] /= np.sqrt(np.maximum(squares, _MIN_LENGTH))[rows].astype(np.float32)


def _fill(module: nn.Module, columns: np.ndarray, idf: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> None:
    if not isinstance(module, TfidfHead):
        raise TypeError(f"a solution on counts fills a TfidfHead; got {type(module).__name__}")
    where = module.bias.device
    module.columns = torch.as_tensor(columns, dtype=torch.int64, device=where)
    module.idf = torch.as_tensor(idf, dtype=torch.float32, device=where)
    module.weight = torch.as_tensor(weight, dtype=torch.float32, device=where)
    module.bias = torch.as_tensor(bias, dtype=torch.float32, device=where)
