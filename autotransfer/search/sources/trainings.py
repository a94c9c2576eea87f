"""Trainings that are paused at rungs of their learning curves, judged again, and resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from autotransfer.search.arm import Arm
from autotransfer.search.belief import Belief
from autotransfer.search.proposal import Proposal, SourceName
from autotransfer.search.sources.source import FrozenForm, SearchState, expected_level
from autotransfer.search.strategy_context import StrategyContext
from autotransfer.search.strategy_settings import StrategySettings
from autotransfer.search.trials import TrialRecord

__all__ = ["Trainings", "dips", "reference_level", "tunable_forms"]

# In trials: a paused one that goes on is no further trial.
COST_OF_RESUMING = 0.01


@dataclass
class _Begun:
    """A training that has begun.

    Attributes:
        arm: Its arm, with the seconds of an epoch that it has shown.
        source: Which part of the search proposed it.
        trial: Number of its trial.
        epochs: Epochs that are done.
        is_open: Whether it can go on.
    """

    arm: Arm
    source: SourceName
    trial: int
    epochs: int
    is_open: bool


class Trainings:
    """Knows the trainings that have begun, and offers how far each, or a new one, could go.

    Args:
        belief: What is believed of candidates.
        levels: Turns objectives into levels.
        is_timed: Whether there is a time budget. Otherwise trainings run to their end.
        knows: Whether a backbone takes part in the search.
    """

    def __init__(
        self,
        belief: Belief,
        levels: Callable[[float], float],
        *,
        is_timed: bool = True,
        knows: Callable[[str], bool] = lambda backbone: True,
    ) -> None:
        self.belief = belief
        self._levels, self._is_timed, self._knows = levels, is_timed, knows
        self._begun: dict[str, _Begun] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._begun

    def begin(self, arms: Sequence[Arm], source: SourceName, state: SearchState) -> Iterator[Proposal]:
        """Yield, for each rung that an arm can be trained to, a proposal that begins with its first epoch."""
        running = state.running_arms
        new = [arm for arm in arms if arm.name not in self._begun and arm.name not in running]
        until = 1 if self._is_timed else None  # a first epoch says what one takes
        offers = [Proposal(params=arm.params, source=source, until=until, arm=arm) for arm in new]
        yield from self._rungs(offers, [0] * len(new), state)

    def resume(self, source: SourceName, state: SearchState) -> Iterator[Proposal]:
        """Yield, for each rung that a paused training of a source can go on to, a proposal for its next rung."""
        running, rungs = state.running_arms, self.belief.curves.rungs
        offers, done = list[Proposal](), list[int]()
        for name, begun in self._begun.items():
            is_known = self._knows(str(begun.arm.params.get("backbone", "")))
            if begun.source != source or not begun.is_open or name in running or not is_known:
                continue
            until = rungs[self.belief.reached(name)] if self._is_timed else None
            arm = begun.arm
            offers.append(Proposal(params=arm.params, source=source, resumes=begun.trial, until=until, arm=arm))
            done.append(begun.epochs)
        yield from self._rungs(offers, done, state)

    def observe(self, proposal: Proposal, record: TrialRecord | None) -> None:
        """Learn how far a training came."""
        arm, rungs = proposal.arm, self.belief.curves.rungs
        if arm is None or not arm.is_curve:
            return
        arm = arm.at(len(rungs))  # a resumed search may have another kind of budget
        begun = self._begun.get(arm.name)
        if record is None or record.objective is None or not record.curve:
            if begun is not None:
                begun.is_open = False
            else:
                self._begun[arm.name] = _Begun(arm, proposal.source, -1, 0, is_open=False)
            return
        epochs = len(record.curve)
        shown = max(record.seconds - arm.start, 0.1 * record.seconds) / epochs
        arm = replace(arm, seconds=max(shown, 1e-6)) if self._is_timed else arm
        reached = self.belief.reached(arm.name)
        is_short = record.state == "paused" and epochs < rungs[min(reached, len(rungs) - 1)]
        if not is_short:
            # One that ended before its next rung has reached it; one that was not paused on the way is beyond it.
            reached = max(reached + 1, sum(rung <= epochs for rung in rungs))
            self.belief.observe(arm, min(reached, len(rungs)) - 1, self._levels(record.objective))
        goes_on = record.state in ("paused", "pruned") and (is_short or reached < len(rungs))
        self._begun[arm.name] = _Begun(arm, proposal.source, record.number, epochs, is_open=goes_on)

    def _rungs(self, offers: Sequence[Proposal], done: Sequence[int], state: SearchState) -> Iterator[Proposal]:
        """Yield each proposal once for each rung that can be reached in the seconds left, with what it expects there.

        The next rung counts as soon as one epoch can be trained.
        """
        arms = [offer.arm for offer in offers if offer.arm is not None]
        forecast, rungs = self.belief.forecast(arms), self.belief.curves.rungs
        for i, (offer, arm, epochs) in enumerate(zip(offers, arms, done, strict=True)):
            start, following = 0.0 if epochs else arm.start, self.belief.reached(arm.name)
            cost = COST_OF_RESUMING if epochs else 1.0
            for place in range(following, len(rungs)):
                seconds = start + (rungs[place] - epochs) * arm.seconds
                is_begun_in_time = place == following and state.fits(start + arm.seconds)
                if rungs[place] > epochs and (state.fits(seconds) or is_begun_in_time):
                    mean, std = float(forecast.mean[i, place]), float(forecast.std[i, place])
                    yield replace(offer, expected=mean, deviation=std, seconds=seconds if self._is_timed else cost)


def dips(settings: StrategySettings, rungs: Sequence[int]) -> list[float]:
    """Return by how many levels a training is below its end at each rung."""
    return [settings.first_epoch_dip * (1.0 - rung / rungs[-1]) ** 4 for rung in rungs]


def tunable_forms(context: StrategyContext, settings: StrategySettings, state: SearchState) -> list[FrozenForm]:
    """Return the best forms, each in the number of views that suited it; first forms where none can be frozen."""
    if context.frozen_policy is None:
        roots = dict.fromkeys(context.root(name) for name in context.backbones or ())
        return [(name, 1) for name in roots][: settings.max_tuned_forms]
    best: dict[str, FrozenForm] = {}
    for form in sorted(state.frozen, key=state.best_of, reverse=True):
        if form[0] not in context.frozen_only:
            best.setdefault(form[0], form)
    return list(best.values())[: settings.max_tuned_forms]


def reference_level(
    context: StrategyContext, settings: StrategySettings, backbone: str, state: SearchState
) -> tuple[float, dict[str, float]]:
    """Return the best level of a form of a backbone; before it has one, the expected level and the effects in it."""
    best = state.trials.best_of(backbone)
    if best is not None and best.objective is not None:
        return context.levels(best.objective), {}
    return expected_level(context, settings, backbone)
