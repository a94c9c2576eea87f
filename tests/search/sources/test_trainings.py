"""Trainings: how far each may go, what its epochs have shown, and when it is closed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from autotransfer.search.arm import Arm
from autotransfer.search.belief import Belief, CurveModel
from autotransfer.search.levels import Levels
from autotransfer.search.proposal import Proposal
from autotransfer.search.sources.source import SearchState
from autotransfer.search.sources.trainings import Trainings, expected_curve, reference_level, tunable_forms
from autotransfer.search.strategy import most_promising
from autotransfer.search.strategy_settings import StrategySettings
from autotransfer.search.trials import State, TrialRecord, Trials

RUNGS = (1, 3, 9)
WHOLE = np.array([[1.0, 0.8, 0.7], [0.8, 1.0, 0.9], [0.7, 0.9, 1.0]])
LEVELS = Levels()


def _curves(rungs: Sequence[int] = RUNGS) -> CurveModel:
    size = len(rungs)
    whole = WHOLE[:size, :size]
    return CurveModel(rungs=tuple(rungs), own=0.7 * whole, shared=0.3 * whole, growth=(1.0,) * size)


def _arm(name: str, *, seconds: float = 1.0, start: float = 0.0, mean: float = 0.8) -> Arm:
    means = [mean - 0.2, mean - 0.1, mean]
    return Arm(name=name, mean=means, std=[0.3] * 3, seconds=seconds, start=start, params={"backbone": name})


def _curve(final: float) -> list[float]:
    return [final * (1 - 0.5 ** (epoch + 1)) for epoch in range(RUNGS[-1])]


class Drive:
    """Carries out the proposals of trainings over known curves of accuracy."""

    def __init__(self, arms: list[Arm], curves: dict[str, list[float]], *, timed: bool = True, **more: Any) -> None:
        self.trainings = Trainings(Belief(more.pop("model", _curves())), LEVELS, is_timed=timed, **more)
        self.arms, self.curves = arms, curves
        self.trials, self.spent, self.steps = Trials(), 0.0, list[tuple[str, int | None]]()

    def offers(self, left: float = 1e6, running: Sequence[Proposal] = ()) -> list[Proposal]:
        state = SearchState.of(self.trials, left, running, LEVELS)
        begin = self.trainings.begin(self.arms, "fine_tuning", state)
        return [*begin, *self.trainings.resume("fine_tuning", state)]

    def run(self, budget: float = 1e6) -> list[tuple[str, int | None]]:
        """Carry out what is the most promising until there is nothing, or the time is over."""
        best = SearchState.of(self.trials, budget, (), LEVELS).best
        while (proposal := most_promising(self.offers(budget - self.spent), best)) is not None:
            self.see(proposal)
            best = SearchState.of(self.trials, budget, (), LEVELS).best
        return self.steps

    def see(self, proposal: Proposal) -> TrialRecord:
        """Carry out one."""
        assert proposal.arm is not None
        name, known = proposal.arm.name, None
        if proposal.resumes is not None:
            known = self.trials.records[proposal.resumes]
        whole = self.curves[name]
        scores = whole[: proposal.until or len(whole)]
        took = proposal.arm.seconds * (len(scores) - (known.epochs if known else 0))
        took += 0.0 if known else proposal.arm.start
        return self.learn(proposal, scores, took, ended=len(scores) == len(whole), known=known)

    def learn(
        self,
        proposal: Proposal,
        scores: Sequence[float],
        took: float = 1.0,
        *,
        ended: bool = False,
        state: State = "paused",
        known: TrialRecord | None = None,
    ) -> TrialRecord:
        """Learn that a training has come so far."""
        record = TrialRecord(
            number=known.number if known else len(self.trials),
            state="failed" if not scores else "complete" if ended else state,
            candidate=None,
            objective=max(scores) if scores else None,
            curve=tuple(scores),
            epochs=len(scores),
            seconds=took + (known.seconds if known else 0.0),
        )
        self.trials.add(record)
        self.trainings.observe(proposal, record)
        self.spent += took
        self.steps.append((proposal.arm.name if proposal.arm else "", proposal.until))
        return record

    def expected(self, name: str) -> float:
        """Return the expected level of an arm at its last rung."""
        return next(o.expected for o in reversed(self.offers()) if o.arm is not None and o.arm.name == name)


def _first(offers: list[Proposal]) -> str | None:
    proposal = most_promising(offers, 0.0)
    return None if proposal is None or proposal.arm is None else proposal.arm.name


def test_equal_promise_starts_with_the_cheapest() -> None:
    arms = [_arm("dear", seconds=4.0), _arm("cheap"), _arm("middling", seconds=2.0)]
    assert _first(Drive(arms, {}).offers()) == "cheap"
    late = [_arm("late", start=9.0), _arm("soon", seconds=2.0)]
    assert _first(Drive(late, {}).offers()) == "soon", "what comes before the first epoch counts"


def test_a_training_begins_with_an_epoch_and_counts_to_rungs() -> None:
    offers = Drive([_arm("a", seconds=2.0, start=5.0)], {}).offers()
    assert {offer.until for offer in offers} == {1}
    assert [offer.seconds for offer in offers] == [7.0, 11.0, 23.0]
    assert [offer.expected for offer in offers] == pytest.approx([0.6, 0.7, 0.8])


def test_poor_trainings_stay_paused_and_good_ones_go_on() -> None:
    curves = {str(i): _curve(final) for i, final in enumerate([0.1, 0.9, 0.2, 0.15, 0.3])}
    drive = Drive([_arm(name) for name in curves], curves)
    steps = drive.run(20.0)
    assert ("1", 9) in steps
    assert ("0", 9) not in steps
    assert drive.trials.best is not None
    assert drive.trials.best.objective == pytest.approx(max(curves["1"]))


def test_what_cannot_finish_an_epoch_in_time_is_not_begun() -> None:
    curves = {"a": _curve(0.4), "b": _curve(0.5), "big": _curve(0.9)}
    drive = Drive([_arm("a"), _arm("b"), _arm("big", seconds=50.0, mean=3.0)], curves)
    drive.see(drive.offers()[0])
    drive.run(10.0)
    assert "big" not in {name for name, _ in drive.steps}
    assert drive.spent <= 10.0 + RUNGS[-1] - 1


def test_the_epochs_that_fit_are_better_than_none() -> None:
    drive = Drive([_arm("a")], {"a": _curve(0.5)})
    drive.see(drive.offers()[0])
    assert {(offer.until, offer.seconds) for offer in drive.offers(left=1.0)} == {(3, 2.0)}
    assert not drive.offers(left=0.5)


def test_trainings_that_failed_or_ended_are_closed() -> None:
    drive = Drive([_arm("fails"), _arm("short"), _arm("gone")], {"fails": [], "short": [0.3]})
    drive.trainings.observe(Proposal(arm=drive.arms[2], source="fine_tuning"), None)  # not even begun
    assert sorted(drive.run(1000.0)) == [("fails", 1), ("short", 1)]
    assert drive.offers() == []


def test_a_training_that_fails_later_is_closed() -> None:
    drive = Drive([_arm("a")], {"a": _curve(0.5)})
    drive.see(drive.offers()[0])
    drive.learn(drive.offers()[0], [], known=drive.trials.records[0])
    assert drive.offers() == []


@pytest.mark.parametrize("state", ["pruned", "complete"])
def test_a_training_that_was_stopped_is_closed(state: State) -> None:
    # The study has stopped it for good, or it failed when it went on, and has kept its score.
    drive = Drive([_arm("a")], {"a": _curve(0.5)})
    drive.learn(drive.offers()[0], _curve(0.5)[:1], state=state)
    assert drive.offers() == []


def test_a_training_is_judged_at_the_rungs_that_it_reached() -> None:
    drive = Drive([_arm("a")], {"a": _curve(0.5)})
    drive.see(drive.offers()[0])
    drive.learn(drive.offers()[0], _curve(0.5)[:2], known=drive.trials.records[0], state="pruned")
    assert drive.trainings.belief.reached("a") == 1


def test_trainings_may_come_later() -> None:
    drive = Drive([_arm("a")], {"a": _curve(0.1), "new": _curve(0.5)})
    drive.see(drive.offers()[0])
    assert "a" in drive.trainings
    drive.arms.append(_arm("new"))
    assert "new" not in drive.trainings
    assert _first(drive.offers()) == "new"


def test_what_one_training_shows_moves_those_not_begun() -> None:
    good, poor = (Drive([_arm("a"), _arm("b")], {"a": _curve(final)}) for final in (0.95, 0.3))
    before = good.expected("b")
    for drive in (good, poor):
        drive.see(drive.offers()[0])
    assert poor.expected("b") < before < good.expected("b")


def test_the_level_of_a_training_does_not_fall() -> None:
    drive = Drive([_arm("a")], {"a": [0.9] + [0.2] * 8})
    drive.see(drive.offers()[0])
    assert drive.expected("a") >= LEVELS(0.9)


def test_observed_seconds_replace_the_predicted_ones() -> None:
    drive = Drive([_arm("cheap"), _arm("dear", seconds=2.0)], {})
    drive.learn(drive.offers()[0], [0.5], took=500.0)
    assert _first(drive.offers()) == "dear"
    assert {offer.seconds for offer in drive.offers() if offer.resumes == 0} == {1000.0, 4000.0}


def test_a_first_epoch_before_a_rung_says_what_it_takes_alone() -> None:
    drive = Drive([_arm("a", start=5.0)], {}, model=_curves((3, 6, 9)))
    before = drive.expected("a")
    drive.learn(drive.offers()[0], [0.1], took=45.0)
    assert drive.expected("a") == pytest.approx(before), "at the highest learning rate, scores say nothing"
    assert [offer.until for offer in drive.offers()] == [3, 3, 3]
    assert [offer.seconds for offer in drive.offers()] == [80.0, 200.0, 320.0]
    assert drive.offers(left=39.0) == []


def test_what_ran_to_its_end_at_once_is_judged_by_its_end() -> None:
    # A search by trials was broken off, and goes on by time: a poor end is no good beginning.
    drive = Drive([_arm("b")], {})
    before = drive.expected("b")
    level = 0.65  # between what is expected of its first epoch and of its end
    drive.learn(Proposal(arm=_arm("a"), source="fine_tuning"), [1 - math.exp(-level)] * RUNGS[-1], ended=True)
    assert drive.trainings.belief.reached("a") == len(RUNGS)
    assert drive.expected("b") < before


def test_a_running_training_is_neither_begun_nor_resumed() -> None:
    drive = Drive([_arm("a"), _arm("b")], {"a": _curve(0.5)})
    drive.see(drive.offers()[0])
    running = [drive.offers()[-1], drive.offers()[0]]
    assert {offer.arm.name for offer in running if offer.arm} == {"a", "b"}
    assert drive.offers(running=running) == []


def test_trainings_of_backbones_that_are_gone_stay_paused() -> None:
    drive = Drive([_arm("a")], {"a": _curve(0.5)}, knows=lambda backbone: backbone != "a")
    drive.see(drive.offers()[0])
    assert drive.offers() == []


def test_trainings_of_another_source_are_not_resumed_here() -> None:
    drive = Drive([_arm("a")], {"a": _curve(0.5)})
    drive.see(drive.offers()[0])
    assert not list(drive.trainings.resume("sampled_tuning", SearchState.of(drive.trials, 1e6, (), LEVELS)))


def test_of_trials_each_runs_to_its_end_and_costs_one() -> None:
    drive = Drive([_arm("a").at(1)], {"a": _curve(0.5)}, timed=False, model=_curves((9,)))
    (offer,) = drive.offers()
    assert (offer.until, offer.seconds) == (None, 1.0)
    drive.see(offer)
    assert drive.offers() == []


def test_a_paused_training_goes_on_where_trials_count() -> None:
    # A search by time was broken off, and goes on by trials: to end a training is not another trial.
    drive = Drive([], {"a": _curve(0.5)}, timed=False, model=_curves((9,)))
    drive.learn(Proposal(arm=_arm("a"), source="fine_tuning", params={"backbone": "a"}, until=1), [0.25])
    (offer,) = drive.offers()
    assert (offer.resumes, offer.until) == (0, None)
    assert 0.0 < offer.seconds < 0.1
    drive.see(offer)
    assert drive.offers() == []


def test_what_does_not_train_by_epochs_is_none_of_its_business() -> None:
    drive = Drive([], {})
    flat = Arm(name="flat", mean=(0.5,), std=(0.1,), seconds=1.0, is_curve=False)
    drive.trainings.observe(Proposal(arm=flat, source="screening"), None)
    drive.trainings.observe(Proposal(source="sampled"), None)
    assert "flat" not in drive.trainings


# --- what all sources of trainings share ---------------------------------------------------------------------------


def test_a_dip_shrinks_with_each_rung_and_ends() -> None:
    mean, deviation = expected_curve(StrategySettings(first_epoch_dip=1.0), RUNGS, 2.0, 0.3)
    assert mean == sorted(mean)
    assert deviation == sorted(deviation, reverse=True)
    assert 1.0 < mean[0] < mean[-1] == 2.0
    assert deviation[-1] == 0.3


def test_the_best_forms_train_each_in_its_best_views(context: Any, tried: Any) -> None:
    found = tried(context("abcd", frozen_only=("d",)))
    for name, objective, views in [("a", 0.5, 1), ("b", 0.7, 1), ("b", 0.8, 2), ("c", None, 1), ("d", 0.9, 1)]:
        found.screened(name, objective, views=views)
    forms = tunable_forms(found.context, StrategySettings(), found.state())
    assert forms == [("b", 2), ("a", 1), ("c", 1)]
    assert tunable_forms(found.context, StrategySettings(max_tuned_forms=1), found.state()) == [("b", 2)]


def test_where_none_can_be_frozen_first_forms_train(context: Any, tried: Any) -> None:
    about = {"frozen_policy": None, "backbones": ("a", "a@64px", "b"), "variants": {"a@64px": "a"}}
    found = tried(context("", **about))
    assert tunable_forms(found.context, StrategySettings(), found.state()) == [("a", 1), ("b", 1)]


def test_a_reference_is_the_best_of_a_backbone_or_expected(context: Any, tried: Any) -> None:
    found = tried(context("ab", backbone_levels={"b": 0.3}, backbone_effects={"b": {"family": 0.2}}))
    found.screened("a", 0.8)
    found.screened("b", None)
    settings = StrategySettings()
    assert reference_level(found.context, settings, "a", found.state()) == (found.context.levels(0.8), {})
    level, effects = reference_level(found.context, settings, "b", found.state())
    assert level == pytest.approx(settings.task_level + 0.3)
    assert effects == {"task": settings.task_deviation, "family": 0.2}


def test_levels_before_any_result_are_those_of_the_trivial_one(context: Any, tried: Any) -> None:
    found = tried(context("a"))
    assert found.state().best == 0.0
    assert found.state().fits(math.inf), "anything may be tried while there is no result"
    found.screened("a", 0.8)
    assert found.state().best == found.context.levels(0.8)
    assert not found.state(left=1.0).fits(2.0)
