"""Fine-tuning grows from the head downwards, backbone by backbone, as long as it pays."""

from __future__ import annotations

from typing import Any

from autotransfer.candidate import Candidate
from autotransfer.search.growth import Growth
from autotransfer.search.records import TrialRecord, Trials


def _tuning(backbone: str, trained: int) -> dict[str, Any] | None:
    """Backbones have three stages."""
    return {"backbone": backbone, "trained": trained} if trained <= 3 else None


def _add(trials: Trials, backbone: str, objective: float | None) -> None:
    candidate = Candidate(backbone=backbone, training={"epochs": len(trials)})
    state: Any = "failed" if objective is None else "complete"
    trials.add(TrialRecord(number=len(trials), state=state, candidate=candidate, score=objective, objective=objective))


def _screened(**scores: float | None) -> Trials:
    trials = Trials()
    for backbone, score in scores.items():
        _add(trials, backbone, score)
    return trials


def _due(growth: Growth, trials: Trials) -> dict[str, Any] | None:
    """Let sampled trials that bring nothing pass until one is due, or for long."""
    for _ in range(20):
        if (due := growth(trials)) is not None:
            return due
        _add(trials, "other", 0.0)
    return None


def test_screening_comes_first() -> None:
    growth = Growth(_tuning, after=3)
    trials = _screened(a=0.5, b=0.9)
    assert growth(trials) is None
    _add(trials, "c", 0.7)
    assert growth(trials) == {"backbone": "b", "trained": 1}  # the best of the screening


def test_it_goes_deeper_as_long_as_that_pays_and_then_to_the_next_backbone() -> None:
    growth, trials = Growth(_tuning, after=2), _screened(a=0.6, b=0.5)
    assert _due(growth, trials) == {"backbone": "a", "trained": 1}
    _add(trials, "a", 0.7)  # better
    assert _due(growth, trials) == {"backbone": "a", "trained": 2}
    _add(trials, "a", 0.65)  # no better
    assert _due(growth, trials) == {"backbone": "b", "trained": 1}


def test_other_trials_run_between_two_that_grow() -> None:
    growth, trials = Growth(_tuning, after=1), _screened(a=0.6)
    assert growth(trials) is not None
    _add(trials, "a", 0.7)
    waited = 0
    while growth(trials) is None:
        _add(trials, "a", 0.1)
        waited += 1
    assert waited == 3  # with the one that grew, four trials


def test_it_ends_at_the_last_stage_of_the_best_three() -> None:
    growth, trials = Growth(_tuning, after=4), _screened(a=0.6, b=0.5, c=0.4, d=0.3)
    seen, score = [], 1.0
    while (due := _due(growth, trials)) is not None:
        seen.append((due["backbone"], due["trained"]))
        _add(trials, due["backbone"], score := score + 1)
    assert seen == [(backbone, trained) for backbone in "abc" for trained in (1, 2, 3)]


def test_a_backbone_that_only_failed_comes_last() -> None:
    growth, trials = Growth(_tuning, after=3), _screened(a=None, b=0.5, c=None)
    assert _due(growth, trials) == {"backbone": "b", "trained": 1}


def test_nothing_is_proposed_where_nothing_was_tried_or_can_be_tuned() -> None:
    assert Growth(_tuning, after=0)(Trials()) is None
    assert Growth(lambda backbone, trained: None, after=1)(_screened(a=0.5)) is None
