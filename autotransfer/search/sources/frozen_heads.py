"""Frozen heads: the sampler draws the settings of a head on the cached features of a backbone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from autotransfer.search.improvement import expected_improvement
from autotransfer.search.proposal import Proposal
from autotransfer.search.sources.source import FROZEN, FrozenForm, SearchState, form_of
from autotransfer.search.strategy_context import StrategyContext
from autotransfer.search.strategy_settings import StrategySettings
from autotransfer.search.trials import TrialRecord

__all__ = ["FrozenHeads"]

# Expected improvement of a standard normal variable that is expected to equal the best one.
IMPROVEMENT_OF_EQUAL = 1.0 / math.sqrt(2.0 * math.pi)


class FrozenHeads:
    """Offers a draw on each form of a backbone whose features are cached; heads take turns.

    Of n equal draws, the last is the best one with a chance of 1 / n, whatever their distribution, so that a further
    draw brings about ``scale / n``. The scale is that of the prior until the draws of this search say otherwise.

    Args:
        context: What may be proposed.
        settings: The tuned numbers.
    """

    def __init__(self, context: StrategyContext, settings: StrategySettings) -> None:
        self._context, self._settings = context, settings
        self._tries, self._draws, self._rejected = (Counter[FrozenForm]() for _ in range(3))
        self._turns = Counter[tuple[FrozenForm, str]]()
        self._failed = set[tuple[str, str]]()
        self._best = dict[FrozenForm, float]()
        self._gained, self._seconds = 0.0, 0.0
        gain, heads = context.gains.drawn("frozen_heads"), {params["head"] for params in context.screening}
        self._prior_scale = expected_improvement(gain.mean, gain.deviation) * (len(heads) + 1)

    def proposals(self, state: SearchState) -> Iterator[Proposal]:
        """Yield a draw for each form; its trial has no other parameters than the form and the head."""
        busy, scale = state.busy, self._scale
        for form in state.frozen:
            seconds = self._expected_seconds(form)
            is_exhausted = self._rejected[form] >= self._settings.max_rejected_draws
            if is_exhausted or form[0] in busy or not state.fits(seconds):
                continue
            backbone, views = form
            head = self._next_head(form)
            # A backbone that has heads of its own is seen in one view, and names its heads in another parameter.
            has_own = backbone in self._context.frozen_only
            choice = {f"head@{backbone}": head} if has_own else {"head": head, "views": views}
            yield Proposal(
                params={"backbone": backbone, "freeze": self._context.frozen_policy, **choice},
                source="frozen_heads",
                expected=self._expected(form, state),
                deviation=scale / (self._tries[form] + 1) / IMPROVEMENT_OF_EQUAL,
                seconds=seconds if self._context.is_timed else 1.0,
            )

    def observe(self, proposal: Proposal, record: TrialRecord | None) -> None:
        """Learn what a frozen candidate of any source has brought."""
        if proposal.source not in FROZEN:
            return
        form, is_drawn = form_of(proposal.params), proposal.source == "frozen_heads"
        if is_drawn:
            self._turns[form, _head(proposal.params)] += 1
        elif proposal.source == "screening" and record is not None and record.state == "failed":
            self._failed.add((form[0], _head(proposal.params)))
        if record is None:
            self._rejected[form] += is_drawn
            return
        self._rejected[form] = 0
        level = -math.inf if record.objective is None else self._context.levels(record.objective)
        before = self._best.get(form, -math.inf)
        self._best[form] = max(level, before)
        self._tries[form] += 1
        if is_drawn:
            # What the first success of a form brings over its failures is no gain over a level.
            self._gained += max(level - before, 0.0) if math.isfinite(before) else 0.0
            self._seconds += record.seconds
            self._draws[form] += 1

    def _next_head(self, form: FrozenForm) -> str:
        """Return the head that was drawn least on a form, of those that did not fail in the screening of its backbone.

        What fails there, such as a head that exhausts the memory, mostly fails in other forms, too.
        """
        backbone, heads = self._context.root(form[0]), self._context.drawn_heads(form[0])
        working = [head for head in heads if (backbone, head) not in self._failed]
        return min(working or heads, key=lambda head: self._turns[form, head])

    def _expected(self, form: FrozenForm, state: SearchState) -> float:
        """Return the best level of a form; where all of its candidates failed, that of the trivial predictor."""
        level = state.best_of(form)
        return 0.0 if math.isinf(level) else level

    @property
    def _scale(self) -> float:
        """Improvement by the first draw of a form, in levels."""
        weight = math.log1p(self._settings.draws_weight)
        draws = sum(math.log1p(count) for count in self._draws.values())
        return (weight * self._prior_scale + self._gained) / (weight + draws)

    def _expected_seconds(self, form: FrozenForm) -> float:
        """Return the mean of what draws took and of what one is predicted to take, which counts as several of them."""
        weight, predicted = self._settings.draws_weight, self._context.drawn_seconds(*form)
        return (weight * predicted + self._seconds) / (weight + self._draws.total())


def _head(params: Mapping[str, Any]) -> str:
    """Return the head that a draw has named."""
    return str(params.get("head") or params.get(f"head@{params['backbone']}"))
