"""An arm: a candidate as the belief of a search sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from autotransfer.errors import ConfigError

__all__ = ["Arm"]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A candidate before anything is seen of it.

    Attributes:
        name: Its name; unique in a search.
        mean: Expected best level by each rung of a learning curve; a single one for what does not train by epochs.
        std: Standard deviation at each rung of what the arm has of its own, positive.
        effects: Standard deviation of what the arm shares with others, by the name of the effect.
        seconds: Expected seconds of each epoch; of all where it does not train by epochs.
        start: Expected seconds before the first epoch.
        params: Parameters of its trial; the sampler draws those that are missing.
        is_curve: Whether it trains by epochs, and its scores are a learning curve.

    Raises:
        ConfigError: Means and deviations do not fit each other, or a deviation or the seconds are not positive.
    """

    name: str
    mean: Sequence[float]
    std: Sequence[float]
    effects: Mapping[str, float] = field(default_factory=dict)
    seconds: float
    start: float = 0.0
    params: Mapping[str, Any] = field(default_factory=dict)
    is_curve: bool = True

    def at(self, rungs: int) -> Arm:
        """Return the arm with what was expected of its end for all of so many rungs, where it was made for others."""
        if len(self.mean) == rungs:
            return self
        return replace(self, mean=[self.mean[-1]] * rungs, std=[self.std[-1]] * rungs)

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std) or min(self.std) <= 0 or not self.seconds > 0:
            raise ConfigError(
                f"Arm {self.name!r} needs as many means as deviations, positive deviations and positive seconds; got "
                f"{list(self.mean)}, {list(self.std)} and {self.seconds} s."
            )
