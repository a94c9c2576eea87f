"""Trainings that are paused at rungs of their learning curves, judged again, and resumed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from autotransfer.search.arm import Arm
from autotransfer.search.belief import Belief
from autotransfer.search.proposal import Proposal, SourceName
from autotransfer.search.sources.source import FrozenForm, SearchState, expected_level
from autotransfer.search.strategy_context import StrategyContext
from autotransfer.search.strategy_settings import StrategySettings
from autotransfer.search.trials import TrialRecord

__all__ = ["Trainings", "expected_curve", "reference_level", "tunable_forms"]

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
        total: Epochs that it is planned to take.
        is_open: Whether it can go on.
    """

    arm: Arm
    source: SourceName
    trial: int
    epochs: int
    total: int
    is_open: bool


class Trainings:
    """Knows the trainings that have begun, and offers how far each, or a new one, could go.

    Args:
        belief: What is believed of candidates.
        levels: Turns objectives into levels.
        is_timed: Whether there is a time budget. Otherwise trainings run to their end.
        knows: Whether a backbone takes part in the search.
        min_epochs: Epochs that a training is shortened to at most: fewer tell nothing.
        settings: The tuned numbers.
    """

    def __init__(
        self,
        belief: Belief,
        levels: Callable[[float], float],
        *,
        is_timed: bool = True,
        knows: Callable[[str], bool] = lambda backbone: True,
        min_epochs: int = 1,
        settings: StrategySettings | None = None,
    ) -> None:
        self.belief = belief
        self._levels, self._is_timed, self._knows = levels, is_timed, knows
        self._min_epochs, self._settings = min_epochs, settings or StrategySettings()
        self._begun: dict[str, _Begun] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._begun

    def begin(self, arms: Sequence[Arm], source: SourceName, state: SearchState) -> Iterator[Proposal]:
        """Yield, for each rung that an arm can be trained to, a proposal that begins with its first epoch.

        How many epochs a training is planned with depends on the seconds left.
        """
        running = state.running_arms
        new = [arm for arm in arms if arm.name not in self._begun and arm.name not in running]
        totals = [self.epochs_to_plan(arm, state) for arm in new]
        planned = [(self._shortened(arm, total), total) for arm, total in zip(new, totals, strict=True) if total]
        until = 1 if self._is_timed else None  # a first epoch says what one takes
        offers = [Proposal(params=arm.params, source=source, until=until, arm=arm, epochs=n) for arm, n in planned]
        yield from self._rungs(offers, [(0, total) for _, total in planned], state)

    def resume(self, source: SourceName, state: SearchState) -> Iterator[Proposal]:
        """Yield, for each rung that a paused training of a source can go on to, a proposal for its next rung."""
        running = state.running_arms
        offers, progress = list[Proposal](), list[tuple[int, int]]()
        for name, begun in self._begun.items():
            is_known = self._knows(str(begun.arm.params.get("backbone", "")))
            if begun.source != source or not begun.is_open or name in running or not is_known:
                continue
            until = self._epochs_of_rungs(begun.total)[self.belief.reached(name)] if self._is_timed else None
            arm = begun.arm
            offer = Proposal(params=arm.params, source=source, resumes=begun.trial, until=until, arm=arm)
            offers.append(replace(offer, epochs=begun.total))
            progress.append((begun.epochs, begun.total))
        yield from self._rungs(offers, progress, state)

    def observe(self, proposal: Proposal, record: TrialRecord | None) -> None:
        """Learn how far a training came."""
        arm, places = proposal.arm, len(self.belief.curves.rungs)
        if arm is None or not arm.is_curve:
            return
        arm = arm.at(places)  # a resumed search may have another kind of budget
        begun = self._begun.get(arm.name)
        if record is None or record.objective is None or not record.curve:
            if begun is not None:
                begun.is_open = False
            else:
                self._begun[arm.name] = _Begun(arm, proposal.source, -1, 0, 0, is_open=False)
            return
        epochs, total = len(record.curve), self.epochs_planned(record)
        shown = max(record.seconds - arm.start, 0.1 * record.seconds) / epochs
        arm = replace(arm, seconds=max(shown, 1e-6)) if self._is_timed else arm
        reached = sum(rung <= epochs for rung in self._epochs_of_rungs(total))  # all where it ended as planned
        if reached > self.belief.reached(arm.name):
            self.belief.observe(arm, reached - 1, self._levels(record.objective))
        goes_on = record.state == "paused" and reached < places
        self._begun[arm.name] = _Begun(arm, proposal.source, record.number, epochs, total, is_open=goes_on)

    def epochs_planned(self, record: TrialRecord) -> int:
        """Return the epochs that a training is planned to take."""
        last = self.belief.curves.rungs[-1]
        given = None if record.candidate is None else record.candidate.training.get("epochs")
        return int(given) if given else last

    def _epochs_of_rungs(self, total: int) -> list[int]:
        """Return the epochs at the rungs of a training of so many epochs: at the same shares of it, none too early.

        Before the first rung, a network has only lost what its head was fitted to.
        """
        rungs = self.belief.curves.rungs
        return [min(max(math.ceil(total * rung / rungs[-1]), rungs[0]), total) for rung in rungs]

    def epochs_to_plan(self, arm: Arm, state: SearchState) -> int:
        """Return the epochs that a training is planned with: as many as a share of the time left allows.

        Several trainings fit in then. Fewer than those of the first rung are planned only where these do not fit, and
        fewer than the least number of epochs never: 0 says so.
        """
        first, last = self.belief.curves.rungs[0], self.belief.curves.rungs[-1]
        if not self._is_timed or state.trials.best is None:
            return last
        fitting = (state.left - arm.start) / arm.seconds
        shared = (self._settings.training_share * state.left - arm.start) / arm.seconds
        planned = int(min(max(shared, first), fitting, last))
        return planned if planned >= min(self._min_epochs, last) else 0

    def _shortened(self, arm: Arm, total: int) -> Arm:
        """Return an arm as it is with so many epochs: its learning rates fall within them, so that it loses little."""
        loss = self._settings.loss_of_half_epochs * math.log2(self.belief.curves.rungs[-1] / total)
        return replace(arm, mean=[level - loss for level in arm.mean]) if loss else arm

    def _rungs(
        self, offers: Sequence[Proposal], progress: Sequence[tuple[int, int]], state: SearchState
    ) -> Iterator[Proposal]:
        """Yield each proposal once for each rung that can be reached in the seconds left, with what it expects there.

        The next rung counts as soon as one epoch can be trained.

        Args:
            offers: Proposals of arms.
            progress: Epochs of each that are done, and those that it is planned to take.
            state: The state of the search.
        """
        arms = [offer.arm for offer in offers if offer.arm is not None]
        forecast = self.belief.forecast(arms)
        for i, (offer, arm, (done, total)) in enumerate(zip(offers, arms, progress, strict=True)):
            start, following = 0.0 if done else arm.start, self.belief.reached(arm.name)
            cost = COST_OF_RESUMING if done else 1.0
            for place, rung in enumerate(self._epochs_of_rungs(total)):
                seconds = start + (rung - done) * arm.seconds
                is_begun_in_time = place == following and state.fits(start + arm.seconds)
                if place < following or rung <= done or not (state.fits(seconds) or is_begun_in_time):
                    continue
                mean, std = float(forecast.mean[i, place]), float(forecast.std[i, place])
                yield replace(offer, expected=mean, deviation=std, seconds=seconds if self._is_timed else cost)


def expected_curve(
    settings: StrategySettings, rungs: Sequence[int], end: float, deviation: float
) -> tuple[list[float], list[float]]:
    """Return the expected level of a training at each rung, and its own deviation there.

    A training dips at first; how far is half unsure.

    Args:
        settings: The tuned numbers.
        rungs: Epochs at the rungs.
        end: Expected level at the last rung.
        deviation: Its own deviation at the last rung.
    """
    dips = [settings.first_epoch_dip * (1.0 - rung / rungs[-1]) ** 4 for rung in rungs]
    return [end - dip for dip in dips], [math.hypot(deviation, dip / 2) for dip in dips]


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
