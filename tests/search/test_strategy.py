"""The strategy: what is tried, and what becomes of the time, whatever the order in between."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import pytest
from fixtures.played import EPOCHS, Played, trained_stages
from fixtures.searches import PlainGains, make_context

from autotransfer.search.belief import CurveModel
from autotransfer.search.gain_prior import Gain
from autotransfer.search.levels import Levels
from autotransfer.search.proposal import Proposal
from autotransfer.search.strategy import make_strategy, most_promising
from autotransfer.settings import Budget

TIMED, COUNTED = Budget(seconds=100.0), Budget(trials=30)
BOTH = pytest.mark.parametrize("budget", [TIMED, COUNTED], ids=["timed", "counted"])
TUNING = ("fine_tuning", "sampled_tuning")
Play = Callable[..., Played]


@pytest.fixture
def play(curves: CurveModel) -> Play:
    """Return a function that makes a search over backbones with names of a letter."""

    def play(letters: str, budget: Budget, score: Any = None, *, limit: float = math.inf, **changed: Any) -> Played:
        context = make_context(curves, letters, budget, **changed)
        return Played(make_strategy(context), score or _score, limit)

    return play


def _score(proposal: Proposal, epochs: int) -> float | None:
    """Return an accuracy: ``a`` is the best backbone, fine-tuning gains, and what is drawn does not."""
    base = {"a": 0.6, "b": 0.5}.get(proposal.params["backbone"][0], 0.4)
    if proposal.source == "fine_tuning":
        return base + 0.03 * trained_stages(proposal) + 0.02 * epochs
    return base - (0.05 if proposal.source in ("frozen_heads", "sampled_tuning") else 0.0)


# --- the rule ------------------------------------------------------------------------------------------------------


def _offer(expected: float, deviation: float = 0.2, seconds: float = 1.0) -> Proposal:
    return Proposal(expected=expected, deviation=deviation, seconds=seconds)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        pytest.param(_offer(1.0), _offer(0.9), id="higher"),
        pytest.param(_offer(1.0), _offer(1.0, seconds=3.0), id="cheaper"),
        pytest.param(_offer(0.5, 0.4), _offer(0.5, 0.1), id="less certain"),
        pytest.param(_offer(1.0), _offer(1.2, seconds=20.0), id="so much cheaper"),
        pytest.param(_offer(-40.0), _offer(-50.0), id="both hopeless"),
    ],
)
def test_the_greatest_improvement_per_second_is_next(better: Proposal, worse: Proposal) -> None:
    assert most_promising([worse, better], best=1.0) is better
    assert most_promising([better, worse], best=1.0) is better


def test_the_first_of_equals_is_next_and_of_none_there_is_none() -> None:
    first, second = _offer(1.0), _offer(1.0)
    assert most_promising([first, second], best=0.5) is first
    assert most_promising([], best=0.5) is None


# --- what is tried -------------------------------------------------------------------------------------------------


def test_a_step_is_timed_before_the_first_training_of_a_backbone(play: Play) -> None:
    shown, measured = {"a": 1.0, "b": 1.0}, list[str]()

    def measure(params: Mapping[str, Any]) -> bool:
        backbone = params["backbone"]
        if backbone in measured:
            return False
        measured.append(backbone)
        shown[backbone] = 500.0 if backbone == "a" else 1.0
        return True

    def seconds(params: dict[str, Any], epochs: int) -> float:
        return 0.5 + shown[params["backbone"]] * epochs

    played = play("ab", TIMED, seconds=seconds, measure_training=measure, limit=100.0).run()
    trained = {p.params["backbone"] for p, _ in played.steps if p.source == "fine_tuning"}
    assert trained == {"b"}, "the steps of the better backbone would take 500 seconds"
    assert set(measured) == {"a", "b"}


def test_cheap_good_backbones_come_before_dear_poor_ones(play: Play) -> None:
    def seconds(params: dict[str, Any], epochs: int) -> float:
        return (10.0 if params["backbone"] == "a" else 0.5) + 5.0 * epochs

    played = play("abc", TIMED, lambda *args: 0.75, seconds=seconds, backbone_levels={"c": 0.2})
    played.run(20)
    assert [proposal.params["backbone"] for proposal in played.of("screening")][:2] == ["c", "b"]
    assert played.sources()[:2] == ["screening"] * 2


def test_a_hopeless_backbone_does_not_cost_its_pass(play: Play) -> None:
    def seconds(params: dict[str, Any], epochs: int) -> float:
        return (60.0 if params["backbone"] == "b" else 0.5) + epochs

    played = play("ab", TIMED, limit=60.0, seconds=seconds, backbone_levels={"b": -3.0}).run()
    assert {proposal.params["backbone"] for proposal, _ in played.steps} == {"a"}


@BOTH
def test_what_gains_is_tried_to_its_end(play: Play, budget: Budget) -> None:
    played = play("abc", budget, limit=60.0)
    played.run(30)
    best = played.trials.best
    assert best is not None
    assert best.objective == pytest.approx(0.6 + 0.03 * 3 + 0.02 * EPOCHS), "the deepest of the best backbone"
    assert best.candidate is not None
    assert best.candidate.backbone == "a"


def test_trainings_that_fall_behind_are_not_resumed(play: Play) -> None:
    def score(proposal: Proposal, epochs: int) -> float | None:
        poor = proposal.source == "fine_tuning" and proposal.params["backbone"] == "b"
        return 0.05 if poor else _score(proposal, epochs)

    played = play("ab", TIMED, score, limit=60.0).run()
    resumed = {proposal.params["backbone"] for proposal in played.of("fine_tuning") if proposal.resumes is not None}
    assert resumed == {"a"}


def _tuning_seconds(play: Play, gain: float) -> float:
    """Return the seconds of trainings in a search whose draws of heads bring so much each."""
    heads = 0

    def score(proposal: Proposal, epochs: int) -> float | None:
        nonlocal heads
        heads += proposal.source == "frozen_heads"
        drawn = min(0.5 + gain * heads, 0.99)
        return drawn if proposal.source == "frozen_heads" else 0.5

    played = play("a", TIMED, score, limit=40.0).run()
    trained = {record.number: record for proposal, record in played.steps if record and proposal.source in TUNING}
    return sum(record.seconds for record in trained.values())


def test_draws_without_gain_leave_their_time_to_fine_tuning(play: Play) -> None:
    assert _tuning_seconds(play, 0.0) > _tuning_seconds(play, 0.04) + 5.0


@BOTH
def test_a_gain_of_fine_tuning_leads_to_more_of_it(play: Play, budget: Budget) -> None:
    def tuned(gain: float) -> int:
        def score(proposal: Proposal, epochs: int) -> float | None:
            return 0.5 + (gain if proposal.source in TUNING else 0.0) - 0.1 * (proposal.source == "frozen_heads")

        return len(play("abc", budget, score).run(20).of(*TUNING))

    assert tuned(0.3) > tuned(-0.3)


@BOTH
def test_where_frozen_candidates_fail_stages_still_train(play: Play, budget: Budget) -> None:
    def score(proposal: Proposal, epochs: int) -> float | None:
        return 0.7 if proposal.source in TUNING else None

    played = play("ab", budget, score, limit=40.0).run(30)
    assert played.of(*TUNING)
    assert played.trials.best is not None


def test_settings_that_always_fail_do_not_take_all_the_time(play: Play) -> None:
    def score(proposal: Proposal, epochs: int) -> float | None:
        return None if proposal.source in TUNING else 0.6

    played = play(
        "a",
        TIMED,
        score,
        limit=60.0,
        gains=PlainGains(sampled_tuning=Gain(mean=1.0, task_deviation=0.3, own_deviation=0.3)),
    )
    played.run(40)
    assert len(played.of("sampled_tuning")) == 5
    assert len(played.of("fine_tuning")) <= 3, "the depths, once each"
    assert played.sources()[-1] == "frozen_heads"


@BOTH
def test_a_draw_may_succeed_where_all_before_it_failed(play: Play, budget: Budget) -> None:
    # What it brings over nothing is no gain: it must not draw all time that is left.
    def score(proposal: Proposal, epochs: int) -> float | None:
        failed = sum(record.state == "failed" for record in played.trials)
        return None if failed < 4 and proposal.source in ("screening", "frozen_heads") else _score(proposal, epochs)

    played = play("a", budget, score, limit=60.0, tuning=lambda *args, **more: None, tuning_policies=())
    played.run(12)
    assert played.trials.best is not None
    later = [played.carry_out(played.proposed()).state for _ in range(3)]
    assert later == ["complete"] * 3
    offer = played.proposed()
    assert math.isfinite(offer.expected)
    assert math.isfinite(offer.deviation)


@BOTH
def test_without_a_frozen_policy_all_backbones_train(play: Play, budget: Budget) -> None:
    about = {"screening": [], "frozen_policy": None, "tuning_policies": ("depth", "full"), "backbones": "abc"}
    played = play("", budget, **about).run(30)
    assert set(played.sources()) <= set(TUNING)
    assert {proposal.params["backbone"] for proposal in played.of(*TUNING)} == {"a", "b", "c"}
    assert played.trials.best is not None


@BOTH
def test_where_stages_cannot_train_heads_are_drawn(play: Play, budget: Budget) -> None:
    played = play("ab", budget, tuning=lambda *args, **more: None, tuning_policies=()).run(12)
    assert set(played.sources()) == {"screening", "frozen_heads"}


# --- time ----------------------------------------------------------------------------------------------------------


def test_nothing_begins_that_does_not_fit_once_there_is_a_result(play: Play) -> None:
    played = play("abc", TIMED)
    played.run(1)
    for left in (0.3, 0.6, 1.2, 7.0):
        played.limit = played.spent + left
        for offer in _offers(played):
            # A training is begun where its first epoch fits, even if its first rung does not.
            assert min(offer.seconds, 1.0 if offer.source in TUNING else math.inf) <= left
    played.limit = played.spent + 0.3
    assert played.next() is None


def _offers(played: Played) -> list[Proposal]:
    """Return what is proposed one after the other, where each is still running."""
    running: list[Proposal] = []
    while len(running) < 12 and (offer := played.next(running)) is not None:
        running.append(offer)
    return running


def test_something_begins_before_there_is_a_result(play: Play) -> None:
    assert play("abc", TIMED, limit=0.01).next() is not None
    assert play("", TIMED, limit=0.01, frozen_policy=None, backbones="a").next() is not None


def test_the_time_left_is_not_overrun_by_more_than_an_epoch(play: Play) -> None:
    for limit in (3.0, 9.0, 20.0):
        played = play("abc", TIMED, limit=limit).run()
        assert played.spent <= limit + EPOCHS / 2


def test_of_trials_each_costs_one_and_runs_to_its_end(play: Play) -> None:
    played = play("abc", COUNTED)
    played.run(30)
    assert len(played.trials) == 30
    for proposal, record in played.steps:
        assert (proposal.seconds, proposal.until, proposal.resumes) == (1.0, None, None)
        assert record is not None
        assert record.state in ("complete", "failed")


# --- side by side --------------------------------------------------------------------------------------------------


@BOTH
def test_a_running_candidate_is_not_proposed_twice(play: Play, budget: Budget) -> None:
    played = play("abc", budget, frozen_policy="frozen")
    played.run(4)
    names = [offer.arm.name for offer in _offers(played) if offer.arm is not None]
    assert len(names) == len(set(names)) > 2


def test_a_backbone_that_passes_is_left_alone_meanwhile(play: Play) -> None:
    # Two trials on the same features side by side would compute them twice.
    screening = [{"backbone": name, "freeze": "frozen", "head": head} for name in "ab" for head in ("ridge", "knn")]
    played = play("", TIMED, screening=screening)
    offers = _offers(played)
    assert sorted(offer.params["backbone"] for offer in offers if offer.source == "screening") == ["a", "b"]


# --- an exhausted space --------------------------------------------------------------------------------------------


@BOTH
def test_an_exhausted_space_ends_the_search(play: Play, budget: Budget) -> None:
    # All draws were tried before: none is carried out.
    played = play("ab", budget, tuning=lambda *args, **more: None, limit=1e6)
    for _ in range(100):
        if (proposal := played.next()) is None:
            break
        if proposal.source == "screening":
            played.carry_out(proposal)
        else:
            played.reply(proposal, None)
    assert played.next() is None
    assert len(played.steps) <= 2 + 2 * 5 + 2 * 5


def test_a_draw_that_is_carried_out_opens_its_place_again(play: Play) -> None:
    played = play("a", COUNTED, tuning=lambda *args, **more: None, tuning_policies=())
    played.run(1)
    for _ in range(3):
        for _ in range(4):
            played.reply(played.proposed(), None)
        played.carry_out(played.proposed())
    assert played.next() is not None


# --- a search that was broken off ----------------------------------------------------------------------------------


def _written(proposal: Proposal) -> Proposal:
    return Proposal.from_json(json.loads(json.dumps(asdict(proposal), allow_nan=False)))


def _varied(play: Play, budget: Budget) -> Played:
    """Return a search with forms, views and effects that some backbones share."""
    return play(
        "abc",
        budget,
        limit=200.0,
        variants={"a@64px": "a", "b@64px": "b"},
        views=(1, 2),
        backbone_effects={"a": {"kind": 0.4}, "b": {"kind": 0.4}},
    )


@BOTH
@pytest.mark.parametrize("steps", [1, 6, 15, 28])
def test_a_resumed_search_proposes_what_the_first_one_would(play: Play, budget: Budget, steps: int) -> None:
    first, second = _varied(play, budget).run(steps), _varied(play, budget)
    second.observe_again([(_written(proposal), record) for proposal, record in first.steps])
    second.spent = first.spent
    for _ in range(8):
        proposal, again = first.next(), second.next()
        assert again == proposal
        if proposal is None or again is None:
            break
        first.carry_out(proposal)
        second.carry_out(again)


@BOTH
def test_a_search_goes_on_under_the_other_kind_of_budget(play: Play, budget: Budget) -> None:
    first = _varied(play, budget).run(20)
    second = _varied(play, COUNTED if budget is TIMED else TIMED)
    second.observe_again([(_written(proposal), record) for proposal, record in first.steps])
    second.run(20)
    assert len(second.steps) > 30
    assert second.trials.best is not None


@BOTH
def test_a_backbone_that_is_gone_is_not_resumed(play: Play, budget: Budget) -> None:
    first = play("ab", TIMED, limit=100.0).run(30)
    assert {proposal.params["backbone"] for proposal in first.of("fine_tuning")} == {"a", "b"}
    later = play("b", budget, limit=100.0, backbones=("b",))
    numbers: dict[int, int] = {}
    for proposal, record in first.steps:
        if record is not None and record.candidate is not None and record.candidate.backbone == "b":
            record = replace(record, number=numbers.setdefault(record.number, len(numbers)))
            later.trials.add(record)
        later.reply(_written(proposal), record)
    before = len(later.steps)
    later.run(30)
    assert {proposal.params["backbone"] for proposal, _ in later.steps[before:]} == {"b"}


# --- metrics -------------------------------------------------------------------------------------------------------


def _chosen(played: Played) -> list[tuple[Any, ...]]:
    """Return what tells proposals apart, without what they expect."""
    return [(p.source, dict(p.params), p.until, p.resumes) for p, _ in played.steps]


@BOTH
def test_the_unit_of_the_metric_changes_no_choice(play: Play, budget: Budget) -> None:
    def rmse(proposal: Proposal, epochs: int) -> float | None:
        score = _score(proposal, epochs)
        return None if score is None else -4000.0 * (1.0 - score)

    accuracy = play("abc", budget, limit=60.0).run(40)
    errors = play("abc", budget, rmse, limit=60.0, levels=Levels(perfect=0.0, trivial=-4000.0)).run(40)
    assert _chosen(errors) == _chosen(accuracy)


@BOTH
def test_a_metric_without_a_best_value_can_be_maximised(play: Play, budget: Budget) -> None:
    def search(unit: float) -> Played:
        def profit(proposal: Proposal, epochs: int) -> float | None:
            score = _score(proposal, epochs)
            return None if score is None else unit * (1.0 + score)

        return play("abc", budget, profit, limit=60.0, levels=Levels(perfect=math.inf, trivial=unit)).run(30)

    thousands = search(1000.0)
    assert _chosen(thousands) == _chosen(search(1.0))
    assert thousands.trials.best is not None
    assert thousands.trials.best.candidate is not None
    assert thousands.trials.best.candidate.backbone == "a"
    assert thousands.of("fine_tuning")


@BOTH
def test_what_recorded_runs_expect_decides_where_nothing_is_seen(play: Play, budget: Budget) -> None:
    def first(gain: float) -> int:
        gains = PlainGains(
            tuning=Gain(mean=gain, task_deviation=0.1, own_deviation=0.1),
            frozen_heads=Gain(mean=-0.2, task_deviation=0.1, own_deviation=0.3),
            sampled_tuning=Gain(mean=-3.0, task_deviation=0.1, own_deviation=0.1),
        )
        return [*play("a", budget, gains=gains).run(25).sources(), "fine_tuning"].index("fine_tuning")

    assert first(1.0) < first(-0.5)
