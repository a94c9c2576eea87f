"""Sampled tuning: draws of settings under each policy, until they are exhausted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autotransfer.search.belief import Belief
from autotransfer.search.proposal import Proposal
from autotransfer.search.sources.sampled_tuning import SampledTuning
from autotransfer.search.sources.trainings import Trainings
from autotransfer.search.strategy_context import StrategyContext
from autotransfer.search.strategy_settings import StrategySettings

SETTINGS = StrategySettings()


class Search:
    """A search whose backbones were screened."""

    def __init__(self, context: StrategyContext, tried: Callable[[StrategyContext], Any]) -> None:
        self.tried = tried(context)
        trainings = Trainings(Belief(context.curves), context.levels, is_timed=context.is_timed, knows=context.knows)
        self.source = SampledTuning(context, SETTINGS, trainings)

    def offers(self, **state: Any) -> dict[tuple[str, str], Proposal]:
        """Return the draws that are offered to the last rung, by backbone and policy."""
        offers = self.source.proposals(self.tried.state(**state))
        return {(o.params["backbone"], o.params["freeze"]): o for o in offers if o.resumes is None}

    def resumed(self) -> list[Proposal]:
        """Return what can go on."""
        return [offer for offer in self.source.proposals(self.tried.state()) if offer.resumes is not None]

    def draw(self, backbone: str, policy: str, objective: float | None, epochs: int = 6) -> Proposal:
        proposal = self.offers()[backbone, policy]
        state = "failed" if objective is None else "complete" if epochs == 6 else "paused"
        self.source.observe(proposal, self.tried.add(proposal, objective, epochs=epochs, state=state))
        return proposal


@pytest.fixture
def search(context: Any, tried: Any) -> Callable[..., Search]:
    def search(screened: dict[str, float | None], **changed: Any) -> Search:
        found = Search(context("abc", **{"tuning_policies": ("depth", "full"), **changed}), tried)
        for name, objective in screened.items():
            found.tried.screened(name, objective)
        return found

    return search


BOTH = {"a": 0.7, "b": 0.6}


def test_each_policy_is_offered_for_each_of_the_best_forms(search: Any) -> None:
    found = search(BOTH)
    found.tried.screened("b", 0.65, views=2)
    offers = found.offers()
    assert set(offers) == {(name, policy) for name in "ab" for policy in ("depth", "full")}
    assert offers["b", "full"].params == {"backbone": "b", "freeze": "full", "views": 2}, "the sampler draws the rest"


def test_draws_have_names_of_their_own_side_by_side(search: Any) -> None:
    found, running = search({"a": 0.7}), list[Proposal]()
    for _ in range(4):
        running.append(found.offers(running=running)["a", "depth"])
    assert len({offer.arm.name for offer in running if offer.arm}) == 4


def test_a_draw_beside_one_that_goes_on_has_a_name_of_its_own(search: Any) -> None:
    found = search({"a": 0.7}, tuning_policies=("depth",))
    found.draw("a", "depth", 0.6, epochs=1)
    going_on = found.resumed()[0]
    beside = found.offers(running=[going_on])["a", "depth"]
    found.source.observe(going_on, found.tried.add(going_on, 0.7, epochs=6))
    found.source.observe(beside, found.tried.add(beside, 0.7, epochs=6))
    assert found.offers()["a", "depth"].arm.name not in {going_on.arm.name, beside.arm.name}


def test_a_draw_starts_from_the_best_of_its_backbone(search: Any) -> None:
    found = search(BOTH)
    before = found.offers()["a", "depth"].expected
    better = Proposal(params={"backbone": "a", "freeze": "depth"}, source="fine_tuning")
    found.source.observe(better, found.tried.add(better, 0.9, epochs=6))
    gain = found.tried.context.levels(0.9) - found.tried.context.levels(0.7)
    assert found.offers()["a", "depth"].expected == pytest.approx(before + gain)


@pytest.mark.parametrize(("objective", "sign"), [(0.95, 1), (0.2, -1)])
def test_what_draws_brought_is_expected_of_further_ones(search: Any, objective: float, sign: int) -> None:
    found = search(BOTH)
    before = found.offers()["b", "full"].expected
    found.draw("a", "depth", objective)
    assert sign * (found.offers()["b", "full"].expected - before) > 0.05


def test_draws_that_differ_much_leave_more_doubt(search: Any) -> None:
    def spread(*objectives: float) -> float:
        found = search({"a": 0.9})
        for objective in objectives:
            found.draw("a", "depth", objective)
        return float(found.offers()["a", "depth"].deviation)

    assert spread(0.88, 0.2, 0.89, 0.1) > spread(0.85, 0.84, 0.85, 0.84)


def test_rejected_draws_close_their_place_alone(search: Any) -> None:
    found = search(BOTH)
    for _ in range(SETTINGS.max_rejected_draws):
        found.source.observe(found.offers()["a", "depth"], None)
    assert set(found.offers()) == {("a", "full"), ("b", "depth"), ("b", "full")}


def test_failed_draws_close_their_place_and_a_success_opens_it(search: Any) -> None:
    found = search({"a": 0.7})
    for _ in range(SETTINGS.max_rejected_draws - 1):
        found.draw("a", "depth", None)
    found.draw("a", "depth", 0.7)
    for _ in range(SETTINGS.max_rejected_draws):
        assert ("a", "depth") in found.offers()
        found.draw("a", "depth", None)
    assert set(found.offers()) == {("a", "full")}


def test_a_paused_draw_is_resumed_and_counted_at_its_end(search: Any) -> None:
    found = search({"a": 0.7})
    found.draw("a", "depth", 0.6, epochs=1)
    paused = found.resumed()
    assert {(offer.resumes, offer.until) for offer in paused} == {(1, 3)}
    record = found.tried.add(paused[0], 0.95, epochs=6)
    found.source.observe(paused[0], record)
    assert found.resumed() == []
    assert ("a", "depth") in found.offers()


def test_no_policy_or_nothing_screened_is_no_draw(search: Any) -> None:
    assert not search(BOTH, tuning_policies=()).offers()
    assert not search({}).offers()


@pytest.mark.parametrize(("timed", "seconds"), [(True, 4.0 + 2.0 * 6), (False, 1.0)])
def test_seconds_are_those_of_a_typical_training(search: Any, timed: bool, seconds: float) -> None:
    found = search({"a": 0.7}, timed=timed, tuned_seconds=lambda backbone: (4.0, 2.0))
    assert found.offers()["a", "depth"].seconds == pytest.approx(seconds)
