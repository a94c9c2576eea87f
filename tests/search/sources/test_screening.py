"""Screening: each backbone under each closed-form head, by what others have shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autotransfer.search.belief import Belief
from autotransfer.search.proposal import Proposal
from autotransfer.search.sources.screening import Screening
from autotransfer.search.strategy_context import StrategyContext
from autotransfer.search.strategy_settings import StrategySettings

HEADS = ("ridge", "knn")


class Search:
    """A search that only screens."""

    def __init__(self, context: StrategyContext, tried: Callable[[StrategyContext], Any]) -> None:
        self.context, self.tried = context, tried(context)
        self.source = Screening(context, StrategySettings(), Belief(context.curves))

    def offers(self, **state: Any) -> dict[tuple[str, str], Proposal]:
        """Return what is offered by backbone and head."""
        offers = self.source.proposals(self.tried.state(**state))
        return {(offer.params["backbone"], offer.params["head"]): offer for offer in offers}

    def carry_out(self, backbone: str, objective: float | None, head: str = "ridge") -> None:
        proposal = self.offers()[backbone, head]
        self.source.observe(proposal, self.tried.add(proposal, objective))


@pytest.fixture
def search(context: Any, tried: Any) -> Callable[..., Search]:
    def search(letters: str = "abc", **changed: Any) -> Search:
        screening = [{"backbone": name, "freeze": "frozen", "head": head} for head in HEADS for name in letters]
        return Search(context(letters, **{"screening": screening, **changed}), tried)

    return search


def test_each_backbone_is_offered_once_under_each_head(search: Any) -> None:
    found = search("ab")
    assert set(found.offers()) == {("a", "ridge"), ("b", "ridge"), ("a", "knn"), ("b", "knn")}
    found.carry_out("a", 0.6)
    found.carry_out("b", None)
    assert set(found.offers()) == {("a", "knn"), ("b", "knn")}


def test_a_good_backbone_raises_the_task_for_all_others(search: Any) -> None:
    found = search()
    before = found.offers()["b", "ridge"]
    found.carry_out("a", 0.99)
    high = found.offers()["b", "ridge"]
    assert high.expected > before.expected + 0.5
    assert high.deviation < before.deviation
    poor = search()
    poor.carry_out("a", 0.1)
    assert poor.offers()["b", "ridge"].expected < before.expected - 0.5


def test_backbones_that_share_an_effect_move_together(search: Any) -> None:
    effects = {"a": {"family": 0.5}, "b": {"family": 0.5}, "c": {"other": 0.5}}
    found = search(backbone_effects=effects)
    found.carry_out("a", 0.99)
    offers = found.offers()
    assert offers["b", "ridge"].expected > offers["c", "ridge"].expected
    assert offers["b", "ridge"].deviation < offers["c", "ridge"].deviation


def test_published_figures_order_what_was_not_tried(search: Any) -> None:
    offers = search(backbone_levels={"b": 0.4}).offers()
    assert offers["b", "ridge"].expected == pytest.approx(offers["a", "ridge"].expected + 0.4)


def test_a_further_head_starts_from_the_backbone_s_own_level(search: Any) -> None:
    found = search()
    found.carry_out("a", 0.9)
    found.carry_out("b", 0.4)
    offers = found.offers()
    assert offers["a", "knn"].expected > offers["b", "knn"].expected + 1.0
    assert offers["a", "knn"].deviation < offers["c", "knn"].deviation, "c has shown nothing"


def test_a_head_that_harmed_one_backbone_is_expected_to_harm(search: Any) -> None:
    found = search()
    for name in "abc":
        found.carry_out(name, 0.8)
    before = found.offers()["c", "knn"].expected
    found.carry_out("a", 0.5, head="knn")
    found.carry_out("b", 0.5, head="knn")
    assert found.offers()["c", "knn"].expected < before - 0.3


def test_a_backbone_that_failed_keeps_its_first_expectation(search: Any) -> None:
    found = search()
    before = found.offers()["a", "knn"].expected
    found.carry_out("a", None)
    assert found.offers()["a", "knn"].expected == pytest.approx(before)


def test_what_passes_already_is_left_alone(search: Any) -> None:
    found = search()
    running = [found.offers()["a", "ridge"]]
    assert {backbone for backbone, _ in found.offers(running=running)} == {"b", "c"}


@pytest.mark.parametrize(("timed", "seconds"), [(True, 0.5), (False, 1.0)])
def test_time_is_predicted_and_a_trial_costs_one(search: Any, timed: bool, seconds: float) -> None:
    assert {offer.seconds for offer in search(timed=timed).offers().values()} == {seconds}


def test_what_does_not_fit_is_not_offered_after_a_result(search: Any) -> None:
    found = search()
    assert found.offers(left=0.1)
    found.carry_out("a", 0.5)
    assert not found.offers(left=0.1)
    assert found.offers(left=0.5)


def test_other_sources_change_nothing(search: Any) -> None:
    found = search()
    found.source.observe(Proposal(params={"backbone": "a"}, source="frozen_heads"), None)
    found.source.observe(Proposal(params={"backbone": "a", "head": "ridge"}, source="screening"), None)
    assert len(found.offers()) == 6
