"""Screening: every backbone in its first form, frozen, under closed-form heads."""

from __future__ import annotations

from collections.abc import Iterator

from autotransfer.search.arm import Arm
from autotransfer.search.proposal import Proposal
from autotransfer.search.sources.closed_forms import ClosedForms
from autotransfer.search.sources.source import SearchState, expected_level

__all__ = ["Screening"]


class Screening(ClosedForms):
    """Offers each frozen backbone under each closed-form head.

    Before anything is seen of a backbone, its level is expected from its published figures and from what others like
    it have shown; then, under a further head, from its own.

    Args:
        context: What may be proposed.
        settings: The tuned numbers.
        belief: What is believed of candidates.
    """

    source = "screening"

    def proposals(self, state: SearchState) -> Iterator[Proposal]:
        """Yield what was not screened yet."""
        tried, busy = self._done | state.running_arms, state.busy
        open_ = [p for p in self._context.screening if _name(p) not in tried and p["backbone"] not in busy]
        return self._offer([self._arm(params, state) for params in open_], state)

    def _arm(self, params: dict[str, object], state: SearchState) -> Arm:
        context, settings = self._context, self._settings
        backbone, head = str(params["backbone"]), str(params["head"])
        known, gain = state.frozen.get((backbone, 1), {}), context.gains.head(head)
        if known:
            other, level = max(known.items(), key=lambda item: item[1])
            mean, effects = level + gain.mean - context.gains.head(other).mean, dict[str, float]()
        else:
            level, effects = expected_level(context, settings, backbone)
            mean = level + gain.mean
        return Arm(
            name=_name(params),
            mean=(mean,),
            std=(max(gain.own_deviation, settings.min_deviation),),
            effects={**effects, f"head:{head}": gain.task_deviation},
            seconds=context.seconds_of(params),
            params=params,
            is_curve=False,
        )


def _name(params: dict[str, object]) -> str:
    return f"screening/{params['backbone']}/{params['head']}"
