"""Numbers and names as a reader of the page sees them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autotransfer.tasks.score import format_score

__all__ = [
    "PLACES",
    "count_text",
    "duration_text",
    "interval_text",
    "listed",
    "metric_words",
    "score_text",
    "share_text",
    "signed_text",
]

# Decimal places of a score that is a share.
PLACES = 3
# Seconds from which on a duration is shown in minutes, and in hours.
MINUTE, HOUR = 60.0, 3600.0
# Parts of the names of scikit-learn's metrics that are no words.
CAPITALS = {"auc": "AUC", "d2": "D2", "f1": "F1", "neg": "negative", "r2": "R2", "roc": "ROC"}


def score_text(score: float | None, beside: float | None = None) -> str:
    """Return a score in three decimal places, or in digits where it is small or large; see ``format_score``."""
    if score is None or not math.isfinite(score):
        return "not defined"
    return format_score(score, beside, places=PLACES)


def signed_text(difference: float, beside: float) -> str:
    """Return a difference from a score with its sign."""
    return format_score(difference, beside, places=PLACES, sign=True)


def share_text(share: float) -> str:
    """Return a share, such as the precision of a class, in three decimal places."""
    return f"{share:.{PLACES}f}"


def metric_words(label: str, *, begins: bool = True) -> str:
    """Return the name of a metric, with its positive class if any; with a capital where it begins a sentence."""
    name, of, positive = label.partition(" of ")
    words = " ".join(CAPITALS.get(word, word) for word in name.split("_"))
    return f"{words[:1].upper() if begins else words[:1]}{words[1:]}{of}{positive}"


def interval_text(low: float, high: float, score: float) -> str:
    """Return the 95% interval of a score."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "no interval"
    return f"95% interval {score_text(low, score)} to {score_text(high, score)}"


def count_text(count: int, noun: str, plural: str = "") -> str:
    """Return a number of things: ``1 class``, ``1,200 classes``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def duration_text(seconds: float) -> str:
    """Return a duration: ``2.4 s``, ``35 s``, ``4 min 10 s``, ``2 h 5 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    return f"{whole // 3600} h" + (f" {whole % 3600 // 60} min" if whole % 3600 // 60 else "")


def listed(names: Sequence[object], limit: int) -> str:
    """Return the first names of a list, and how many more there are."""
    shown = ", ".join(map(str, names[:limit]))
    return f"{shown}, and {len(names) - limit:,} more" if len(names) > limit else shown
