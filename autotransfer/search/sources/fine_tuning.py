"""Fine-tuning: the last stages of a backbone train, from a head that was solved in closed form."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from autotransfer.search.arm import Arm
from autotransfer.search.gain_prior import error_of
from autotransfer.search.proposal import Proposal
from autotransfer.search.sources.source import FrozenForm, SearchState, expected_level
from autotransfer.search.sources.trainings import Trainings, expected_curve, tunable_forms
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

    def proposals(self, state: SearchState) -> Iterator[Proposal]:
        """Yield new depths, and paused trainings."""
        arms = [arm for form in tunable_forms(self._context, self._settings, state) for arm in self._arms(form, state)]
        yield from self._trainings.begin(arms, "fine_tuning", state)
        yield from self._trainings.resume("fine_tuning", state)

    def observe(self, proposal: Proposal, record: TrialRecord | None) -> None:
        """Learn how far a training came."""
        if proposal.source == "fine_tuning":
            self._trainings.observe(proposal, record)

    def _arms(self, form: FrozenForm, state: SearchState) -> Iterator[Arm]:
        """Yield the depths of a form: the last stages one, two and three, half of them, and all."""
        stages = self._context.stages(form[0])
        for trained in sorted({1, 2, 3, stages // 2, stages} & set(range(1, stages + 1))):
            name = f"fine_tuning/{form[0]}/{trained}"
            params = None if name in self._trainings else self._params(form, trained)
            if params is not None:
                yield self._arm(name, form, trained / stages, params, state)

    def _arm(self, name: str, form: FrozenForm, share: float, params: dict[str, Any], state: SearchState) -> Arm:
        context, settings = self._context, self._settings
        root, level, effects = context.root(form[0]), state.best_of(form), dict[str, float]()
        if math.isinf(level):  # no frozen candidate says where the backbone stands
            level, effects = expected_level(context, settings, form[0])
        gain = context.gains.tuning(
            share=share,
            examples=context.examples,
            outputs=context.outputs,
            error=min(error_of(level), 1.0),
            distant=root in context.distant,
        )
        common, own = math.sqrt(settings.backbone_share), math.sqrt(1.0 - settings.backbone_share)
        # Depths hang together, near ones more than far ones.
        effects |= {f"tuning {i}": part for i, part in enumerate(gain.parts)}
        effects[f"tuning:{root}"] = common * gain.own_deviation
        mean, std = expected_curve(settings, context.curves.rungs, level + gain.mean, own * gain.own_deviation)
        start, seconds = context.epoch_seconds(params)
        return Arm(
            name=name,
            mean=mean,
            std=std,
            effects=effects,
            seconds=seconds,
            start=start,
            params=params,
        )

    def _params(self, form: FrozenForm, trained: int) -> dict[str, Any] | None:
        """Return the parameters of a depth; None where it is none."""
        name, views = form
        distant = self._context.root(name) in self._context.distant
        return self._context.tuning(name, trained, views=views, distant=distant)
