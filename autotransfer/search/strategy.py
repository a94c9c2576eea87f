"""The rule of the search: the proposal with the greatest expected improvement per second is next.

Every source offers what could be tried, each with an expected level, its deviation and its predicted seconds. Nothing
else decides an order. Where the budget is a number of trials, each of them costs one, and runs to its end.
Improvement per second over pretrained models: Quick-Tune (Pineda Arango et al., ICLR 2024).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from autotransfer.search.belief import Belief
from autotransfer.search.improvement import log_expected_improvement
from autotransfer.search.jobs import describe
from autotransfer.search.proposal import Proposal
from autotransfer.search.sources.fine_tuning import FineTuning
from autotransfer.search.sources.frozen_heads import FrozenHeads
from autotransfer.search.sources.sampled_tuning import SampledTuning
from autotransfer.search.sources.screening import Screening
from autotransfer.search.sources.source import TRAINING, SearchState, Source
from autotransfer.search.sources.trainings import Trainings
from autotransfer.search.sources.variants import Variants
from autotransfer.search.strategy_context import StrategyContext
from autotransfer.search.strategy_settings import StrategySettings
from autotransfer.search.trials import TrialRecord, Trials

__all__ = ["Strategy", "make_strategy", "most_promising"]

log = logging.getLogger("autotransfer")


class Strategy:
    """Chooses among what sources offer.

    Args:
        sources: Offer proposals.
        levels: Turns objectives into levels.
        measure_training: Times a training step of the backbone that parameters name, where that was not done; returns
            whether it was done now.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        levels: Callable[[float], float],
        measure_training: Callable[[Mapping[str, Any]], bool] = lambda params: False,
    ) -> None:
        self._sources, self._levels, self._measure_training = sources, levels, measure_training

    def next(self, trials: Trials, left: float, running: Sequence[Proposal] = ()) -> Proposal | None:
        """Return what is tried next; None where nothing is left, or what is being tried has to end first.

        Before the first training of a backbone begins, a step of it is timed; then the choice is made again.
        """
        state = SearchState.of(trials, left, running, self._levels)
        while True:
            offer = most_promising(self._offers(state), state.best)
            is_new_training = offer is not None and offer.source in TRAINING and offer.resumes is None
            if offer is None or not is_new_training or not self._measure_training(offer.params):
                return offer

    def _offers(self, state: SearchState) -> list[Proposal]:
        """Return what all sources offer; an error of a plugin costs what its source offers, unless it is alone."""
        offers, failed = list[Proposal](), None
        for source in self._sources:
            try:
                offers += source.proposals(state)
            except Exception as error:
                log.warning("%s offers nothing: %s", type(source).__name__, describe(error))
                failed = error
        if failed is not None and not offers:
            raise failed
        return offers

    def observe(self, proposal: Proposal, record: TrialRecord | None) -> None:
        """Learn what came of a proposal, now or before the search was interrupted; None: it was not carried out."""
        for source in self._sources:
            source.observe(proposal, record)


def make_strategy(context: StrategyContext, settings: StrategySettings | None = None) -> Strategy:
    """Return the strategy of a live search.

    Args:
        context: What may be proposed, and what is known of the task.
        settings: The tuned numbers; None means the defaults.
    """
    settings = settings or StrategySettings()
    belief = Belief(context.curves)
    trainings = Trainings(
        belief,
        context.levels,
        is_timed=context.is_timed,
        knows=context.knows,
        min_epochs=context.min_epochs,
        settings=settings,
    )
    sources: list[Source] = [
        Screening(context, settings, belief),
        Variants(context, settings, belief),
        FrozenHeads(context, settings),
        FineTuning(context, settings, trainings),
        SampledTuning(context, settings, trainings),
    ]
    return Strategy(sources, context.levels, context.measure_training)


def most_promising(offers: Sequence[Proposal], best: float) -> Proposal | None:
    """Return the proposal with the greatest expected improvement per second; the first of equals, None of none.

    Args:
        offers: The proposals.
        best: The best level so far.
    """
    if not offers:
        return None
    expected, deviation, seconds = (
        np.array([getattr(offer, part) for offer in offers]) for part in ("expected", "deviation", "seconds")
    )
    return offers[int((log_expected_improvement(expected - best, deviation) - np.log(seconds)).argmax())]
