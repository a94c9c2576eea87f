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


def _next(growth: Growth, trials: Trials) -> dict[str, Any] | None:
    """Return the parameters of a trial that is due now."""
    due = growth(trials)
    return None if due is None else due.params


def _due(growth: Growth, trials: Trials) -> dict[str, Any] | None:
    """Let sampled trials that bring nothing pass until one is due, or for long."""
    for _ in range(20):
        if (due := growth(trials)) is not None:
            assert due.proposed == "grown"
            return due.params
        _add(trials, "other", 0.0)
    return None


def test_screening_comes_first() -> None:
    growth = Growth(_tuning, after=3)
    trials = _screened(a=0.5, b=0.9)
    assert growth(trials) is None
    _add(trials, "c", 0.7)
    assert _next(growth, trials) == {"backbone": "b", "trained": 1}  # the best of the screening


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
    assert waited == 4


def test_what_runs_between_are_probes_and_each_is_bounded_as_a_sampled_trial_is() -> None:
    growth, trials = Growth(_tuning, after=1, probe="frozen"), _screened(a=0.6)
    proposed = []
    for _ in range(11):
        due = growth(trials)
        proposed.append(due and (due.proposed, due.params.get("freeze")))
        _add(trials, "a", 0.7 - len(trials) / 100)
    probes = [("sampled", "frozen")] * 4
    assert proposed == [("grown", None), *probes, ("grown", None), *probes, None]


def test_what_does_not_fit_is_followed_by_the_next_backbone_at_once() -> None:
    # It ran not, so nothing is better than before.
    growth, trials = Growth(_tuning, after=2, probe="frozen"), _screened(a=0.6, b=0.5)
    assert _next(growth, trials) == {"backbone": "a", "trained": 1}
    assert _next(growth, trials) == {"backbone": "b", "trained": 1}
    assert growth(trials) is None, "nothing is left: the study chooses"


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
