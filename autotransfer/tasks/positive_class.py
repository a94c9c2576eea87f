"""Whether a metric asks which of two classes is the positive one."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from autotransfer.tasks import metrics
from autotransfer.tasks.metrics import Metric, ScorerInput

__all__ = ["uses_positive_class"]

# Differences of a score below this are rounding errors.
_SCORE_TOLERANCE = 1e-6


@lru_cache(maxsize=64)
def uses_positive_class(metric: str, scorer: Metric | None, classes: tuple[Any, ...]) -> bool:
    """Whether the score of a metric changes when the other class becomes the positive one."""
    if metrics.scorer_positive_class(scorer) is not None:
        return True
    rng = np.random.default_rng(0)
    truth = (np.arange(60) % 3 == 0).astype(np.int64)
    probabilities = np.clip(0.3 + 0.3 * truth + rng.normal(0, 0.2, len(truth)), 0.01, 0.99)
    outputs, found = np.stack([1 - probabilities, probabilities], axis=1), list[float]()
    for positive in range(len(classes)):
        case = ScorerInput(kind="binary", classes=classes, positive=positive, truth=truth, outputs=outputs)
        try:
            found.append(metrics.score(metric, case) if scorer is None else scorer(case))
        except Exception:  # ``infer_task`` refuses a metric that does not suit two classes
            return False
    return abs(found[0] - found[1]) > _SCORE_TOLERANCE
