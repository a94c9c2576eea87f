"""The score on one fold made comparable with scores on all folds."""

from __future__ import annotations

import math

__all__ = ["correct_for_fold"]

# Examples that are added to the right and to the wrong ones, so that no share is 0 or 1.
SMOOTHING_EXAMPLES = 0.5


def correct_for_fold(score: float, *, first: float, whole: float, examples: int, perfect_score: float) -> float:
    """Return the score on all folds that a score on the first fold corresponds to.

    Another candidate was scored on the first fold and on all folds. Shares are corrected in odds: on a hard fold there
    is more to gain than on others. Other scores are shifted.

    Example:
        On the first fold, the other candidate got 70% right, this candidate 80%; on all folds the other one got 90%.
        The corrected score is more than 90% and less than 100%.

    Args:
        score: The candidate's score on the first fold.
        first: The other candidate's score on the first fold.
        whole: The other candidate's score on all folds.
        examples: Number of examples of the first fold.
        perfect_score: The best score that the metric has.
    """
    if perfect_score != 1.0 or min(score, first, whole) < 0.0 or first == whole:
        return min(score + whole - first, max(perfect_score, score))
    odds = _log_odds(score, examples) + _log_odds(whole, examples) - _log_odds(first, examples)
    return 1.0 / (1.0 + math.exp(-odds))


def _log_odds(share: float, examples: int) -> float:
    right, wrong = share * examples + SMOOTHING_EXAMPLES, (1.0 - share) * examples + SMOOTHING_EXAMPLES
    return math.log(right / wrong)
