"""What the probes of a search have shown: trials of frozen backbones, which cost next to nothing."""

from __future__ import annotations

import math

from autotransfer.search.trials import TrialRecord, Trials

__all__ = ["CHANCE", "Probes"]

# Least deviation of a score: what chance does to it.
CHANCE = 0.01
# Until there were so many probes, they get half of the time; unless the last ones brought nothing better.
_PROBES, _VAIN = 40, 12
# They have no chance where what trains stages makes so large a share fewer errors than the best of them.
_BEHIND = 0.5
# A smaller gain is none.
_GAIN = 1e-3


class Probes:
    """Judges the probes of a search.

    Args:
        policy: The freeze policy of probes, which freezes all; None where there is none.
        perfect_score: The best score that the metric has.

    Attributes:
        screened: Numbers of the trials that screened backbones.
    """

    def __init__(self, policy: str | None, perfect_score: float) -> None:
        self._policy, self._perfect_score = policy, perfect_score
        self.screened = set[int]()

    def pay(self, trials: Trials) -> bool:
        """Whether one of the last probes brought something better, or there were too few to say, but are near."""
        if self.are_behind(trials):
            return False
        best, gains = -math.inf, list[bool]()
        for record in trials:
            if self._is_probe(record) and record.number not in self.screened:
                gains.append(_objective(record) > best + _GAIN)
            best = max(best, _objective(record))
        return len(gains) < _VAIN or any(gains[-_VAIN:])

    def are_behind(self, trials: Trials) -> bool:
        """Whether what trains stages is so far ahead of all probes that these have no chance."""
        best = max(map(_objective, trials), default=-math.inf)
        probed = max(map(_objective, filter(self._is_probe, trials)), default=-math.inf)
        return best - probed > max(_BEHIND * (self._perfect_score - probed), CHANCE)

    def are_due(self, trials: Trials) -> bool:
        """Whether fine-tuning has taken more than its share of the time, with much still to learn from probes."""
        if self._policy is None:
            return False
        probes, seconds = 0, {True: 0.0, False: 0.0}
        for record in (record for record in trials if record.number not in self.screened):
            is_probe = self._is_probe(record)
            probes, seconds[is_probe] = probes + is_probe, seconds[is_probe] + record.seconds
        return probes < _PROBES and seconds[False] > seconds[True]

    def _is_probe(self, record: TrialRecord) -> bool:
        return record.candidate is not None and record.candidate.freeze == self._policy


def _objective(record: TrialRecord) -> float:
    return -math.inf if record.objective is None else record.objective
