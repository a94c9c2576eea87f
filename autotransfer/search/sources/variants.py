"""Variants: screened backbones in another form, such as another resolution or framing, and in more views."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from autotransfer.search.arm import Arm
from autotransfer.search.belief import Belief
from autotransfer.search.gain_prior import Gain
from autotransfer.search.proposal import Proposal
from autotransfer.search.sources.closed_forms import ClosedForms
from autotransfer.search.sources.source import FrozenForm, SearchState
from autotransfer.search.strategy_context import StrategyContext
from autotransfer.search.strategy_settings import StrategySettings

__all__ = ["Variants"]


class Variants(ClosedForms):
    """Offers each backbone that was screened in the next form and in the next number of views, under its best head.

    What a form brings is expected to be about the same for all backbones of a task.

    Args:
        context: What may be proposed.
        settings: The tuned numbers.
        belief: What is believed of candidates.
    """

    source = "variants"

    def __init__(self, context: StrategyContext, settings: StrategySettings, belief: Belief) -> None:
        super().__init__(context, settings, belief)
        self._following = dict[str, list[str]]()
        for form, before in context.variants.items():
            self._following.setdefault(before, []).append(form)

    def proposals(self, state: SearchState) -> Iterator[Proposal]:
        """Yield the next forms of what was screened."""
        tried, busy, arms = self._done | state.running_arms, state.busy, list[Arm]()
        for form in [form for form, levels in state.frozen.items() if levels and self._context.screening]:
            for other, effect, gain in self._next(form):
                name = f"variants/{other[0]}/{other[1]}"
                if other not in state.frozen and name not in tried and other[0] not in busy:
                    arms.append(self._arm(name, other, state, form, effect, gain))
        return self._offer(arms, state)

    def _next(self, form: FrozenForm) -> Iterator[tuple[FrozenForm, str, Gain]]:
        """Yield the forms after one, the effect that each shares with other backbones, and what it brings."""
        context, (name, views) = self._context, form
        for other in self._following.get(name, ()):
            suffix = other.removeprefix(context.root(other))
            yield (other, views), f"form:{suffix}", context.gains.form(context.kind_of_form(other))
        more = next((count for count in context.views if count > views), None)
        if more is not None and name not in context.frozen_only and context.admits_views(name, more):
            yield (name, more), f"views:{more}", context.gains.form("views")

    def _arm(self, name: str, form: FrozenForm, state: SearchState, before: FrozenForm, effect: str, gain: Gain) -> Arm:
        head, level = max(state.frozen[before].items(), key=lambda item: item[1])
        params = self._params(form, head)
        return Arm(
            name=name,
            mean=(level + gain.mean,),
            std=(max(gain.own_deviation, self._settings.min_deviation),),
            effects={effect: gain.task_deviation},
            seconds=self._context.seconds_of(params),
            params=params,
            is_curve=False,
        )

    def _params(self, form: FrozenForm, head: str) -> dict[str, Any]:
        """Return the parameters of a screening of a form: under a head that it had before, where that was screened."""
        name, views = form
        own = [p for p in self._context.screening if p["backbone"] == self._context.root(name)]
        same = [params for params in own if params["head"] == head]
        return {**(same or own)[0], "backbone": name, "views": views}
