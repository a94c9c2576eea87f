"""What the trials of a search say beside the winner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autotransfer.analysis.attention import Attention
from autotransfer.analysis.backbone_ranking import BackboneScore
from autotransfer.analysis.depths import DepthScore
from autotransfer.analysis.label_errors import LabelErrors
from autotransfer.analysis.selection_bias import SelectionBias
from autotransfer.analysis.transfer_gain import TransferGain
from autotransfer.analysis.worst_errors import WorstError

__all__ = ["Analysis"]


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """How far the model's score can be trusted, and which choices made it.

    Attributes:
        selection_bias: How much choosing the best of many candidates adds to the score; None without a choice.
        transfer_gain: The model against random weights in the winner's architecture; None where that was not asked for.
        backbones: The backbones by their best candidate, the best first.
        importance: Share of the differences between candidates that each choice accounts for, the largest first; None
            where there are too few trials.
        depths: The best candidate of each backbone at each freeze depth, those that train fewest stages first.
        worst_errors: What the model gets most wrong of the examples that were held out, the worst first.
        label_errors: Examples whose labels are probably wrong.
        attention: Where the model looks, in some of the worst errors and in some examples that it gets right.
    """

    selection_bias: SelectionBias | None
    transfer_gain: TransferGain | None
    backbones: tuple[BackboneScore, ...]
    importance: Mapping[str, float] | None
    depths: tuple[DepthScore, ...]
    worst_errors: tuple[WorstError, ...] = ()
    label_errors: LabelErrors = field(default_factory=LabelErrors)
    attention: tuple[Attention, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the analysis as JSON, without pictures and sounds of examples: their own ``to_json`` has those."""
        return {
            "selection_bias": self.selection_bias.to_json() if self.selection_bias else None,
            "transfer_gain": self.transfer_gain.to_json() if self.transfer_gain else None,
            "backbones": [row.to_json() for row in self.backbones],
            "importance": dict(self.importance) if self.importance else None,
            "depths": [row.to_json() for row in self.depths],
            "worst_errors": [row.to_json(previews=False) for row in self.worst_errors],
            "label_errors": self.label_errors.to_json(previews=False),
            "attention": [row.to_json(previews=False) for row in self.attention],
        }
