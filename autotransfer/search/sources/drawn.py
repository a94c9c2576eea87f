"""What candidates have brought whose settings a sampler draws: their spread, and whether more can be drawn."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from autotransfer.search.gain_prior import Gain

__all__ = ["Drawn"]


@dataclass
class Drawn:
    """Candidates that were drawn so far.

    Attributes:
        gain: What they are expected to bring.
        weight: Draws that the spread of the prior counts for.
        max_rejected: Draws in a row that were not carried out or failed, after which no more are drawn in a place.
        gains: What they have brought, in levels.
        count: Number of draws, those that were not carried out included.
        rejected: Draws in a row that were not carried out or failed, by place.
    """

    gain: Gain
    weight: float
    max_rejected: int
    gains: list[float] = field(default_factory=list)
    count: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    @property
    def spread(self) -> float:
        """Standard deviation of what a draw brings: that of the prior, until the draws say otherwise."""
        centre = (self.weight * self.gain.mean + sum(self.gains)) / (self.weight + len(self.gains))
        squares = sum((gain - centre) ** 2 for gain in self.gains)
        total = self.weight * self.gain.own_deviation**2 + squares
        return math.sqrt(total / (self.weight + len(self.gains)))

    def is_exhausted(self, place: str) -> bool:
        """Whether the last draws in a place all failed, were tried before, or did not fit into the budget."""
        return self.rejected[place] >= self.max_rejected

    def reject(self, place: str) -> None:
        """Count a draw that was not carried out, or failed."""
        self.rejected[place] += 1

    def add(self, place: str, gain: float) -> None:
        """Count a draw that was carried out."""
        self.rejected[place] = 0
        self.gains.append(gain)
