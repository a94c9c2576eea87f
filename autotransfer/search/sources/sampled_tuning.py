"""Sampled tuning: the sampler draws how the stages of a backbone train, under each freeze policy."""

from __future__ import annotations

from collections.abc import Iterator

from autotransfer.search.arm import Arm
from autotransfer.search.proposal import Proposal
from autotransfer.search.sources.drawn import Drawn
from autotransfer.search.sources.source import FrozenForm, SearchState
from autotransfer.search.sources.trainings import Trainings, expected_curve, reference_level, tunable_forms
from autotransfer.search.strategy_context import StrategyContext
from autotransfer.search.strategy_settings import StrategySettings
from autotransfer.search.trials import TrialRecord

__all__ = ["SampledTuning"]


class SampledTuning:
    """Offers a draw of settings under each freeze policy that trains stages, for each of the best forms.

    Args:
        context: What may be proposed.
        settings: The tuned numbers.
        trainings: The trainings that have begun.
    """

    def __init__(self, context: StrategyContext, settings: StrategySettings, trainings: Trainings) -> None:
        self._context, self._settings, self._trainings = context, settings, trainings
        gain = context.gains.drawn("sampled_tuning")
        self._drawn = Drawn(gain, weight=settings.draws_weight, max_rejected=settings.max_rejected_draws)

    def proposals(self, state: SearchState) -> Iterator[Proposal]:
        """Yield a draw for each of the best forms and each policy, and paused trainings."""
        drawing = [one for one in state.running if one.source == "sampled_tuning" and one.resumes is None]
        count = self._drawn.count + len(drawing)
        arms = [
            self._arm(form, policy, count, state)
            for form in tunable_forms(self._context, self._settings, state)
            for policy in self._context.tuning_policies
            if not self._drawn.is_exhausted(_place(form, policy))
        ]
        yield from self._trainings.begin(arms, "sampled_tuning", state)
        yield from self._trainings.resume("sampled_tuning", state)

    def observe(self, proposal: Proposal, record: TrialRecord | None) -> None:
        """Learn what a draw has brought, once it has ended or was paused."""
        if proposal.source != "sampled_tuning" or proposal.arm is None:
            return
        self._trainings.observe(proposal, record)
        params = proposal.params
        place = _place((str(params["backbone"]), 1), str(params["freeze"]))
        self._drawn.count += proposal.resumes is None
        if record is None or record.objective is None:
            self._drawn.reject(place)
        elif record.state != "paused":
            before = proposal.arm.mean[-1] - self._drawn.gain.mean
            self._drawn.add(place, self._context.levels(record.objective) - before)

    def _arm(self, form: FrozenForm, policy: str, count: int, state: SearchState) -> Arm:
        context, (name, views) = self._context, form
        level, effects = reference_level(context, self._settings, name, state)
        gain = self._drawn.gain
        mean, std = expected_curve(self._settings, context.curves.rungs, level + gain.mean, self._drawn.spread)
        start, seconds = context.tuned_seconds(name)
        return Arm(
            name=f"sampled_tuning/{_place(form, policy)}/{count}",
            mean=mean,
            std=std,
            effects={**effects, "drawn tuning": gain.task_deviation},
            seconds=seconds,
            start=start,
            params={"backbone": name, "freeze": policy, "views": views},
        )


def _place(form: FrozenForm, policy: str) -> str:
    return f"{form[0]}/{policy}"
