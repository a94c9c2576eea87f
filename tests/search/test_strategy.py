"""What a live search tries in which order: screening, probes, and fine-tuning that grows from the head downwards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autotransfer.candidate import Candidate
from autotransfer.search.freeze_thaw import CurveModel
from autotransfer.search.proposal import Proposal
from autotransfer.search.screening import SCREENING_SOURCES
from autotransfer.search.strategy import Strategy
from autotransfer.search.strategy_context import StrategyContext
from autotransfer.search.trials import State, TrialRecord, Trials
from autotransfer.search.tta import TtaViews

CURVES = CurveModel(rungs=(1, 3, 6, 12), own=np.full((4, 4), 0.8), shared=np.full((4, 4), 0.1), growth=(1, 1, 1, 1))
EPOCHS = CURVES.rungs[-1]


def _tuning(backbone: str, trained: int) -> dict[str, Any] | None:
    """Backbones have three stages."""
    return {"backbone": backbone, "trained": trained} if trained <= 3 else None


class Search:
    """Carries out orders: ``score(params, epochs)`` is what a trial is worth, every epoch takes a second."""

    def __init__(self, strategy: Strategy, **screened: float | None) -> None:
        self.strategy, self.trials, self.screened = strategy, Trials(), screened
        self.proposal: Proposal | None = None

    def next(self, left: float = 1e6) -> Proposal:
        self.proposal = self.strategy.next(self.trials, left)
        assert self.proposal is not None
        return self.proposal

    def carry_out(self, objective: float | None, *, state: State = "complete") -> None:
        """Record what came of the last order."""
        assert self.proposal is not None
        params, known = self.proposal.params, None
        if self.proposal.resumes is not None:
            known = self.trials.records[self.proposal.resumes]
        epochs = self.proposal.until or 0
        if epochs and state == "complete" and epochs < EPOCHS:
            state = "paused"
        candidate = (
            known.candidate
            if known
            else Candidate(
                backbone=params.get("backbone", "other"),
                freeze=params.get("freeze", "depth"),
                training={"epochs": len(self.trials)},
            )
        )
        record = TrialRecord(
            number=known.number if known else len(self.trials),
            state="failed" if objective is None else state,
            candidate=candidate,
            score=objective,
            objective=objective,
            epochs=epochs,
            curve=(objective or 0.0,) * epochs,
            seconds=float(epochs),
        )
        self.trials.add(record)
        self.strategy.observe(self.proposal, record)

    def next_fine_tuning(self, *, limit: int = 60) -> Proposal | None:
        """Let probes that bring nothing pass until fine-tuning is due, or for long."""
        for _ in range(limit):
            proposal = self.next()
            if proposal.source in ("fine_tuning", "sampled_tuning"):
                return proposal
            self.carry_out(0.0)
        return None


def _search(
    timed: bool = False,
    *,
    probe: str | None = "frozen",
    tuning: Any = _tuning,
    middle: int = 0,
    others: Mapping[str, str] | None = None,
    unlike: tuple[str, ...] = (),
    views: int = 1,
    cost: float = 1.0,
    **scores: float | None,
) -> Search:
    seen = TtaViews(views)
    strategy = Strategy(
        StrategyContext(
            screening=[{"backbone": backbone} for backbone in scores],
            tuning=tuning,
            frozen_policy=probe,
            tuning_policies=("depth", "full"),
            curves=CURVES,
            seconds=(lambda params, epochs: cost * (epochs if epochs else seen(params["backbone"]) - 1))
            if timed
            else None,
            half_depth=lambda backbone: middle,
            variants={form: name for name, form in (others or {}).items()},
            distant=unlike,
            views=seen,
        )
    )
    search = Search(strategy)
    for backbone, score in scores.items():
        assert search.next() == Proposal(params={"backbone": backbone}, source="screening")
        search.carry_out(score)
    return search


def test_screening_comes_first_and_then_the_best_of_it() -> None:
    assert _search(a=0.5, b=0.9, c=0.7).next().params == {"backbone": "b", "trained": 1}


@pytest.mark.parametrize(("timed", "expected"), [(True, "a1 a2 b1 b2"), (False, "a1 b1 a2 b2")])
def test_timed_screening_finishes_cached_backbones_first(timed: bool, expected: str) -> None:
    strategy = Strategy(
        StrategyContext(
            screening=[{"backbone": name, "head": head} for head in "12" for name in "ab"],
            tuning=_tuning,
            frozen_policy="frozen",
            tuning_policies=("depth",),
            curves=CURVES,
            seconds=(lambda params, epochs: float(epochs)) if timed else None,
        )
    )
    search, seen = Search(strategy), []
    while (proposal := search.next()).source in SCREENING_SOURCES:
        seen.append(proposal.params["backbone"] + proposal.params["head"])
        search.carry_out(0.5)
    assert " ".join(seen) == expected


@pytest.mark.parametrize(("timed", "looked"), [(True, "b2 b4 c2 a2 a4"), (False, "b2 b4")])
def test_the_best_backbones_are_screened_in_more_views(timed: bool, looked: str) -> None:
    # Where time is not what counts, each look is a trial less for others.
    search = _search(timed, views=4, a=0.5, b=0.9, c=0.7, d=0.1)
    scores, seen = {"b2": 0.92, "b4": 0.93, "c2": 0.6, "a2": 0.55, "a4": 0.55}, []
    while (proposal := search.next(left=1000.0)).source in SCREENING_SOURCES:
        name = proposal.params["backbone"]
        seen.append(f"{name}{search.strategy._context.views(name)}")
        search.carry_out(scores[seen[-1]])
    assert " ".join(seen) == looked
    assert search.strategy._context.views("b") == 4
    assert search.strategy._context.views("c") == 1, "it was worse"


def test_more_views_may_take_a_small_share_of_the_time() -> None:
    # A pass takes 5 s: more than a tenth of 40 s, and of 100 s three more passes are.
    for left, looked in ((40.0, []), (100.0, [2]), (200.0, [2, 4])):
        search, seen = _search(True, views=4, cost=5.0, a=0.5), []
        while search.next(left=left).source in SCREENING_SOURCES:
            seen.append(search.strategy._context.views("a"))
            search.carry_out(0.6)
        assert seen == looked


def test_fine_tuning_goes_deeper_while_that_pays() -> None:
    search = _search(a=0.6, b=0.5)
    assert search.next().params == {"backbone": "a", "trained": 1}
    search.carry_out(0.7)  # better
    proposal = search.next_fine_tuning()
    assert proposal is not None
    assert proposal.params == {"backbone": "a", "trained": 2}
    search.carry_out(0.65)  # no better
    proposal = search.next_fine_tuning()
    assert proposal is not None
    assert proposal.params == {"backbone": "b", "trained": 1}


def test_frozen_candidates_run_between_fine_tunings() -> None:
    search, sources = _search(a=0.6), []
    for number in range(11):
        proposal = search.next()
        sources.append((proposal.source, proposal.params.get("freeze")))
        search.carry_out(0.7 - number / 100)
    probes = [("frozen_heads", "frozen")] * 4
    assert sources == [("fine_tuning", None), *probes, ("fine_tuning", None), *probes, ("sampled", None)]


def test_it_ends_at_the_last_stage_of_the_best_three() -> None:
    search, seen, score = _search(a=0.6, b=0.5, c=0.4, d=0.3), [], 1.0
    while (proposal := search.next_fine_tuning()) is not None:
        seen.append((proposal.params["backbone"], proposal.params["trained"]))
        search.carry_out(score := score + 1)
    assert seen == [(backbone, trained) for backbone in "abc" for trained in (1, 2, 3)]


def test_a_backbone_that_only_failed_comes_last() -> None:
    assert _search(a=None, b=0.5, c=None).next().params == {"backbone": "b", "trained": 1}


@pytest.mark.parametrize("timed", [False, True])
def test_the_study_chooses_where_nothing_can_be_tuned(timed: bool) -> None:
    search = _search(timed, tuning=lambda backbone, trained: None, a=0.5)
    assert search.next() == Proposal()
    expected = Proposal(source="sampled_tuning" if timed else "sampled")  # what trains stages takes its time
    assert _search(timed, probe=None).next() == expected, "nothing was tried"


# --- with a budget of time: rungs ----------------------------------------------------------------------------------


def test_timed_trials_pause_at_rungs_and_the_better_resumes() -> None:
    search = _search(True, a=0.6, b=0.6)
    seen: dict[str, list[int]] = {}
    for _ in range(20):
        if (proposal := search.next_fine_tuning()) is None:
            break
        assert proposal.until in CURVES.rungs
        seen.setdefault(proposal.arm, []).append(proposal.until or 0)
        search.carry_out({"a/1": 0.0, "b/1": 0.65}.get(proposal.arm, 0.3))
    assert seen["b/1"] == [1, 3, 6, EPOCHS]
    assert seen["a/1"] == [1], "it fell behind in its first epoch"


def test_a_deeper_arm_waits_for_two_rungs_of_the_last_depth() -> None:
    search = _search(True, a=0.6)
    arms = []
    for _ in range(5):
        proposal = search.next_fine_tuning()
        assert proposal is not None
        arms.append((proposal.arm, proposal.until))
        search.carry_out(0.6 + len(arms) / 20 if proposal.arm.startswith("a") else 0.2)
    first_of_two = arms.index(next(entry for entry in arms if entry[0] == "a/2"))
    assert ("a/1", 3) in arms[:first_of_two]


def _six(backbone: str, trained: int, *, distant: bool = False) -> dict[str, Any] | None:
    """Backbones have six stages."""
    return {"backbone": backbone, "trained": trained, "far": distant} if trained <= 6 else None


def _arms(scores: dict[str, float], *, left: float = 1e6, probe: float = 0.6) -> list[str]:
    """Return the arms of a search that may begin in the middle of six stages, in the order in which they began."""
    search, arms = _search(True, middle=3, tuning=_six, a=probe), dict[str, None]()
    for _ in range(200):
        if (proposal := search.next(left)).source == "fine_tuning":
            arms[proposal.arm] = None
        search.carry_out(scores.get(proposal.arm, 0.1))
    return [arm for arm in arms if arm.startswith("a")]


def test_half_depth_trains_where_the_last_stage_gains() -> None:
    assert _arms({"a/1": 0.7, "a/3": 0.8, "a/4": 0.9, "a/5": 0.7})[:4] == ["a/1", "a/3", "a/4", "a/5"]


@pytest.mark.parametrize(
    ("last", "left"),
    [
        pytest.param(0.62, 1e6, id="the last stage gains little"),
        pytest.param(0.98, 1e6, id="little is missing still"),
        pytest.param(0.7, 4.0, id="the time is too short for three epochs"),
    ],
)
def test_else_the_next_stage_is_trained(last: float, left: float) -> None:
    assert _arms({"a/1": last, "a/2": 0.5}, left=left) == ["a/1", "a/2"]


def test_half_depth_that_gains_nothing_is_passed_over() -> None:
    assert _arms({"a/1": 0.7, "a/3": 0.3, "a/2": 0.8, "a/4": 0.5}) == ["a/1", "a/3", "a/2", "a/4"]


@pytest.mark.parametrize(
    ("unlike", "left", "first"),
    [
        pytest.param(("a",), 1e6, "a/3", id="it has seen other images"),
        pytest.param((), 1e6, "a/1", id="it has seen such images"),
        pytest.param(("a",), 4.0, "a/1", id="three epochs take most of the time left"),
    ],
)
def test_on_a_distant_task_half_depth_trains_at_once(unlike: tuple[str, ...], left: float, first: str) -> None:
    search = _search(True, middle=3, tuning=_six, unlike=unlike, a=0.6)
    proposal = search.next(left)
    assert proposal.arm == first
    assert proposal.params["far"] == (first == "a/3"), "with the settings for it"


def _far(**options: Any) -> Search:
    """Return a search whose best backbone has seen other images, and has further looks to take."""
    others = {"a@128px": "a", "b@128px": "b"}
    given = {"others": others, "unlike": tuple(others), "views": 2, "middle": 3, "tuning": _six, "cost": 0.1}
    return _search(True, **{**given, **options}, **{"a@128px": 0.6, "b@128px": 0.5})


def test_on_small_images_half_depth_trains_before_variants() -> None:
    search, seen = _far(), []
    for _ in range(5):
        proposal = search.next(100.0)
        seen.append((proposal.source, proposal.arm or proposal.params["backbone"], proposal.until))
        search.carry_out({1: 0.62, 3: 0.64}.get(proposal.until or 0, 0.5))
    assert seen[:2] == [("fine_tuning", "a@128px/3", 1), ("fine_tuning", "a@128px/3", 3)]
    assert seen[2:] == [("variants", name, None) for name in ("a", "b", "a@128px")]


def test_another_worker_tries_variants_meanwhile() -> None:
    search = _far()
    proposal = search.next(100.0)
    beside = search.strategy.next(search.trials, 100.0, [proposal])
    assert beside is not None
    assert (beside.source, beside.params["backbone"]) == ("variants", "a")


def test_half_depth_without_time_leaves_the_rest_to_frozen_heads() -> None:
    search = _far()
    assert search.next(100.0).source == "fine_tuning"
    search.carry_out(0.62)
    assert search.next(0.05).params == {"freeze": "frozen"}


def test_far_behind_frozen_candidates_get_no_more_views() -> None:
    search = _far(others=None)
    _probe(search, 0.6)
    for objective in (0.7, 0.9):
        assert search.next(100.0).arm == "a@128px/3"
        search.carry_out(objective)
    proposal = search.next(100.0)
    assert (proposal.source, proposal.arm) == ("fine_tuning", "a@128px/4"), "it goes deeper from there"


# --- two input sizes ----------------------------------------------------------------------------------------------


def test_the_best_three_backbones_are_screened_as_variants() -> None:
    strategy = Strategy(
        StrategyContext(
            screening=[{"backbone": name, "head": head} for head in ("knn", "ridge") for name in "abcde"],
            tuning=_tuning,
            frozen_policy="frozen",
            tuning_policies=("depth",),
            curves=CURVES,
            variants={f"{name}@128px": name for name in "abde"},
        )
    )
    search = Search(strategy)
    for number in range(10):
        proposal = search.next()
        assert (proposal.source, len(proposal.params["backbone"])) == ("screening", 1)
        search.carry_out({"a": 0.1, "b": 0.8, "c": 0.7, "d": 0.6, "e": 0.5}[proposal.params["backbone"]] + number / 100)
        search.trials.records[-1] = replace(
            search.trials.records[-1],
            candidate=Candidate(backbone=proposal.params["backbone"], head=proposal.params["head"]),
        )
    found = []
    while (proposal := search.next()).source in SCREENING_SOURCES:
        found.append(dict(proposal.params))
        search.carry_out(0.5)
    assert found == [{"backbone": "b@128px", "head": "ridge"}, {"backbone": "d@128px", "head": "ridge"}], "c has none"


def test_a_variant_waits_for_screening_and_needs_a_cheap_pass() -> None:
    search = _search(True, others={"a": "a@128px"}, a=0.6)
    running = (Proposal(params={"backbone": "b"}, source="screening"),)
    proposal = search.strategy.next(search.trials, 1e6, running)
    assert proposal is not None
    assert proposal.source == "frozen_heads", "what is still screened may be better"
    assert search.next().params == {"backbone": "a@128px"}

    slow = Strategy(
        StrategyContext(
            screening=[{"backbone": "a"}],
            tuning=_tuning,
            frozen_policy="frozen",
            tuning_policies=("depth",),
            curves=CURVES,
            variants={"a@128px": "a"},
            seconds=lambda params, epochs: 20.0,
        )
    )
    search = Search(slow)
    search.next()
    search.carry_out(0.6)
    assert search.next(100.0).source not in SCREENING_SOURCES


def test_a_larger_resolution_is_not_priced_after_a_slow_one() -> None:
    # To predict its time it would have to be loaded.
    asked: list[Any] = []

    def seconds(params: dict[str, Any], epochs: int) -> float:
        asked.append(params["backbone"])
        return 1.0

    def screened(unlike: tuple[str, ...], took: float) -> Proposal:
        asked.clear()
        strategy = Strategy(
            StrategyContext(
                screening=[{"backbone": "a@128px"}],
                tuning=_tuning,
                frozen_policy="frozen",
                tuning_policies=("depth",),
                curves=CURVES,
                variants={"a": "a@128px"},
                distant=unlike,
                seconds=seconds,
            )
        )
        search = Search(strategy)
        search.next(100.0)
        search.carry_out(0.6)
        search.trials.records[-1] = replace(search.trials.records[-1], seconds=took)
        return search.next(100.0)

    assert screened(("a@128px",), took=11.0).source not in SCREENING_SOURCES
    assert "a" not in asked
    assert screened(("a@128px",), took=9.0).params["backbone"] == "a"
    assert screened((), took=11.0).params["backbone"] == "a", "a smaller size may be faster"


def test_a_backbone_pruned_on_the_sample_is_not_tuned() -> None:
    search = _search(True, others={"a": "a@128px", "b": "b@128px"}, a=0.6, b=0.7)
    search.trials.records[1] = replace(search.trials.records[1], state="pruned", sample_score=0.7)
    assert search.next().params == {"backbone": "a@128px"}
    search.carry_out(0.5)
    tuned = set()
    while len(tuned) < 2 and (proposal := search.next_fine_tuning()) is not None:
        tuned.add(proposal.params.get("backbone"))
        search.carry_out(0.6)
    assert tuned == {"a", "a@128px"}


def test_without_screening_no_variant_is_screened() -> None:
    strategy = Strategy(
        StrategyContext(
            screening=[],
            tuning=_tuning,
            frozen_policy=None,
            tuning_policies=("full",),
            curves=CURVES,
            variants={"a@128px": "a"},
        )
    )
    assert Search(strategy).next() == Proposal()


def test_two_resolutions_count_as_one_of_the_best_backbones() -> None:
    scores = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6}
    for timed, expected in ((True, {"a", "a@128px", "b", "c"}), (False, {"a", "b", "c"})):
        search = _search(timed, others={"a": "a@128px"}, **scores)
        assert search.next().params == {"backbone": "a@128px"}
        search.carry_out(0.85)
        tuned: list[str] = []
        for _ in range(200):
            if "trained" in (proposal := search.next()).params:
                tuned.append(proposal.params["backbone"])
            search.carry_out(0.1)
        assert set(tuned) == expected
        assert tuned[0] == "a"


def _sampled(search: Search, parameter: str, count: int) -> list[Any]:
    """Return a parameter of the first sampled trials that train stages."""
    values: list[Any] = []
    while len(values) < count:
        proposal = search.next_fine_tuning()
        assert proposal is not None
        if proposal.arm.startswith("sampled") and proposal.resumes is None:
            values.append(proposal.params[parameter])
        search.carry_out(0.55)
    return values


def test_sampled_tunings_take_the_policies_in_turn() -> None:
    assert _sampled(_search(True, a=0.6), "freeze", 4) == ["depth", "full", "depth", "full"]


def _probe(search: Search, objective: float) -> None:
    number = len(search.trials)
    candidate = Candidate(backbone="a", freeze="frozen", head_params={"x": number})
    search.trials.add(TrialRecord(number=number, state="complete", candidate=candidate, objective=objective))


def test_sampled_tunings_take_unpruned_backbones_in_turn() -> None:
    search = _search(True, a=0.6, b=0.5, c=0.4)
    search.trials.records[1] = replace(search.trials.records[1], state="pruned", sample_score=0.5)
    assert _sampled(search, "backbone", 2) == ["a", "c"]


def test_a_measured_epoch_resumes_before_a_frozen_candidate() -> None:
    def proposals(rungs: tuple[int, ...]) -> list[Proposal]:
        curves = CurveModel(rungs=rungs, own=np.eye(2), shared=np.zeros((2, 2)), growth=(1, 1))
        strategy = Strategy(
            StrategyContext(
                screening=[{"backbone": "a"}],
                tuning=_tuning,
                frozen_policy="frozen",
                tuning_policies=("depth",),
                curves=curves,
                seconds=lambda params, epochs: float(epochs),
            )
        )
        search, found = Search(strategy), []
        search.next()
        search.carry_out(0.5)
        for _ in range(60):
            found.append(search.next())
            search.carry_out(0.3, state="paused" if found[-1].arm else "complete")
        return found

    found = proposals((3, 6))
    first = next(place for place, proposal in enumerate(found) if proposal.arm)
    assert [proposal.until for proposal in found[first : first + 2]] == [1, 3]
    assert not found[first + 2].arm
    found = proposals((1, 6))
    first = next(place for place, proposal in enumerate(found) if proposal.arm)
    assert found[first].until == 1
    assert not found[first + 1].arm


def test_fine_tuning_waits_while_frozen_candidates_improve() -> None:
    # Probes take no time here: after the first fine-tuning, forty of them come before the next.
    search = _search(True, a=0.6)
    search.next_fine_tuning()
    search.carry_out(0.7)
    for number in range(40):
        assert search.next().params == {"freeze": "frozen"}, number
        _probe(search, 0.7 + number / 500)
    assert search.next_fine_tuning() is not None


@pytest.mark.parametrize(("tuned", "probes"), [(0.75, 3), (0.85, 1)])
def test_halved_errors_end_the_frozen_candidates(tuned: float, probes: int) -> None:
    # Twelve of them in vain would take the time of three more epochs.
    search = _search(True, a=0.6)
    search.next_fine_tuning()
    search.carry_out(tuned)
    proposals = [search.next()]
    while not proposals[-1].arm and len(proposals) < 4:
        _probe(search, 0.5)
        proposals.append(search.next())
    assert sum(not proposal.arm for proposal in proposals) >= probes
    assert any(proposal.arm for proposal in proposals) == (probes == 1)


@pytest.mark.parametrize(("epochs", "first"), [(1, True), (2, True), (3, False)])
def test_what_paused_between_rungs_goes_on_first(epochs: int, first: bool) -> None:
    curves = CurveModel(rungs=(3, 6), own=np.eye(2), shared=np.zeros((2, 2)), growth=(1, 1))
    strategy = Strategy(
        StrategyContext(
            screening=[{"backbone": "a"}],
            tuning=_tuning,
            frozen_policy="frozen",
            tuning_policies=("depth",),
            curves=curves,
            seconds=lambda params, epochs: float(epochs),
        )
    )
    search = Search(strategy)
    search.next()
    search.carry_out(0.5)
    while not search.next().arm:
        search.carry_out(0.3)
    assert search.proposal is not None
    search.proposal = replace(search.proposal, until=epochs)
    search.carry_out(0.5, state="paused")
    assert bool(search.next().arm) == first


def test_probes_in_vain_leave_their_time_to_fine_tuning() -> None:
    search = _search(True, a=0.6)
    search.next_fine_tuning()
    search.carry_out(0.7)
    for _ in range(12):
        assert search.next().params == {"freeze": "frozen"}
        _probe(search, 0.5)
    proposals = [search.next() for _ in range(6)]
    assert [proposal.source for proposal in proposals].count("fine_tuning") == 3, "every other one"


# --- with trials side by side ----------------------------------------------------------------------------------------


def test_fine_tuning_waits_for_running_screenings() -> None:
    search = _search(a=0.6)
    running = [Proposal(params={"backbone": "b"}, source="screening")]
    assert search.strategy.next(search.trials, 1e6, running) == Proposal(
        params={"freeze": "frozen"}, source="frozen_heads"
    )
    assert search.next().source == "frozen_heads", "one of those that would have been probes"


def test_a_depth_is_not_judged_before_it_has_ended() -> None:
    search = _search(a=0.6, b=0.5)
    first = search.next()
    assert first.params == {"backbone": "a", "trained": 1}
    seen = []
    for _ in range(12):
        proposal = search.strategy.next(search.trials, 1e6, [first])
        assert proposal is not None
        seen.append(proposal.params)
    assert {"backbone": "b", "trained": 1} in seen
    assert {"backbone": "a", "trained": 2} not in seen


def test_a_running_arm_is_not_proposed_twice() -> None:
    search = _search(True, a=0.6)
    for _ in range(20):
        search.next()
        _probe(search, 0.1)  # in vain
    running = [Proposal(params={"freeze": "frozen"}, source="frozen_heads")]
    for _ in range(6):
        if (proposal := search.strategy.next(search.trials, 1e6, running)) is not None:
            running.append(proposal)
    assert [proposal.arm for proposal in running] == ["", "a/1"]
    assert search.strategy.next(search.trials, 1e6, running) is None


# --- a search that was broken off ----------------------------------------------------------------------------------


def _strategy(*backbones: str, timed: bool) -> Strategy:
    return Strategy(
        StrategyContext(
            screening=[{"backbone": name} for name in backbones],
            tuning=_tuning,
            frozen_policy="frozen",
            tuning_policies=("depth", "full"),
            curves=CURVES,
            seconds=(lambda params, epochs: float(epochs)) if timed else None,
            backbones=backbones,
        )
    )


@pytest.mark.parametrize("timed", [False, True])
def test_a_resumed_search_forgets_backbones_that_are_gone(timed: bool) -> None:
    first, proposals = Search(_strategy("a", "b", timed=True)), []
    for number in range(40):
        proposals.append(first.next())
        first.carry_out(0.5 + number / 100)
    assert {proposal.params.get("backbone") for proposal in proposals} >= {"a", "b"}
    later = Search(_strategy("a", timed=timed))
    for proposal, record in zip(proposals, first.trials.records, strict=False):
        later.strategy.restore(proposal)
        if record.candidate is not None and record.candidate.backbone == "a":
            later.trials.add(replace(record, number=len(later.trials)))
    for number in range(40):
        assert later.next().params.get("backbone") != "b"
        later.carry_out(0.9 + number / 1000)


def test_an_order_that_is_noted_can_be_written_as_json() -> None:
    search = _search(True, a=0.6, b=0.5)
    for number in range(30):
        proposal = search.next()
        assert json.loads(json.dumps(proposal.note, allow_nan=False)) == proposal.note
        search.carry_out(0.6 + number / 100)
