"""Levels: objectives on a scale on which equal steps are equal shares of the error."""

from __future__ import annotations

import math
from dataclasses import dataclass

from autotransfer.search.gain_prior import level_of

__all__ = ["Levels"]


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Turns objectives of a task into levels.

    A level is minus the logarithm of the relative error: 0 for the trivial predictor, 0.67 for half of its error.
    What a change brings is about as many levels on easy tasks as on hard ones, and whatever the metric's unit is.

    Attributes:
        perfect: The best score that the metric has; infinite where there is none.
        trivial: Score of the predictor that knows the training targets alone.
    """

    perfect: float = 1.0
    trivial: float = 0.0

    def __call__(self, objective: float) -> float:
        """Return the level of an objective."""
        if math.isinf(self.perfect):
            return (objective - self.trivial) / max(abs(self.trivial), 1.0)
        return level_of(self.error(objective))

    def error(self, objective: float) -> float:
        """Return the error of an objective relative to that of the trivial predictor."""
        if math.isinf(self.perfect):
            return math.exp(-self(objective))
        scale = self.perfect - self.trivial
        return (self.perfect - objective) / (scale if scale > 0 else 1.0)
