"""Fine-tuning grows from the head downwards, backbone by backbone, as long as training deeper pays."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from autotransfer.search.records import Trials

__all__ = ["Growth"]

Tuning = Callable[[str, int], "dict[str, Any] | None"]

# Backbones that are tuned, best first: screening ranks them well, not perfectly.
_TUNED = 3
# Sampled trials between two that grow: those are cheap, and refine what growing found.
_BETWEEN = 4


class Growth:
    """Proposes the next depth to train to.

    Each of the best screened backbones has its last stage trained, then its last two, and so on. A backbone is left
    when training deeper brings nothing better, or no longer fits into the budget.

    Args:
        tuning: ``tuning(backbone, trained)`` returns the parameters of a trial that trains so many last stages.
        after: Number of trials of the screening, which come first.
    """

    def __init__(self, tuning: Tuning, after: int) -> None:
        self._tuning, self._next = tuning, after
        self._left: list[str] | None = None
        self._trained, self._before = 0, -math.inf

    def __call__(self, trials: Trials) -> dict[str, Any] | None:
        """Return the parameters of the next trial, or None to let the sampler choose."""
        if len(trials) < self._next:
            return None
        if self._left is None:
            self._left = _ranking(trials)[:_TUNED]
        while self._left:
            backbone = self._left[0]
            best = _best(trials, backbone)
            if self._trained == 0 or best > self._before:
                self._trained, self._before = self._trained + 1, best
                if (params := self._tuning(backbone, self._trained)) is not None:
                    self._next = len(trials) + _BETWEEN
                    return params
            self._left.pop(0)
            self._trained, self._before = 0, -math.inf
        return None


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
