"""What trial records that take part in the selection are known to have."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from autotransfer.candidate import Candidate
from autotransfer.search.trials import TrialRecord

__all__ = ["candidate_of", "is_scored", "predictions_of", "rank_records"]


def candidate_of(record: TrialRecord) -> Candidate:
    """Return the candidate of a trial; each trial with a score has one."""
    assert record.candidate is not None
    return record.candidate


def predictions_of(record: TrialRecord) -> np.ndarray:
    """Return the predictions (N, outputs) of a trial, NaN for examples that it was not scored on.

    Only trials whose predictions were kept may be asked.
    """
    assert record.predictions is not None
    return record.predictions


def is_scored(record: TrialRecord) -> np.ndarray:
    """Return which examples (N,) a trial has predictions for."""
    return np.asarray(~np.isnan(predictions_of(record)).any(1))


def rank_records(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the trials that can win, those with the highest objective first."""
    standing = (record for record in records if record.can_win)
    return sorted(standing, key=lambda record: (-(record.objective or 0.0), record.number))
