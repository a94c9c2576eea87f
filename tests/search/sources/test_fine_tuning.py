"""Fine-tuning: depths of the best forms, and what one of them says of the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fixtures.played import trained_stages
from fixtures.searches import PlainGains

from autotransfer.search.belief import Belief
from autotransfer.search.gain_prior import TuningGain
from autotransfer.search.proposal import Proposal
from autotransfer.search.sources.fine_tuning import FineTuning
from autotransfer.search.sources.trainings import Trainings
from autotransfer.search.strategy_context import StrategyContext
from autotransfer.search.strategy_settings import StrategySettings


class Search:
    """A search whose backbones were screened."""

    def __init__(self, context: StrategyContext, tried: Callable[[StrategyContext], Any]) -> None:
        self.tried, settings = tried(context), StrategySettings()
        trainings = Trainings(Belief(context.curves), context.levels, is_timed=context.is_timed, knows=context.knows)
        self.source = FineTuning(context, settings, trainings)

    def offers(self, **state: Any) -> dict[tuple[str, int], Proposal]:
        """Return what is offered to the last rung, by backbone and number of stages that train."""
        offers = self.source.proposals(self.tried.state(**state))
        return {(offer.params["backbone"], trained_stages(offer)): offer for offer in offers}

    def train(self, backbone: str, trained: int, objective: float | None, epochs: int = 6) -> None:
        proposal = self.offers()[backbone, trained]
        state = "failed" if objective is None else "complete" if epochs == 6 else "paused"
        record = self.tried.add(proposal, objective, epochs=epochs, state=state)
        self.source.observe(proposal, record)


@pytest.fixture
def search(context: Any, tried: Any) -> Callable[..., Search]:
    def search(screened: dict[str, float | None], **changed: Any) -> Search:
        found = Search(context("abc", **changed), tried)
        for name, objective in screened.items():
            found.tried.screened(name, objective)
        return found

    return search


BOTH = {"a": 0.7, "b": 0.6}


def _deepest(backbone: str, trained: int, **more: Any) -> dict[str, Any]:
    return {"backbone": backbone, "freeze": "depth", "x": 0.4 + trained / 10}


def test_several_depths_of_each_backbone_are_offered(search: Any) -> None:
    assert set(search(BOTH).offers()) == {(name, depth) for name in "ab" for depth in (1, 2, 3)}
    deep = search({"a": 0.7}, tuning=_deepest, stages=lambda backbone: 12)
    assert [trained for _, trained in deep.offers()] == [1, 2, 3, 6, 12]
    assert [trained for _, trained in search({"a": 0.7}, tuning=_deepest, stages=lambda _: 1).offers()] == [1]


def test_without_a_result_of_screening_nothing_trains(search: Any) -> None:
    assert not search({}).offers()


def test_what_gained_raises_other_depths_and_backbones(search: Any) -> None:
    gained, harmed = search(BOTH), search(BOTH)
    before = gained.offers()
    gained.train("a", 1, 0.95)
    harmed.train("a", 1, 0.5)
    for key in (("a", 2), ("a", 3), ("b", 1), ("b", 3)):
        assert harmed.offers()[key].expected < before[key].expected < gained.offers()[key].expected


def test_what_gained_says_more_of_its_own_backbone(search: Any) -> None:
    found = search({"a": 0.7, "b": 0.7})
    found.train("a", 1, 0.95)
    offers = found.offers()
    assert offers["a", 2].expected > offers["b", 2].expected
    assert offers["a", 2].deviation < offers["b", 2].deviation


def test_near_depths_hang_together_more_than_far_ones(search: Any) -> None:
    found = search({"a": 0.7, "b": 0.7}, tuning=_deepest, stages=lambda backbone: 12)
    before = found.offers()
    found.train("a", 1, 0.95)
    after = found.offers()
    near, far = (after["b", depth].expected - before["b", depth].expected for depth in (2, 12))
    assert near > far > 0.0


def test_an_early_epoch_says_less_than_the_end(search: Any) -> None:
    def deviation(epochs: int) -> float:
        found = search({"a": 0.7})
        found.train("a", 1, 0.8, epochs=epochs)
        return float(found.offers()["a", 2].deviation)

    assert deviation(6) < deviation(1)


def test_what_paused_is_resumed_and_what_ended_is_not(search: Any) -> None:
    found = search({"a": 0.7})
    found.train("a", 1, 0.8, epochs=1)
    found.train("a", 2, 0.8, epochs=6)
    found.train("a", 3, None)
    (offer,) = found.offers().values()
    assert (offer.resumes, offer.until) == (found.tried.trials.records[1].number, 3)


def test_the_best_of_a_form_is_what_a_gain_adds_to(search: Any) -> None:
    offers = search(BOTH).offers()
    levels = [search({}).tried.context.levels(objective) for objective in BOTH.values()]
    assert [offers[name, 1].expected for name in BOTH] == pytest.approx([level + 0.8 for level in levels])


def test_a_backbone_whose_heads_failed_is_expected_as_new(search: Any) -> None:
    found = search({"a": None}, backbone_levels={"a": 0.3})
    assert found.offers()["a", 1].expected == pytest.approx(1.0 + 0.3 + 0.8)
    assert found.offers()["a", 1].deviation > search({"a": 0.7}).offers()["a", 1].deviation + 0.3


def test_the_prior_is_asked_about_depth_task_and_distance(search: Any) -> None:
    asked = list[dict[str, Any]]()

    class Asked(PlainGains):
        def tuning(self, **about: Any) -> TuningGain:
            asked.append(about)
            return super().tuning(**about)

    found = search({"a@64px": 0.75}, gains=Asked(), distant=("a",), variants={"a@64px": "a"}, examples=500, outputs=7)
    found.offers()
    assert {about["share"] for about in asked} == {0.25, 0.5, 0.75}
    error = found.tried.context.levels.error(0.75)
    assert {(a["examples"], a["outputs"], a["distant"]) for a in asked} == {(500, 7, True)}
    assert [about["error"] for about in asked] == pytest.approx([error] * len(asked))


def test_settings_and_seconds_are_those_of_form_and_distance(search: Any) -> None:
    seen = list[Any]()

    def tuning(backbone: str, trained: int, *, views: int = 1, distant: bool = False) -> dict[str, Any]:
        seen.append((backbone, trained, views, distant))
        return {"backbone": backbone, "freeze": "depth", "x": 0.4 + trained / 10, "views": views}

    found = search({}, tuning=tuning, distant=("a",), stages=lambda _: 2, seconds=lambda p, epochs: 5.0 + 2.0 * epochs)
    found.tried.screened("a", 0.7, views=2)
    offers = found.offers()
    assert seen == [("a", 1, 2, True), ("a", 2, 2, True)]
    assert offers["a", 1].params["views"] == 2
    assert offers["a", 1].seconds == pytest.approx(5.0 + 2.0 * 6)


def test_seconds_are_predicted_again_after_a_training(search: Any) -> None:
    pace = 1.0
    found = search({"a": 0.7}, seconds=lambda params, epochs: pace * epochs)
    assert found.offers()["a", 2].seconds == pytest.approx(6.0)
    pace = 3.0
    found.train("a", 1, 0.8)
    assert found.offers()["a", 2].seconds == pytest.approx(18.0)


def test_of_trials_each_depth_costs_one(search: Any) -> None:
    found = search({"a": 0.7}, timed=False)
    assert {(offer.seconds, offer.until) for offer in found.offers().values()} == {(1.0, None)}
