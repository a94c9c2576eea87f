"""Trials that were not run but written down, so that their answers are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autotransfer.candidate import Candidate
from autotransfer.search.records import TrialRecord

MakeRecord = Callable[..., TrialRecord]


@pytest.fixture
def make_record() -> MakeRecord:
    """Return a function that makes a complete trial of a score; what belongs to its candidate is told apart."""

    def make(number: int, score: float | None, objective: float | None = None, **more: Any) -> TrialRecord:
        parts = {"backbone": "b", **{k: more.pop(k) for k in list(more) if k in Candidate.__dataclass_fields__}}
        objective = score if objective is None else objective
        given = {"state": "complete", "depth": 4, "candidate": Candidate(**parts), **more}
        return TrialRecord(number=number, score=score, objective=objective, **given)

    return make
