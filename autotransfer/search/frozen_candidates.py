"""Whether more frozen candidates are tried: on cached features they cost next to nothing."""

from __future__ import annotations

import math

from autotransfer.search.strategy_settings import StrategySettings
from autotransfer.search.trials import TrialRecord, Trials

__all__ = ["FrozenCandidates"]


class FrozenCandidates:
    """Judges the frozen candidates of a search.

    Args:
        policy: The freeze policy that freezes all stages; None where there is none.
        perfect_score: The best score that the metric has.
        settings: The tuned numbers.

    Attributes:
        screened: Numbers of the trials that screened backbones.
    """

    def __init__(self, policy: str | None, perfect_score: float, settings: StrategySettings) -> None:
        self._policy, self._perfect_score, self._settings = policy, perfect_score, settings
        self.screened = set[int]()

    def are_improving(self, trials: Trials) -> bool:
        """Whether one of the last frozen candidates was a new best one, or too few were tried to say."""
        if self.are_far_behind(trials):
            return False
        best, gains = -math.inf, list[bool]()
        for record in trials:
            if self._is_frozen(record) and record.number not in self.screened:
                gains.append(_objective(record) > best + self._settings.min_gain)
            best = max(best, _objective(record))
        patience = self._settings.frozen_heads_patience
        return len(gains) < patience or any(gains[-patience:])

    def are_far_behind(self, trials: Trials) -> bool:
        """Whether a fine-tuned candidate is so far ahead that no frozen one can be the best."""
        best = max(map(_objective, trials), default=-math.inf)
        frozen = max(map(_objective, filter(self._is_frozen, trials)), default=-math.inf)
        allowed = self._settings.frozen_heads_max_gap * (self._perfect_score - frozen)
        return best - frozen > max(allowed, self._settings.min_deviation)

    def are_due(self, trials: Trials) -> bool:
        """Whether few frozen candidates were tried, and fine-tuning has taken more seconds than they have."""
        if self._policy is None:
            return False
        tried, seconds = 0, {True: 0.0, False: 0.0}
        for record in (record for record in trials if record.number not in self.screened):
            is_frozen = self._is_frozen(record)
            tried, seconds[is_frozen] = tried + is_frozen, seconds[is_frozen] + record.seconds
        return tried < self._settings.min_frozen_heads and seconds[False] > seconds[True]

    def _is_frozen(self, record: TrialRecord) -> bool:
        return record.candidate is not None and record.candidate.freeze == self._policy


def _objective(record: TrialRecord) -> float:
    return -math.inf if record.objective is None else record.objective
