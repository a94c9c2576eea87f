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
        self._failures = Counter[tuple[str, str]]()
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
            heads = [head for head in self._context.drawn_heads(backbone) if self._works(backbone, head)]
            if not heads:
                continue
            head = min(heads, key=lambda name: self._turns[form, name])
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
        form, head, is_drawn = form_of(proposal.params), _head(proposal.params), proposal.source == "frozen_heads"
        place = self._context.root(form[0]), head
        self._turns[form, head] += is_drawn
        self._tries[form] += record is not None
        if record is None or record.state == "failed":
            self._rejected[form] += is_drawn
            if record is not None:
                # Where drawn settings failed others may work; hardly where middling ones did, in the screening.
                self._failures[place] += self._settings.max_rejected_draws if proposal.source == "screening" else 1
            return
        self._rejected[form] = self._failures[place] = 0
        level = -math.inf if record.objective is None else self._context.levels(record.objective)
        before = self._best.get(form, -math.inf)
        self._best[form] = max(level, before)
        if is_drawn:
            # What the first success of a form brings over its failures is no gain over a level.
            self._gained += max(level - before, 0.0) if math.isfinite(before) else 0.0
            self._seconds += record.seconds
            self._draws[form] += 1

    def _works(self, backbone: str, head: str) -> bool:
        """Whether a head has not only failed on a backbone, in whatever form."""
        return self._failures[self._context.root(backbone), head] < self._settings.max_rejected_draws

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
