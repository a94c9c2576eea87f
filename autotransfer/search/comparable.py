"""Scores on one fold made comparable with scores on all of them."""

from __future__ import annotations

import math

__all__ = ["as_on_all"]

# Half an example more, so that no share is beyond doubt.
_SMOOTHED = 0.5


def as_on_all(score: float, *, first: float, whole: float, examples: int, perfect_score: float) -> float:
    """Return what a score on the first fold comes to on all of them, by what another candidate got on both.

    Shares are compared by their odds: on a hard fold there is more to gain than on others. Where three in ten are
    wrong by the one and two by the other, and one in ten of all by the one, less than one in ten is expected of the
    other, not none. Other scores are shifted.

    Args:
        score: Score on the first fold.
        first: The other candidate's there.
        whole: The other candidate's on all folds.
        examples: Number of examples of the first fold.
        perfect_score: The best score that the metric has.
    """
    if perfect_score != 1.0 or min(score, first, whole) < 0.0 or first == whole:
        return min(score + whole - first, max(perfect_score, score))
    odds = _log_odds(score, examples) + _log_odds(whole, examples) - _log_odds(first, examples)
    return 1.0 / (1.0 + math.exp(-odds))


def _log_odds(share: float, examples: int) -> float:
    right, wrong = share * examples + _SMOOTHED, (1.0 - share) * examples + _SMOOTHED
    return math.log(right / wrong)
