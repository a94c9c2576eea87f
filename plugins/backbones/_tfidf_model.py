"""The counts of a text's n-grams as features: a backbone without parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import Inputs
from autotransfer_plugins.modalities.text.ngrams import CHARACTER_BUCKETS, WORD_BUCKETS, NGramFormat

__all__ = ["NGramCounts", "load"]


class NGramCounts(Backbone):
    """Turns buckets and counts into a sparse row for each text, of a column for each bucket."""

    def __init__(self) -> None:
        super().__init__(
            stages=("counts",),
            preprocessing=NGramFormat(),
            width=WORD_BUCKETS + CHARACTER_BUCKETS,
            recipe={"plugin": "tfidf"},
        )

    def stage_of(self, parameter: str) -> int:
        """Return 0, the only stage."""
        return 0

    def forward_map(self, inputs: Any) -> Tensor:
        """Return the counts as sparse float32 (N, width)."""
        mask = inputs["mask"]
        places = torch.stack([mask.nonzero()[:, 0], inputs["buckets"][mask]])
        values = inputs["counts"][mask].float()
        return torch.sparse_coo_tensor(places, values, (len(mask), self.width), check_invariants=False).coalesce()

    def pool(self, features: Tensor, inputs: Inputs | None = None) -> Tensor:
        """Return the counts as they are."""
        return features


def load() -> NGramCounts:
    """Return the backbone."""
    return NGramCounts()
