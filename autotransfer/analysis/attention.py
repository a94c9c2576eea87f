"""Where a model looks: which part of an example its prediction rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotransfer.contract.preview import Preview

__all__ = ["Attention"]


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Where the model looks in one example.

    Attributes:
        row: Row of the example among those that were read.
        name: Its path, or its position.
        true: Its label; a list of labels, a number or a list of numbers; None where it is not known.
        predicted: What the model predicts for it, of the same kind.
        label: The label, or the name of the target, that the model is asked for; None for the only target.
        probability: Probability of ``label``; None for a regression.
        correct: Whether the prediction is right; None where that is not known, and for a regression.
        preview: The example with what matters marked: a heatmap over it, or words with weights.
    """

    row: int
    name: str
    true: Any = None
    predicted: Any
    label: Any = None
    probability: float | None = None
    correct: bool | None = None
    preview: Preview

    def to_json(self, *, previews: bool = True) -> dict[str, Any]:
        """Return it as JSON, with what to show of it or without."""
        about = {key: value for key, value in self.__dict__.items() if key != "preview"}
        return about | ({"preview": self.preview.to_json()} if previews else {})

    @classmethod
    def from_json(cls, about: Mapping[str, Any]) -> Attention:
        """Read what ``to_json`` returned.

        Raises:
            RunFormatError: What is shown of it is damaged.
            KeyError: Nothing is shown of it.
            TypeError: A value is missing.
        """
        return cls(**{**about, "preview": Preview.from_json(about["preview"])})
