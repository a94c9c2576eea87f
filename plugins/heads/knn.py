"""Nearest neighbours, weighted by cosine similarity (Wu et al. 2018; Caron et al., DINO, 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autotransfer.tasks.task import Task
from autotransfer_plugins.heads._solving import indicators, prior_shift, require_finite, without_weightless

__all__ = ["DEFAULTS", "NearestNeighbours", "build", "solve"]

DEFAULTS: Mapping[str, Any] = {"k": 10}

_TEMPERATURE = 0.07  # of the similarities, as in both papers
_SMOOTHING_VOTES = 0.1  # votes that each class gets in addition, so that logits are finite
_MAX_SIMILARITIES = 2**24  # similarities that are in memory at a time: 64 MB as float32
_KINDS = ("single", "multilabel", "regression")


class NearestNeighbours(nn.Module):
    """Maps features (N, width) to logits, or to the mean target of the neighbours.

    The training examples are buffers, which are saved with the model; loading takes their number from the state.

    Args:
        width: Number of features.
        outputs: Number of outputs.
        k: Number of neighbours.
    """

    mean: Tensor
    keys: Tensor
    values: Tensor
    log_weights: Tensor
    shift: Tensor
    kind: Tensor

    def __init__(self, width: int, outputs: int, k: int) -> None:
        super().__init__()
        self.k = k
        self._exported_kind: str | None = None
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("keys", torch.zeros(1, width, dtype=torch.float16))
        self.register_buffer("values", torch.zeros(1, outputs))
        self.register_buffer("log_weights", torch.zeros(1))  # one for all where they are equal
        self.register_buffer("shift", torch.zeros(outputs))
        self.register_buffer("kind", torch.tensor(0))

    def before_export(self) -> None:
        """Let the number of rows be free, and what the targets are be fixed."""
        self._exported_kind = _KINDS[int(self.kind)]

    def embed(self, features: Tensor) -> Tensor:
        """Centre features (N, width) and scale each row to length 1."""
        return F.normalize(features.float() - self.mean, dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """Average the targets of the ``k`` most similar training examples."""
        embedded, keys = self.embed(features), self.keys.float().T
        if (kind := self._exported_kind) is not None:
            votes = self._votes(embedded, keys)
        else:
            kind, rows = _KINDS[int(self.kind)], max(_MAX_SIMILARITIES // len(self.keys), 1)
            starts = range(0, max(len(embedded), 1), rows)
            votes = torch.cat([self._votes(embedded[start : start + rows], keys) for start in starts])
        if kind == "regression":
            return votes
        smooth = _SMOOTHING_VOTES / self.k
        if kind == "multilabel":
            return torch.log(votes + smooth) - torch.log(1 - votes + smooth) + self.shift
        return torch.log(votes + smooth) + self.shift

    def _votes(self, embedded: Tensor, keys: Tensor) -> Tensor:
        """Return the mean value (N, outputs) of the neighbours, by their similarity and their weights."""
        nearest = (embedded @ keys).topk(min(self.k, len(self.keys)), dim=1)
        own = self.log_weights.expand(len(self.keys))[nearest.indices]
        share = F.softmax(nearest.values / _TEMPERATURE + own, dim=1)
        return torch.einsum("nk,nko->no", share, self.values[nearest.indices])

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        for name in ("keys", "values", "log_weights"):
            saved, buffer = state_dict.get(prefix + name), getattr(self, name)
            if saved is not None and saved.shape[1:] == buffer.shape[1:]:
                setattr(self, name, buffer.new_zeros(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def build(shape: tuple[int, ...], outputs: int, params: Mapping[str, Any]) -> nn.Module:
    """Return an untrained head; see ``HeadSpec.build``."""
    return NearestNeighbours(shape[0], outputs, {**DEFAULTS, **params}["k"])


def solve(
    module: nn.Module,
    features: np.ndarray,
    targets: np.ndarray,
    task: Task,
    params: Mapping[str, Any],
    weights: np.ndarray | None,
    sample_weight: np.ndarray | None = None,
) -> None:
    """Store the training examples and their weights; class weights shift the logits as a change of the prior does."""
    if not isinstance(module, NearestNeighbours):
        raise TypeError(f"knn fills a NearestNeighbours module; got {type(module).__name__}")
    require_finite(features)
    features, targets, sample_weight = without_weightless(features, targets, sample_weight)
    regression = task.kind == "regression"
    kind = "regression" if regression else "single" if task.single_label else "multilabel"
    x, y = torch.from_numpy(features).float(), targets if regression else indicators(targets, task)
    logs = np.zeros(1) if sample_weight is None else np.log(sample_weight)
    module.mean.copy_(
        x.mean(0) if sample_weight is None else torch.from_numpy(sample_weight).float() @ x / sample_weight.sum()
    )
    module.log_weights = torch.as_tensor(logs, dtype=torch.float32, device=module.mean.device)
    module.keys = module.embed(x.to(module.mean.device)).half()
    module.values = torch.as_tensor(y, dtype=torch.float32, device=module.mean.device)
    module.kind.fill_(_KINDS.index(kind))
    module.shift.copy_(torch.from_numpy(prior_shift(weights, targets, task)))
