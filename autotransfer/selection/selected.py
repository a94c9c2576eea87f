"""What becomes the model, so that every number can say what it is of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

__all__ = ["Selected"]


@dataclass(frozen=True, kw_only=True)
class Selected:
    """What becomes the model: a trial's candidate alone, an ensemble of several, or a soup of their weights.

    Attributes:
        kind: Which of them.
        trials: Numbers of the trials, the best alone first.
        predictions: Predictions (N, outputs) for examples that were held out; NaN for the others.
    """

    kind: Literal["single", "ensemble", "soup"]
    trials: tuple[int, ...]
    predictions: np.ndarray = field(compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return what it is as JSON, without the predictions."""
        return {"kind": self.kind, "trials": list(self.trials)}

    def __str__(self) -> str:
        if self.kind == "single":
            return f"trial {self.trials[0]}"
        return f"the {self.kind} of trials {', '.join(map(str, self.trials))}"
