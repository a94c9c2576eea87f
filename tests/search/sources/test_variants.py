"""Variants: what was screened, in its next form and in more views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autotransfer.search.belief import Belief
from autotransfer.search.proposal import Proposal
from autotransfer.search.sources.variants import Variants
from autotransfer.search.strategy_context import StrategyContext
from autotransfer.search.strategy_settings import StrategySettings

FORMS = {"a@64px": "a", "b@64px": "b", "c@64px": "c", "a@32px": "a@64px"}


class Search:
    """A search whose first forms were screened."""

    def __init__(self, context: StrategyContext, tried: Callable[[StrategyContext], Any]) -> None:
        self.tried = tried(context)
        self.source = Variants(context, StrategySettings(), Belief(context.curves))

    def offers(self, **state: Any) -> dict[tuple[str, int], Proposal]:
        """Return what is offered by form and number of views."""
        offers = self.source.proposals(self.tried.state(**state))
        return {(offer.params["backbone"], offer.params["views"]): offer for offer in offers}

    def carry_out(self, form: str, objective: float | None, views: int = 1) -> None:
        proposal = self.offers()[form, views]
        self.source.observe(proposal, self.tried.add(proposal, objective))


@pytest.fixture
def search(context: Any, tried: Any) -> Callable[..., Search]:
    def search(screened: dict[str, float | None], **changed: Any) -> Search:
        found = Search(context("abc", **{"variants": FORMS, **changed}), tried)
        for name, objective in screened.items():
            found.tried.screened(name, objective)
        return found

    return search


ALL = {"a": 0.8, "b": 0.7, "c": 0.6}


def test_forms_follow_what_was_screened_one_by_one(search: Any) -> None:
    found = search({"a": 0.8, "b": None})
    assert set(found.offers()) == {("a@64px", 1)}, "b has failed, and c was not screened"
    found.carry_out("a@64px", 0.75)
    assert set(found.offers()) == {("a@32px", 1)}


def test_a_form_is_expected_about_its_backbone(search: Any) -> None:
    offers = search(ALL).offers()
    levels = [offers[name, 1].expected for name in ("a@64px", "b@64px", "c@64px")]
    assert levels == sorted(levels, reverse=True)


@pytest.mark.parametrize(("objective", "sign"), [(0.3, -1), (0.95, 1)])
def test_what_a_form_did_to_one_backbone_is_expected_of_all(search: Any, objective: float, sign: int) -> None:
    found = search(ALL, views=(1, 2))
    before = found.offers()
    found.carry_out("a@64px", objective)
    after = found.offers()
    for name in ("b@64px", "c@64px"):
        assert sign * (after[name, 1].expected - before[name, 1].expected) > 0.3
    assert after["b", 2].expected == pytest.approx(before["b", 2].expected), "views are something else"


def test_views_rise_step_by_step_under_the_best_head(search: Any) -> None:
    screening = [{"backbone": "a", "freeze": "frozen", "head": head} for head in ("ridge", "knn")]
    found = search({"a": 0.6}, variants={}, views=(1, 2, 4), screening=screening)
    found.tried.screened("a", 0.7, head="knn")
    assert set(found.offers()) == {("a", 2)}
    assert found.offers()["a", 2].params["head"] == "knn"
    found.carry_out("a", 0.72, views=2)
    assert set(found.offers()) == {("a", 4)}


def test_a_form_keeps_the_views_that_its_backbone_has(search: Any) -> None:
    found = search({"a": 0.6}, views=(1, 2))
    found.carry_out("a", 0.7, views=2)
    assert set(found.offers()) == {("a@64px", 1), ("a@64px", 2)}


def test_views_beyond_a_limit_or_without_meaning_are_not_offered(search: Any) -> None:
    assert not search({"a": 0.6}, variants={}, views=(1, 2), admits_views=lambda name, views: False).offers()
    assert not search({"a": 0.6}, variants={}, views=(1, 2), frozen_only=("a",)).offers()


def test_without_screening_there_are_no_forms(search: Any) -> None:
    assert not search({"a": 0.6}, screening=[], views=(1, 2)).offers()


def test_what_failed_or_runs_is_not_offered_again(search: Any) -> None:
    found = search(ALL)
    running = [found.offers()["b@64px", 1]]
    found.carry_out("a@64px", None)
    assert set(found.offers(running=running)) == {("c@64px", 1)}


def test_what_does_not_fit_into_the_time_is_not_offered(search: Any) -> None:
    assert not search(ALL).offers(left=0.1)
