"""Frozen heads: what a further draw brings is the less, the more were drawn, and what draws have brought."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from autotransfer.search.improvement import expected_improvement
from autotransfer.search.proposal import Proposal
from autotransfer.search.sources.frozen_heads import FrozenHeads
from autotransfer.search.strategy_context import StrategyContext
from autotransfer.search.strategy_settings import StrategySettings

SETTINGS = StrategySettings()


class Search:
    """A search whose backbones were screened."""

    def __init__(self, context: StrategyContext, tried: Callable[[StrategyContext], Any]) -> None:
        self.context, self.tried, self.source = context, tried(context), FrozenHeads(context, SETTINGS)

    def screen(self, backbone: str, objective: float | None, views: int = 1, head: str = "ridge") -> None:
        record = self.tried.screened(backbone, objective, views=views, head=head)
        params = {"backbone": backbone, "head": head, "views": views}
        self.source.observe(Proposal(params=params, source="screening"), record)

    def offers(self, **state: Any) -> dict[str, Proposal]:
        """Return what is offered by backbone."""
        return {offer.params["backbone"]: offer for offer in self.source.proposals(self.tried.state(**state))}

    def gain(self, backbone: str) -> float:
        """Return the expected improvement of a draw over the best candidate of its backbone."""
        offer, best = self.offers()[backbone], self.tried.state().best_of((backbone, 1))
        return expected_improvement(offer.expected - best, offer.deviation)

    def draw(self, backbone: str, objective: float | None, seconds: float = 0.5) -> None:
        proposal = self.offers()[backbone]
        self.source.observe(proposal, self.tried.add(proposal, objective, seconds=seconds))


@pytest.fixture
def search(context: Any, tried: Any) -> Callable[..., Search]:
    def search(screened: dict[str, float | None], **changed: Any) -> Search:
        found = Search(context("abc", **changed), tried)
        for name, objective in screened.items():
            found.screen(name, objective)
        return found

    return search


def test_each_form_that_was_screened_is_drawn_on(search: Any) -> None:
    found = search({"a": 0.8, "b": 0.7})
    found.screen("b", 0.75, views=2)
    offers = list(found.source.proposals(found.tried.state()))
    assert [(offer.params["backbone"], offer.params["views"]) for offer in offers] == [("a", 1), ("b", 1), ("b", 2)]
    assert {offer.params["freeze"] for offer in offers} == {"frozen"}
    assert {offer.params["head"] for offer in offers} == {"linear"}


def test_heads_take_turns_on_each_form(search: Any) -> None:
    found, drawn = search({"a": 0.8, "b": 0.7}, drawn_heads=lambda backbone: ("linear", "mlp")), list[str]()
    for objective in (0.5, None, 0.6):
        drawn.append(found.offers()["a"].params["head"])
        found.draw("a", objective)
    assert drawn == ["linear", "mlp", "linear"]
    assert found.offers()["b"].params["head"] == "linear"


def test_a_head_that_failed_in_the_screening_is_not_drawn(search: Any) -> None:
    found = search({"a": 0.8}, drawn_heads=lambda backbone: ("killed", "ridge"))
    found.screen("a", None, head="killed")
    found.screen("a", 0.7, views=2)
    offers = list(found.source.proposals(found.tried.state()))
    assert [(offer.params["views"], offer.params["head"]) for offer in offers] == [(1, "ridge"), (2, "ridge")]


def test_nothing_is_drawn_where_all_heads_failed(search: Any) -> None:
    assert not search({"a": None}, drawn_heads=lambda backbone: ("ridge",)).offers()


def test_a_head_that_fails_in_a_row_is_not_drawn_again(search: Any) -> None:
    found, drawn = search({"a": 0.8, "b": 0.7}, drawn_heads=lambda backbone: ("broken", "linear")), list[str]()
    for _ in range(6 * SETTINGS.max_rejected_draws):
        drawn.append(found.offers()["a"].params["head"])
        found.draw("a", None if drawn[-1] == "broken" else 0.6)
    assert drawn.count("broken") == SETTINGS.max_rejected_draws
    assert found.offers()["b"].params["head"] == "broken", "on another backbone it may work"


def test_failures_in_a_row_close_their_form(search: Any) -> None:
    found = search({"a": 0.6, "b": 0.5})
    for _ in range(SETTINGS.max_rejected_draws):
        found.draw("a", None, seconds=0.001)
    assert set(found.offers()) == {"b"}
    assert found.offers()["b"].seconds == pytest.approx(0.5), "what failed at once does not make draws cheap"


def test_a_backbone_names_heads_of_its_own_by_itself(search: Any) -> None:
    found = search({"a": 0.8}, drawn_heads=lambda backbone: ("counts",), frozen_only=("a",))
    assert found.offers()["a"].params == {"backbone": "a", "freeze": "frozen", "head@a": "counts"}


def test_better_backbones_are_expected_to_stay_better(search: Any) -> None:
    offers = search({"a": 0.8, "b": 0.7, "c": None}).offers()
    assert offers["a"].expected > offers["b"].expected > offers["c"].expected


def test_of_n_draws_without_gain_the_next_brings_a_share(search: Any) -> None:
    # The last of n equal draws is the best one with a chance of 1 / n.
    found, gains = search({"a": 0.8}), list[float]()
    for _ in range(6):
        gains.append(found.gain("a"))
        found.draw("a", 0.5)
    assert gains == sorted(gains, reverse=True)
    assert gains[-1] < gains[0] / 4


def test_draws_that_gained_promise_more(search: Any) -> None:
    gaining, vain = search({"a": 0.6, "b": 0.5}), search({"a": 0.6, "b": 0.5})
    for number in range(4):
        gaining.draw("a", 0.7 + number / 20)
        vain.draw("a", 0.5)
    assert gaining.gain("a") > 2 * vain.gain("a")
    assert gaining.gain("b") > 2 * vain.gain("b"), "the draws on one backbone say what those on others bring"


def test_failures_leave_all_numbers_finite(search: Any) -> None:
    found = search({"a": None, "b": 0.5})
    found.draw("a", None)
    found.draw("a", 0.6)
    found.draw("a", 0.7)
    for offer in found.offers().values():
        assert math.isfinite(offer.expected)
        assert 0.0 < offer.deviation < 2.0


def test_a_form_that_failed_is_no_better_than_the_trivial_one(search: Any) -> None:
    assert search({"a": None}).offers()["a"].expected == 0.0


def test_draws_rejected_in_a_row_close_their_form_alone(search: Any) -> None:
    found = search({"a": 0.6, "b": 0.5})
    for _ in range(SETTINGS.max_rejected_draws):
        found.source.observe(found.offers()["a"], None)
    assert set(found.offers()) == {"b"}
    for _ in range(SETTINGS.max_rejected_draws - 1):
        found.source.observe(found.offers()["b"], None)
    found.draw("b", 0.4)
    found.source.observe(found.offers()["b"], None)
    assert set(found.offers()) == {"b"}


def test_seconds_of_draws_replace_the_predicted_ones(search: Any) -> None:
    found = search({"a": 0.6})
    assert found.offers()["a"].seconds == pytest.approx(0.5)
    for _ in range(20):
        found.draw("a", 0.5, seconds=5.0)
    assert 4.0 < found.offers()["a"].seconds < 5.0
    assert not found.offers(left=1.0)


def test_a_draw_is_one_trial_where_these_count(search: Any) -> None:
    found = search({"a": 0.6}, timed=False)
    found.draw("a", 0.5, seconds=5.0)
    assert found.offers()["a"].seconds == 1.0


def test_features_that_are_computed_now_are_waited_for(search: Any) -> None:
    found = search({"a": 0.6, "b": 0.5})
    passing = Proposal(params={"backbone": "a", "head": "ridge"}, source="screening")
    assert set(found.offers(running=[passing])) == {"b"}
    assert set(found.offers(running=[found.offers()["a"]])) == {"a", "b"}


def test_a_backbone_with_heads_of_its_own_has_no_views(search: Any) -> None:
    assert "views" not in search({"a": 0.6}, frozen_only=("a",)).offers()["a"].params


def test_what_the_study_stopped_on_a_sample_is_not_drawn_on(search: Any) -> None:
    found = search({"a": 0.6})
    screened = Proposal(params={"backbone": "b", "head": "ridge"}, source="screening")
    found.source.observe(screened, found.tried.add(screened, 0.5, state="pruned"))
    assert set(found.offers()) == {"a"}
