"""Fine-tuning grows from the head downwards, backbone by backbone, as long as training deeper pays.

Between two trials that may train stages come probes of frozen backbones: on cached features they cost next to nothing,
and each of them tells something.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from autotransfer.search.budget import Due
from autotransfer.search.records import Trials

__all__ = ["Growth"]

Tuning = Callable[[str, int], "dict[str, Any] | None"]

# Backbones that are tuned, best first: screening ranks them well, not perfectly.
_TUNED = 3
# Probes between two trials that may train stages.
_BETWEEN = 4
# Until there were so many probes, they get half of the time.
_PROBES = 40


class Growth:
    """Proposes the next depth to train to, and probes in between.

    Each of the best screened backbones has its last stage trained, then its last two, and so on. A backbone is left
    when training deeper brings nothing better, or no longer fits into the budget. Then the study chooses.

    Args:
        tuning: ``tuning(backbone, trained)`` returns the parameters of a trial that trains so many last stages.
        after: Number of trials of the screening, which come first.
        probe: The freeze policy of probes, which freezes all; without one, the study chooses in their place.
        timed: Whether time is what the budget counts; otherwise equal seeds have to give equal trials.
    """

    def __init__(self, tuning: Tuning, after: int, probe: str | None = None, *, timed: bool = False) -> None:
        self._tuning, self._after, self._timed = tuning, after, timed
        self._probe = None if probe is None else Due({"freeze": probe}, "sampled")
        self._left: list[str] | None = None
        self._trained, self._before = 0, -math.inf

    def __call__(self, trials: Trials) -> Due | None:
        """Return the next trial, or None to let the study choose."""
        if (position := len(trials) - self._after) < 0:
            return None
        if position % (_BETWEEN + 1) or self._hasty(trials):
            return self._probe
        if self._left is None:
            self._left = _ranking(trials)[:_TUNED]
        while self._left:
            backbone = self._left[0]
            best = _best(trials, backbone)
            if self._trained == 0 or best > self._before:
                self._trained, self._before = self._trained + 1, best
                if (params := self._tuning(backbone, self._trained)) is not None:
                    return Due(params, "grown")
            self._left.pop(0)
            self._trained, self._before = 0, -math.inf
        return None

    def _hasty(self, trials: Trials) -> bool:
        """Whether fine-tuning has taken more than its share while there is still much to learn from probes."""
        if self._probe is None or not self._timed:
            return False
        probes, seconds, policy = 0, {True: 0.0, False: 0.0}, self._probe.params["freeze"]
        for record in trials.records[self._after :]:
            is_probe = record.candidate is not None and record.candidate.freeze == policy
            probes, seconds[is_probe] = probes + is_probe, seconds[is_probe] + record.seconds
        return probes < _PROBES and seconds[False] > seconds[True]


def _best(trials: Trials, backbone: str) -> float:
    objectives = [
        record.objective
        for record in trials
        if record.candidate and record.candidate.backbone == backbone and record.objective is not None
    ]
    return max(objectives, default=-math.inf)


def _ranking(trials: Trials) -> list[str]:
    names = dict.fromkeys(record.candidate.backbone for record in trials if record.candidate)
    return sorted(names, key=lambda name: -_best(trials, name))
