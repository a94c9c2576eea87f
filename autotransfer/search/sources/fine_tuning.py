"""Fine-tuning: the last stages of a backbone train, from a head that was solved in closed form."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from autotransfer.search.arm import Arm
from autotransfer.search.proposal import Proposal
from autotransfer.search.sources.source import FrozenForm, SearchState, expected_level
from autotransfer.search.sources.trainings import Trainings, deviations, dips, tunable_forms
from autotransfer.search.strategy_context import StrategyContext
from autotransfer.search.strategy_settings import StrategySettings
from autotransfer.search.trials import TrialRecord

__all__ = ["FineTuning"]


class FineTuning:
    """Offers several depths of the best forms, each to the next rung of its learning curve.

    What a depth brings over the frozen candidates of its form is expected from the task's size, from the error that is
    left and from the share of stages that train. What one training brings says much of what others will.

    Args:
        context: What may be proposed.
        settings: The tuned numbers.
        trainings: The trainings that have begun.
    """

    def __init__(self, context: StrategyContext, settings: StrategySettings, trainings: Trainings) -> None:
        self._context, self._settings, self._trainings = context, settings, trainings
        self._costs: dict[tuple[str, int, int], tuple[dict[str, Any], float, float] | None] = {}

    def proposals(self, state: SearchState) -> Iterator[Proposal]:
        """Yield new depths, and paused trainings."""
        arms = [arm for form in tunable_forms(self._context, self._settings, state) for arm in self._arms(form, state)]
        yield from self._trainings.begin(arms, "fine_tuning", state)
        yield from self._trainings.resume("fine_tuning", state)

    def observe(self, proposal: Proposal, record: TrialRecord | None) -> None:
        """Learn how far a training came."""
        if proposal.source == "fine_tuning":
            self._trainings.observe(proposal, record)
            # A training shows the pace of its backbone.
            self._costs = {key: cost for key, cost in self._costs.items() if key[0] != proposal.params["backbone"]}

    def _arms(self, form: FrozenForm, state: SearchState) -> Iterator[Arm]:
        """Yield the depths of a form: the last stages one, two and three, half of them, and all."""
        stages = self._context.stages(form[0])
        for trained in sorted({1, 2, 3, stages // 2, stages} & set(range(1, stages + 1))):
            name = f"fine_tuning/{form[0]}/{trained}"
            if name not in self._trainings and (cost := self._cost(form, trained)) is not None:
                yield self._arm(name, form, trained / stages, cost, state)

    def _arm(
        self, name: str, form: FrozenForm, share: float, cost: tuple[dict[str, Any], float, float], state: SearchState
    ) -> Arm:
        context, settings, (params, start, seconds) = self._context, self._settings, cost
        root, level, effects = context.root(form[0]), state.best_of(form), dict[str, float]()
        if math.isinf(level):  # no frozen candidate says where the backbone stands
            level, effects = expected_level(context, settings, form[0])
        gain = context.gains.tuning(
            share=share,
            examples=context.examples,
            outputs=context.outputs,
            error=min(math.exp(-level), 1.0),
            distant=root in context.distant,
        )
        common, own = math.sqrt(settings.backbone_share), math.sqrt(1.0 - settings.backbone_share)
        # Depths hang together, near ones more than far ones.
        effects |= {
            "tuning": gain.task_deviation * math.sqrt(1.0 - share),
            "deep": gain.task_deviation * math.sqrt(share),
        }
        effects[f"tuning:{root}"] = common * gain.own_deviation
        rungs = context.curves.rungs
        return Arm(
            name=name,
            mean=[level + gain.mean - dip for dip in dips(settings, rungs)],
            std=deviations(settings, own * gain.own_deviation, rungs),
            effects=effects,
            seconds=seconds,
            start=start,
            params=params,
        )

    def _cost(self, form: FrozenForm, trained: int) -> tuple[dict[str, Any], float, float] | None:
        """Return the parameters of a depth, the seconds before its first epoch and of each; None where it is none."""
        key = (*form, trained)
        if key not in self._costs:
            self._costs[key] = self._predicted(form, trained)
        return self._costs[key]

    def _predicted(self, form: FrozenForm, trained: int) -> tuple[dict[str, Any], float, float] | None:
        context, (name, views) = self._context, form
        params = context.tuning(name, trained, views=views, distant=context.root(name) in context.distant)
        if params is None:
            return None
        return params, *context.epoch_seconds(params)
