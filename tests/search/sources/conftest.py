"""What tests of sources share: trials of a search, and the state in which it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from fixtures.searches import make_context

from autotransfer.candidate import Candidate
from autotransfer.search.belief import CurveModel
from autotransfer.search.proposal import Proposal
from autotransfer.search.sources.source import SearchState
from autotransfer.search.strategy_context import StrategyContext
from autotransfer.search.trials import TrialRecord, Trials
from autotransfer.settings import Budget

Context = Callable[..., StrategyContext]
"""``context(letters, timed=True, **changed)``: the context of a search over backbones with names of a letter."""


@pytest.fixture
def context(curves: CurveModel) -> Context:
    """Return a function that makes contexts."""

    def context(letters: str = "ab", *, timed: bool = True, **changed: Any) -> StrategyContext:
        return make_context(curves, letters, Budget(seconds=100.0) if timed else Budget(trials=30), **changed)

    return context


class Tried:
    """Trials of a search, and the state in which it is."""

    def __init__(self, context: StrategyContext) -> None:
        self.context, self.trials = context, Trials()

    def add(self, proposal: Proposal, objective: float | None, *, epochs: int = 0, **more: Any) -> TrialRecord:
        """Return the record of a proposal, which is among the trials now."""
        number = len(self.trials) if proposal.resumes is None else proposal.resumes
        params = proposal.params
        candidate = Candidate(
            backbone=params["backbone"],
            head=params.get("head", "mlp"),
            head_params={"draw": number},
            training={"views": params.get("views", 1)},
        )
        about: dict[str, Any] = {"state": "failed" if objective is None else "complete", "seconds": float(epochs)}
        record = TrialRecord(
            number=number,
            candidate=candidate,
            source=proposal.source,
            objective=objective,
            epochs=epochs,
            curve=() if objective is None else (objective,) * epochs,
            **{**about, **more},
        )
        self.trials.add(record)
        return record

    def screened(self, backbone: str, objective: float | None, head: str = "ridge", views: int = 1) -> TrialRecord:
        """Add a screened backbone, which no source has observed."""
        params = {"backbone": backbone, "head": head, "views": views}
        return self.add(Proposal(params=params, source="screening"), objective)

    def state(self, left: float = math.inf, running: Sequence[Proposal] = ()) -> SearchState:
        """Return the state of the search."""
        return SearchState.of(self.trials, left, running, self.context.levels)


@pytest.fixture
def tried() -> Callable[[StrategyContext], Tried]:
    """Return a function that makes the trials of a search that has just begun."""
    return Tried
