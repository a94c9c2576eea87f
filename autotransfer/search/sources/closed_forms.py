"""Frozen candidates under closed-form heads: each is tried in one piece, and once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from autotransfer.search.arm import Arm
from autotransfer.search.belief import Belief
from autotransfer.search.proposal import Proposal, SourceName
from autotransfer.search.sources.source import SearchState
from autotransfer.search.strategy_context import StrategyContext
from autotransfer.search.strategy_settings import StrategySettings
from autotransfer.search.trials import TrialRecord

__all__ = ["ClosedForms"]


class ClosedForms:
    """What the sources of such candidates share: offers of arms, and what came of them.

    Args:
        context: What may be proposed.
        settings: The tuned numbers.
        belief: What is believed of candidates.
    """

    source: SourceName

    def __init__(self, context: StrategyContext, settings: StrategySettings, belief: Belief) -> None:
        self._context, self._settings, self._belief = context, settings, belief
        self._done = set[str]()

    def observe(self, proposal: Proposal, record: TrialRecord | None) -> None:
        """Learn the level of a candidate of this source."""
        if proposal.source != self.source or proposal.arm is None:
            return
        self._done.add(proposal.arm.name)
        if record is not None and record.objective is not None:
            self._belief.observe(proposal.arm, 0, self._context.levels(record.objective))

    def _offer(self, arms: Sequence[Arm], state: SearchState) -> Iterator[Proposal]:
        """Yield a proposal for each arm that fits into the seconds left."""
        forecast = self._belief.forecast(arms)
        for arm, mean, std in zip(arms, forecast.mean[:, -1], forecast.std[:, -1], strict=True):
            seconds = arm.start + arm.seconds
            if not state.fits(seconds):
                continue
            offer = Proposal(params=arm.params, source=self.source, arm=arm, expected=float(mean), deviation=float(std))
            yield replace(offer, seconds=seconds if self._context.is_timed else 1.0)
