"""The loop, driven by recorded results and a virtual clock: no network is trained here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from autotransfer.candidate import Candidate
from autotransfer.errors import OutputError, TrialError
from autotransfer.search.budget import TimeBudget
from autotransfer.search.loop import Evaluation, Report, search
from autotransfer.search.proposal import Proposal, SourceName
from autotransfer.search.study import make_study
from autotransfer.search.trials import TrialRecord, Trials
from autotransfer.settings import Budget


@dataclass
class Clock:
    """A clock that only evaluations move."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Recorded:
    """Replays curves: ``score(candidate, epoch)`` after each epoch, which takes ``cost`` seconds.

    A candidate without epochs is scored at once, as a closed form is.
    """

    clock: Clock
    score: Callable[[Candidate, int], float] = lambda candidate, epoch: float(candidate.head_params["x"])
    cost: Callable[[Candidate], float] = lambda candidate: 1.0
    seen: list[Candidate] = field(default_factory=list)

    curves: dict[Candidate, list[float]] = field(default_factory=dict)

    def predicted_seconds(self, candidate: Candidate, until: int | None = None, after: int = 0) -> float:
        return (max(1, int(candidate.training.get("epochs", 0)) if until is None else until) - after) * self.cost(
            candidate
        )

    def __call__(
        self, candidate: Candidate, report: Report, expired: Callable[[], bool], until: int | None = None
    ) -> Evaluation:
        self.seen.append(candidate)
        curve = self.curves.setdefault(candidate.without_epochs, [])
        epochs = int(candidate.training.get("epochs", 0))
        if not epochs:
            self.clock.now += self.cost(candidate)
            return Evaluation(score=self.score(candidate, 0), depth=3)
        for epoch in range(len(curve) + 1, min(until or epochs, epochs) + 1):
            self.clock.now += self.cost(candidate)
            if expired():
                break
            curve.append(self.score(candidate, epoch))
            if report(epoch, curve[-1]):
                break
        if not curve:
            raise TrialError("the time ran out before the first epoch ended")
        best = max(range(len(curve)), key=curve.__getitem__)
        return Evaluation(score=curve[best], depth=1, best_epoch=best + 1, curve=tuple(curve))


def _suggest(epochs: int = 0) -> Callable[[optuna.trial.Trial], Candidate]:
    def suggest(trial: optuna.trial.Trial) -> Candidate:
        training = {"epochs": epochs} if epochs else {}
        return Candidate(backbone="b", head_params={"x": trial.suggest_float("x", 0, 1)}, training=training)

    return suggest


@dataclass
class Listed:
    """Gives the orders of a list, then none of its own: what is sampled."""

    proposals: list[Proposal | None] = field(default_factory=list)
    known: list[int] = field(default_factory=list)
    told: list[TrialRecord | None] = field(default_factory=list)

    def next(self, trials: Trials, left: float, running: Sequence[Proposal] = ()) -> Proposal | None:
        self.known.append(len(trials))
        return self.proposals[len(self.known) - 1] if len(self.known) <= len(self.proposals) else Proposal()

    def observe(self, proposal: Proposal, record: TrialRecord | None) -> None:
        self.told.append(record)


def _given(*values: float, source: SourceName = "screening") -> Listed:
    return Listed([Proposal(params={"x": value}, source=source) for value in values])


def _run(
    budget: Budget,
    suggest: Callable[[Any], Candidate] | None = None,
    evaluate: Any = None,
    *,
    clock: Clock | None = None,
    study: optuna.Study | None = None,
    factor: float = 1.25,
    schedule: Any = None,
    observe: Callable[[TrialRecord], None] = lambda record: None,
) -> Trials:
    clock = clock or Clock()
    return search(
        study or make_study(seed=0, curves=50),
        suggest or _suggest(),
        evaluate or Recorded(clock),
        TimeBudget(budget, clock=clock),
        schedule or Listed(),
        refit_factor=factor,
        observe=observe,
    )


# --- how much is tried ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 7])
def test_exactly_so_many_trials_run(count: int) -> None:
    trials = _run(Budget(trials=count))
    assert [record.number for record in trials] == list(range(count))
    assert trials.counts() == {"complete": count, "paused": 0, "pruned": 0, "failed": 0}


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [0, 10])
@pytest.mark.parametrize("seconds", [3.0, 40.0, 120.0])
@pytest.mark.parametrize("factor", [1.0, 4.0])
def test_search_and_refit_end_within_the_time_budget(epochs: int, seconds: float, factor: float) -> None:
    # CostModel differ from candidate to candidate; predictions are right.
    clock = Clock()
    evaluate = Recorded(clock, cost=lambda candidate: 0.05 + float(candidate.head_params["x"]))
    trials = _run(Budget(seconds=seconds), _suggest(epochs), evaluate, clock=clock, factor=factor)
    best = trials.best
    refit = 0.0
    if best is not None and best.candidate is not None:
        passes = best.best_epoch if epochs else 1
        refit = passes * evaluate.cost(best.candidate) * factor
        refit = refit if refit <= seconds / 4 else 0.0  # one that takes more is not done
    # What no prediction can foresee is that an epoch has begun when the time runs out. A first closed form always runs.
    grace = refit if len(trials) == 1 else evaluate.cost(best.candidate) if epochs and best and best.candidate else 0
    assert clock.now + refit <= seconds + grace


def test_no_time_is_spent_on_what_does_not_fit() -> None:
    clock = Clock()
    evaluate = Recorded(clock, cost=lambda candidate: 1000.0 if clock.now else 1.0)
    trials = _run(Budget(seconds=60.0), evaluate=evaluate, clock=clock)
    assert (len(trials), clock.now) == (1, 1.0)  # and the loop ends


def test_a_closed_form_runs_however_small_the_budget() -> None:
    # A result that comes late is worth more than none.
    clock = Clock()
    trials = _run(Budget(seconds=1.0), evaluate=Recorded(clock, cost=lambda candidate: 5.0), clock=clock)
    assert trials.counts() == {"complete": 1, "paused": 0, "pruned": 0, "failed": 0}


def test_a_candidate_is_shortened_to_what_fits() -> None:
    # 12 epochs of 10 s do not fit into a fiftieth of 3,500 s; 7 do.
    clock = Clock()
    evaluate = Recorded(clock, cost=lambda candidate: 10.0)
    trials = _run(Budget(seconds=3500.0, trials=1), _suggest(12), evaluate, clock=clock)
    (record,) = trials
    assert record.candidate is not None
    assert record.candidate.training["epochs"] == 7
    assert (record.epochs, record.state, record.reason) == (7, "complete", "")


def test_a_trial_is_not_shortened_below_three_epochs() -> None:
    # A fiftieth of 1,400 s is 28 s: two epochs of 10 s.
    clock = Clock()
    evaluate = Recorded(clock, cost=lambda candidate: 10.0)
    trials = _run(
        Budget(seconds=1400.0), _suggest(12), evaluate, clock=clock, schedule=_given(0.5, source="fine_tuning")
    )
    assert [record.epochs for record in trials] == [12]


@pytest.mark.parametrize(("seconds", "epochs"), [(1400.0, 12), (60.0, 5), (25.0, 2), (12.0, 1), (10.0, 1)])
def test_the_first_trial_may_use_the_whole_budget(seconds: float, epochs: int) -> None:
    clock = Clock()
    evaluate = Recorded(clock, cost=lambda candidate: 10.0)
    trials = _run(Budget(seconds=seconds), _suggest(12), evaluate, clock=clock)
    assert [(record.state, record.epochs) for record in trials] == [("complete", epochs)]
    assert trials.why_none_fits == ""


def test_the_first_trial_ends_its_first_epoch_beyond_the_time() -> None:
    # It was predicted to take 4 s and takes 15 s of 10 s: late, and a result. The next epoch is cut.
    clock = Clock()
    evaluate = Recorded(clock, cost=lambda candidate: 15.0)
    evaluate.predicted_seconds = lambda candidate, until=None, after=0: (
        4.0
        * (  # type: ignore[method-assign]
            (candidate.training["epochs"] if until is None else until) - after
        )
    )
    (record,) = _run(Budget(seconds=10.0), _suggest(12), evaluate, clock=clock)
    assert (record.state, record.epochs) == ("complete", 1)
    assert record.reason == "the time ran out after epoch 1"


def test_of_what_does_not_fit_the_cheapest_is_tried() -> None:
    clock = Clock()
    evaluate = Recorded(clock, cost=lambda candidate: 1.0 + 20.0 * float(candidate.head_params["x"]))
    (record,) = _run(Budget(seconds=30.0), _suggest(12), evaluate, clock=clock)
    assert record.candidate is not None
    assert record.candidate.head_params["x"] < 0.1


def test_where_no_epoch_fits_it_is_said_what_the_cheapest_takes() -> None:
    clock = Clock()
    evaluate = Recorded(clock, cost=lambda candidate: 10.0)
    trials = _run(Budget(seconds=4.0), _suggest(12), evaluate, clock=clock)
    assert len(trials) == 0
    assert trials.why_none_fits.startswith(
        "the budget was too small for any: the cheapest that was looked at, b + linear"
    )
    assert (
        "takes about 10 s for a single epoch, and 4 s of 4 s were left. Give a longer time budget"
        in trials.why_none_fits
    )


@pytest.mark.slow
def test_fewer_epochs_do_not_shorten_the_first_pass() -> None:
    # A prefix that has to be computed first takes 90 s, an epoch 1 s: fewer epochs would not make it fit into 20 s.
    clock = Clock()

    class Cold(Recorded):
        def predicted_seconds(self, candidate: Candidate, until: int | None = None, after: int = 0) -> float:
            return 90.0 + super().predicted_seconds(candidate, until)

    assert len(_run(Budget(seconds=80.0), _suggest(12), Cold(clock), clock=clock)) == 0
    (record,) = _run(Budget(seconds=110.0), _suggest(30), Cold(clock), clock=clock)
    assert record.epochs == 9, "where nothing else fits, the first trial may take all"


def test_what_is_due_may_take_more_than_what_is_sampled() -> None:
    clock = Clock()
    evaluate = Recorded(clock, cost=lambda candidate: 10.0)
    budget = Budget(seconds=700.0, trials=1)
    trials = _run(budget, _suggest(12), evaluate, clock=clock, schedule=_given(0.5, source="fine_tuning"))
    assert [record.epochs for record in trials] == [12]


def test_equal_candidates_run_once_and_end_the_search() -> None:
    clock = Clock()
    evaluate = Recorded(clock)

    def suggest(trial: optuna.trial.Trial) -> Candidate:
        return Candidate(backbone="b", head_params={"x": trial.suggest_categorical("x", [0.1, 0.2, 0.3])})

    trials = _run(Budget(trials=50), suggest, evaluate, clock=clock)
    assert len(trials) == len(evaluate.seen) == len(set(evaluate.seen)) == 3


def test_a_search_without_a_gain_spends_its_time_all_the_same() -> None:
    clock = Clock()
    evaluate = Recorded(clock, score=lambda candidate, epoch: 1.0 if len(evaluate.seen) == 1 else 0.5)
    assert len(_run(Budget(seconds=100.0), evaluate=evaluate, clock=clock)) > 90


# --- how trials end ------------------------------------------------------------------------------------------------


def test_a_poor_curve_is_pruned_and_cannot_win() -> None:
    clock = Clock()

    class Flattering(Recorded):
        def __call__(self, candidate: Candidate, *args: Any) -> Evaluation:
            evaluation = super().__call__(candidate, *args)
            return replace(evaluation, objective=99.0) if candidate.backbone == "6" else evaluation

    def suggest(trial: optuna.trial.Trial) -> Candidate:
        return Candidate(backbone=str(trial.number), training={"epochs": 6})

    evaluate = Flattering(clock, score=lambda candidate, epoch: 0.1 if candidate.backbone == "6" else 0.8)
    study = make_study(seed=0, curves=50)
    trials = _run(Budget(trials=7), suggest, evaluate, clock=clock, study=study)
    last = trials.records[-1]
    assert (last.state, last.epochs, last.score) == ("pruned", 2, 0.1)
    assert last.reason == "below the other trials at epoch 2"
    assert trials.best is trials.records[0]
    assert study.trials[-1].state is TrialState.PRUNED


def test_a_trial_that_raises_is_recorded_with_its_reason() -> None:
    clock = Clock()

    def score(candidate: Candidate, epoch: int) -> float:
        if candidate.backbone == "1":
            raise TrialError("the loss became nan")
        if candidate.backbone == "2" and epoch == 2:
            raise ZeroDivisionError("in a head\nof two lines")
        return 0.5

    def suggest(trial: optuna.trial.Trial) -> Candidate:
        return Candidate(backbone=str(trial.number), training={"epochs": 3})

    study = make_study(seed=0, curves=50)
    trials = _run(Budget(trials=4), suggest, Recorded(clock, score=score), clock=clock, study=study)
    assert [record.state for record in trials] == ["complete", "failed", "failed", "complete"]
    assert [record.reason for record in trials] == [
        "",
        "the loss became nan",  # our own errors in their words
        "ZeroDivisionError: in a head of two lines",
        "",
    ]
    third = trials.records[2]
    assert (third.epochs, third.curve, third.score) == (1, (0.5,), None)
    assert third.candidate is not None
    assert [trial.state for trial in study.trials][1:3] == [TrialState.FAIL, TrialState.FAIL]


@pytest.mark.parametrize("where", ["suggest", "predicted_seconds"])
def test_a_plugin_error_before_a_trial_costs_this_trial_only(where: str) -> None:
    clock = Clock()

    class Broken(Recorded):
        def predicted_seconds(self, candidate: Candidate, until: int | None = None, after: int = 0) -> float:
            if where == "predicted_seconds" and candidate.backbone == "1":
                raise ValueError("no such stage")
            return 1.0

    def suggest(trial: optuna.trial.Trial) -> Candidate:
        if where == "suggest" and trial.number == 1:
            raise ValueError("no such stage")
        return Candidate(backbone=str(trial.number))

    evaluate = Broken(clock, score=lambda candidate, epoch: 0.5)
    trials = _run(Budget(trials=3), suggest, evaluate, clock=clock)
    assert [(record.state, record.reason) for record in trials] == [
        ("complete", ""),
        ("failed", "ValueError: no such stage"),
        ("complete", ""),
    ]
    assert trials.records[1].candidate is None


def test_an_error_of_the_schedule_costs_one_proposal_only(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Listed):
        def next(self, trials: Trials, left: float, running: Sequence[Proposal] = ()) -> Proposal | None:
            raise ValueError("no such stage")

    assert len(_run(Budget(trials=2), schedule=Broken())) == 2
    assert "ValueError: no such stage" in caplog.text


def test_a_score_that_is_not_defined_is_a_failed_trial() -> None:
    # A metric may be undefined on what a fold holds; such a trial must not win by being compared with NaN.
    clock = Clock()
    evaluate = Recorded(clock, score=lambda candidate, epoch: math.nan if len(evaluate.seen) == 2 else 0.5)
    trials = _run(Budget(trials=3), evaluate=evaluate, clock=clock)
    assert [record.state for record in trials] == ["complete", "failed", "complete"]
    assert "not defined" in trials.records[1].reason
    assert trials.best is trials.records[0]


def test_a_trial_that_the_time_ends_counts_with_its_epochs() -> None:
    # The prediction is too low by half, so the time runs out in the fourth of six epochs.
    clock = Clock()

    class Hopeful(Recorded):
        def predicted_seconds(self, candidate: Candidate, until: int | None = None, after: int = 0) -> float:
            return super().predicted_seconds(candidate) / 100

    evaluate = Hopeful(clock, cost=lambda candidate: 3.0, score=lambda candidate, epoch: 0.1 * epoch)
    trials = _run(Budget(seconds=10.0), _suggest(6), evaluate, clock=clock, factor=0.0, schedule=_given(0.5))
    (record,) = trials
    assert (record.state, record.epochs, record.score) == ("complete", 3, pytest.approx(0.3))
    assert record.reason == "the time ran out after epoch 3"


def test_a_trial_that_overruns_leaves_its_time_to_others() -> None:
    # A sampled trial may take 5 s of 250. This one was predicted to, but takes 3 s an epoch: it ends after 7.5 s.
    clock = Clock()

    class Hopeful(Recorded):
        def predicted_seconds(self, candidate: Candidate, until: int | None = None, after: int = 0) -> float:
            return 4.0

    trials = _run(Budget(seconds=250.0), _suggest(30), Hopeful(clock, cost=lambda candidate: 3.0), clock=clock)
    assert max(record.epochs for record in trials) == 2
    assert len(trials) > 3


def test_the_screening_may_take_more_than_what_is_sampled() -> None:
    # A first look at a large backbone is worth its time, and nothing else would ever show what it can do.
    clock = Clock()
    evaluate = Recorded(clock, cost=lambda candidate: 10.0 if len(evaluate.seen) < 3 else 100.0)
    trials = _run(Budget(seconds=100.0), evaluate=evaluate, clock=clock, schedule=_given(0.25, 0.5, 0.75))
    assert [record.candidate.head_params["x"] for record in trials if record.candidate] == [0.25, 0.5, 0.75]


def test_a_trial_without_an_epoch_in_time_is_pruned() -> None:
    clock = Clock()

    class Hopeful(Recorded):
        def predicted_seconds(self, candidate: Candidate, until: int | None = None, after: int = 0) -> float:
            return 0.1

    study = make_study(seed=0, curves=50)
    evaluate = Hopeful(clock, cost=lambda candidate: 30.0)
    (record,) = _run(Budget(seconds=10.0), _suggest(6), evaluate, clock=clock, study=study)
    assert (record.state, record.reason) == ("pruned", "the time ran out before the first epoch ended")
    assert study.trials[0].state is TrialState.PRUNED


def test_an_interrupt_ends_the_search() -> None:
    def score(candidate: Candidate, epoch: int) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _run(Budget(trials=3), evaluate=Recorded(Clock(), score=score))


# --- who is told, and who decides ----------------------------------------------------------------------------------


def test_observers_see_every_trial_once_in_order() -> None:
    told: list[TrialRecord] = []
    study = make_study(seed=0, curves=50)

    def observe(record: TrialRecord) -> None:
        told.append(record)
        assert study.trials[-1].state.is_finished()

    trials = _run(Budget(trials=5), study=study, observe=observe)
    assert told == list(trials)
    assert [record.number for record in told] == [0, 1, 2, 3, 4]


def test_duplicates_take_no_number_and_are_not_reported() -> None:
    told: list[int] = []

    def suggest(trial: optuna.trial.Trial) -> Candidate:
        return Candidate(backbone="b", head_params={"x": trial.number // 2})

    _run(Budget(trials=4), suggest, observe=lambda record: told.append(record.number))
    assert told == [0, 1, 2, 3]


def test_proposals_are_carried_out_and_their_outcome_observed() -> None:
    schedule = Listed([Proposal(), Proposal(), Proposal(params={"x": 0.125})])
    trials = _run(Budget(trials=4), schedule=schedule)
    assert schedule.known == [0, 1, 2, 3]
    assert [record.score for record in trials][2] == 0.125
    assert schedule.told == list(trials)


def test_the_schedule_ends_the_search_and_learns_of_rejections() -> None:
    schedule = Listed([Proposal(params={"x": 0.5}), Proposal(params={"x": 0.5}), None])
    trials = _run(Budget(trials=9), schedule=schedule)
    assert [record.score for record in trials] == [0.5]
    assert schedule.told == [trials.records[0], None]


# --- pausing and going on ------------------------------------------------------------------------------------------


def _stop_and_go() -> Listed:
    first, second = (Proposal(params={"x": x}, source="planned", until=2) for x in (0.25, 0.5))
    return Listed([first, second, Proposal(resumes=0, source="planned", until=6), None])


def test_a_paused_trial_resumes_without_repeating_a_step() -> None:
    clock = Clock()
    evaluate = Recorded(clock, score=lambda candidate, epoch: 0.1 * epoch)
    told: list[tuple[int, str, int]] = []
    trials = _run(
        Budget(seconds=1000.0),
        _suggest(6),
        evaluate,
        clock=clock,
        schedule=_stop_and_go(),
        observe=lambda record: told.append((record.number, record.state, record.epochs)),
    )
    assert told == [(0, "paused", 2), (1, "paused", 2), (0, "complete", 6)]
    assert clock.now == 6 + 2
    first, second = trials.records
    assert (first.curve, first.seconds) == (tuple(0.1 * epoch for epoch in range(1, 7)), 6.0)
    assert second.reason == "other candidates promised more after epoch 2"
    assert trials.counts() == {"complete": 1, "paused": 1, "pruned": 0, "failed": 0}


def test_a_paused_trial_keeps_its_candidate() -> None:
    # Backbones are looked at in more views meanwhile: what was trained in one view has its checkpoint under that.
    evaluate, asked = Recorded(Clock(), score=lambda candidate, epoch: 0.1 * epoch), list[int]()

    def suggest(trial: optuna.trial.Trial) -> Candidate:
        asked.append(len(asked) + 1)
        training = {"epochs": 6, "views": asked[-1]}
        return Candidate(backbone="b", head_params={"x": trial.suggest_float("x", 0, 1)}, training=training)

    trials = _run(Budget(seconds=1000.0), suggest, evaluate, clock=evaluate.clock, schedule=_stop_and_go())
    assert [candidate.training["views"] for candidate in evaluate.seen] == [1, 2, 1]
    assert trials.records[0].candidate == evaluate.seen[0]
    assert trials.records[0].epochs == 6


def test_a_paused_trial_can_win() -> None:
    # It was scored as any other was; that others promised more later does not take its score away.
    clock = Clock()
    evaluate = Recorded(clock, score=lambda candidate, epoch: 0.9 if candidate.head_params["x"] == 0.5 else 0.1)
    trials = _run(Budget(seconds=1000.0), _suggest(6), evaluate, clock=clock, schedule=_stop_and_go())
    assert trials.best is trials.records[1]
    assert trials.best.state == "paused"


def test_what_goes_on_is_planned_anew_for_as_many_epochs_as_fit() -> None:
    # An epoch takes twice what it was expected to: of ten, four more fit into nine tenths of the 90 seconds left.
    clock = Clock()
    evaluate = Recorded(clock, score=lambda candidate, epoch: 0.1 * epoch, cost=lambda candidate: 20.0)
    predicted = evaluate.predicted_seconds
    evaluate.predicted_seconds = (  # type: ignore[method-assign]
        lambda candidate, until=None, after=0: predicted(candidate, until, after) / (1.0 if evaluate.seen else 2.0)
    )
    proposals = [Proposal(params={"x": 0.5}, source="planned", until=1)]
    proposals += [Proposal(resumes=0, source="planned", until=until) for until in (3, 10, 10)]
    budget = Budget(seconds=110.0, trials=2)
    trials = _run(budget, _suggest(10), evaluate, clock=clock, factor=0.0, schedule=Listed([*proposals, None]))
    planned = [candidate.training["epochs"] for candidate in evaluate.seen]
    assert planned == [10, 5, 5, 5]
    (record,) = trials
    assert (record.state, record.epochs, clock.now) == ("complete", 5, 100.0)
    assert record.candidate is not None
    assert record.candidate.training["epochs"] == 5


def test_a_plan_that_was_too_short_grows_when_resumed() -> None:
    clock = Clock()
    evaluate = Recorded(clock, score=lambda candidate, epoch: 0.1 * epoch)
    predicted = evaluate.predicted_seconds
    evaluate.predicted_seconds = (  # type: ignore[method-assign]
        lambda candidate, until=None, after=0: predicted(candidate, until, after) * (1.0 if evaluate.seen else 20.0)
    )
    proposals = [
        Proposal(params={"x": 0.5}, source="planned", until=1),
        Proposal(resumes=0, source="planned", until=10),
    ]
    budget = Budget(seconds=100.0, trials=2)
    (record,) = _run(budget, _suggest(10), evaluate, clock=clock, factor=0.0, schedule=Listed([*proposals, None]))
    assert [candidate.training["epochs"] for candidate in evaluate.seen] == [5, 10]
    assert (record.state, record.epochs) == ("complete", 10)


def test_a_shortened_trial_is_replanned_before_its_last_epoch() -> None:
    # A first epoch takes longer than those that follow: after the fourth of five, there is time for four more.
    evaluate = Recorded(Clock(), score=lambda candidate, epoch: 0.1 * epoch, cost=lambda candidate: 10.0)
    predicted = evaluate.predicted_seconds
    evaluate.predicted_seconds = (  # type: ignore[method-assign]
        lambda candidate, until=None, after=0: (
            predicted(candidate, until, after) * (1.0 if len(evaluate.seen) > 1 else 2.0)
        )
    )
    proposals = [Proposal(params={"x": 0.5}, source="planned", until=1)]
    proposals += [Proposal(resumes=0, source="planned", until=10)] * 3
    budget, clock = Budget(seconds=100.0, trials=2), evaluate.clock
    (record,) = _run(budget, _suggest(10), evaluate, clock=clock, factor=0.0, schedule=Listed([*proposals, None]))
    assert [candidate.training["epochs"] for candidate in evaluate.seen] == [5, 5, 9, 9]
    assert (record.state, record.epochs, clock.now) == ("complete", 9, 90.0)


def test_the_last_planned_epoch_is_trained_where_it_fits() -> None:
    # Of what is left, nine tenths would be too little: but rates have fallen nearly to their end by now.
    evaluate = Recorded(Clock(), score=lambda candidate, epoch: 0.1 * epoch, cost=lambda candidate: 10.0)
    proposals = [Proposal(params={"x": 0.5}, source="planned", until=1)]
    proposals += [Proposal(resumes=0, source="planned", until=10)] * 2
    budget, clock = Budget(seconds=50.5, trials=2), evaluate.clock
    (record,) = _run(budget, _suggest(10), evaluate, clock=clock, factor=0.0, schedule=Listed([*proposals, None]))
    assert (record.state, record.epochs, clock.now) == ("complete", 4, 40.0)


def test_what_cannot_finish_another_epoch_does_not_go_on() -> None:
    clock = Clock()
    evaluate = Recorded(clock, cost=lambda candidate: 20.0)
    predicted = evaluate.predicted_seconds
    evaluate.predicted_seconds = (  # type: ignore[method-assign]
        lambda candidate, until=None, after=0: predicted(candidate, until, after) / (1.0 if evaluate.seen else 2.0)
    )
    proposals = [Proposal(params={"x": 0.5}, source="planned", until=1), Proposal(resumes=0, source="planned"), None]
    budget = Budget(seconds=39.0, trials=2)
    schedule = Listed(proposals)
    (record,) = _run(budget, _suggest(2), evaluate, clock=clock, factor=0.0, schedule=schedule)
    assert (record.state, record.epochs, clock.now) == ("paused", 1, 20.0)
    assert schedule.told == [record, None]


def test_a_candidate_is_one_trial_from_ask_to_tell() -> None:
    clock, study, states = Clock(), make_study(seed=0, curves=50), list[list[TrialState]]()

    def observe(record: TrialRecord) -> None:
        states.append([trial.state for trial in study.trials])

    _run(
        Budget(seconds=1000.0),
        _suggest(6),
        Recorded(clock),
        clock=clock,
        study=study,
        schedule=_stop_and_go(),
        observe=observe,
    )
    running, complete = TrialState.RUNNING, TrialState.COMPLETE
    assert states == [[running], [running, running], [complete, running]], "a paused one is running"
    assert [trial.params["x"] for trial in study.trials] == [0.25, 0.5]
    assert [sorted(trial.intermediate_values) for trial in study.trials] == [[1, 2, 3, 4, 5, 6], [1, 2]]
    assert [trial.state for trial in study.trials] == [complete, complete], "the best one ends as complete"
    assert study.best_trial.number == 1


def test_what_rests_at_the_end_is_pruned_unless_it_is_best() -> None:
    clock, study = Clock(), make_study(seed=0, curves=50)
    proposals = [Proposal(params={"x": x}, source="planned", until=2) for x in (0.25, 0.75, 0.5)]
    evaluate, budget = Recorded(clock), Budget(seconds=1000.0)
    _run(budget, _suggest(6), evaluate, clock=clock, study=study, schedule=Listed([*proposals, None]))
    assert [trial.state.name for trial in study.trials] == ["PRUNED", "COMPLETE", "PRUNED"]
    assert study.best_trial.params["x"] == 0.75
    assert study.trials[0].user_attrs["reason"] == "other candidates promised more after epoch 2"
    assert [trial.user_attrs["trial"] for trial in study.trials] == [0, 1, 2]


def test_what_is_drawn_again_does_not_enter_the_study() -> None:
    def suggest(trial: optuna.trial.Trial) -> Candidate:
        return Candidate(backbone="b", head_params={"x": trial.suggest_categorical("x", [0.25, 0.75])})

    study, clock = make_study(seed=0, curves=50), Clock()
    trials = _run(Budget(trials=9), suggest, Recorded(clock), clock=clock, study=study, schedule=Listed())
    assert sorted(record.score for record in trials if record.score is not None) == [0.25, 0.75]
    assert len(study.trials) == 2
    assert all(trial.state is TrialState.COMPLETE for trial in study.trials)


def test_the_level_of_the_log_of_optuna_stays_the_users() -> None:
    before = optuna.logging.get_verbosity()
    try:
        optuna.logging.set_verbosity(optuna.logging.DEBUG)
        _run(Budget(trials=1), schedule=_given(0.75))
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
    finally:
        optuna.logging.set_verbosity(before)


def test_a_resumed_trial_that_fails_keeps_its_score() -> None:
    def score(candidate: Candidate, epoch: int) -> float:
        if epoch == 4:
            raise TrialError("the loss became nan")
        return 0.5

    clock = Clock()
    trials = _run(
        Budget(seconds=1000.0), _suggest(6), Recorded(clock, score=score), clock=clock, schedule=_stop_and_go()
    )
    first = trials.records[0]
    assert (first.state, first.epochs, first.score, first.reason) == (
        "complete",
        2,
        0.5,
        "could not go on: the loss became nan",
    )
    assert trials.best is first, "what failed later was scored as any other"
    late = Recorded(clock := Clock(), cost=lambda candidate: 1.0 if clock.now < 4 else 1000.0)
    late.predicted_seconds = lambda candidate, until=None, after=0: 1.0  # type: ignore[method-assign]
    trials = _run(Budget(seconds=100.0), _suggest(6), late, clock=clock, factor=0.0, schedule=_stop_and_go())
    assert (trials.records[0].state, trials.records[0].epochs) == ("complete", 2)
    assert trials.records[0].score is not None


def test_objectives_decide_and_scores_are_reported() -> None:
    # The objective takes off what a lucky fold flatters.
    clock = Clock()

    def evaluate(candidate: Candidate, *args: Any) -> Evaluation:
        x = float(candidate.head_params["x"])
        return Evaluation(score=x, objective=-x)

    evaluate.predicted_seconds = lambda candidate, until=None, after=0: 0.0  # type: ignore[attr-defined]
    trials = _run(Budget(trials=6), evaluate=evaluate, clock=clock)
    assert trials.best is not None
    assert trials.best.score == min(record.score for record in trials if record.score is not None)


def test_the_study_learns_the_objective() -> None:
    study = make_study(seed=0, curves=50)
    _run(Budget(trials=1), study=study, schedule=_given(0.75))
    assert study.best_value == 0.75
    assert study.trials[0].user_attrs["candidate"]["head_params"] == {"x": 0.75}


def test_time_that_ends_during_a_proposal_ends_the_search() -> None:
    # Loading a backbone to ask for its stages takes time, too; what is predicted to cost nothing must not divide by it.
    clock = Clock()

    def suggest(trial: optuna.trial.Trial) -> Candidate:
        clock.now += 6.0
        return _suggest(12 if clock.now > 6.0 else 0)(trial)

    trials = _run(Budget(seconds=10.0), suggest, Recorded(clock, cost=lambda candidate: 0.0), clock=clock)
    assert [record.state for record in trials] == ["complete", "pruned"]
    assert trials.records[1].reason == "the time ran out before the first epoch ended"


# --- a sample of the images ------------------------------------------------------------------------------------------


@dataclass
class Sampled(Recorded):
    """Tells the score on a sample first, which is the score itself."""

    def __call__(
        self, candidate: Candidate, report: Report, expired: Callable[[], bool], until: int | None = None
    ) -> Evaluation:
        found = super().__call__(candidate, report, expired, until)
        report(0, found.score)
        return found

    def restore(self, trials: Trials) -> None:
        """There is nothing to be learned again."""


def test_a_score_far_below_the_best_on_the_sample_prunes() -> None:
    xs = (0.8, 0.5, 0.75, 0.9, 0.83)
    trials = _run(Budget(trials=5), evaluate=Sampled(Clock()), schedule=_given(*xs))
    assert [record.state for record in trials] == ["complete", "pruned", "complete", "complete", "pruned"]
    assert trials.records[1].reason == "far below the best score on a sample of the examples, 0.800"
    assert [record.sample_score for record in trials] == list(xs)


def test_a_costly_pass_needs_a_better_score_on_the_sample() -> None:
    # Of 100 s, 2 are cheap: 0.05 below the best is forgiven. 10 are not, unless it is about as good.
    def cost(candidate: Candidate) -> float:
        return 2.0 if candidate.head_params["x"] == 0.751 else 10.0

    xs = (0.8, 0.75, 0.751, 0.795)
    clock = Clock()
    evaluate = Sampled(clock, cost=cost)
    trials = _run(Budget(seconds=120.0), evaluate=evaluate, schedule=_given(*xs), clock=clock)
    assert [record.state for record in trials][:4] == ["complete", "pruned", "complete", "complete"]


def test_a_search_that_goes_on_knows_the_best_on_the_sample() -> None:
    storage = optuna.storages.InMemoryStorage()
    for budget, states in ((1, ["complete"]), (2, ["complete", "pruned"])):
        study = make_study(seed=0, curves=50, storage=storage, name="search")
        trials = _run(Budget(trials=budget), evaluate=Sampled(Clock()), schedule=_given(0.8, 0.5), study=study)
        assert [record.state for record in trials] == states


# --- a search that goes on -------------------------------------------------------------------------------------------


def test_a_resumed_search_reserves_the_refit_first() -> None:
    storage, clock, said = optuna.storages.InMemoryStorage(), Clock(), list[tuple[int, float, int]]()
    study, began = make_study(seed=0, curves=50, storage=storage, name="search"), Clock()
    begun = Sampled(began, cost=lambda candidate: 4.0)
    _run(Budget(trials=2), evaluate=begun, schedule=_given(0.8, 0.5), study=study, clock=began)
    time_budget, trials = TimeBudget(Budget(seconds=100.0), clock=clock), Trials()
    evaluate = Sampled(clock)
    search(
        make_study(seed=0, curves=50, storage=storage, name="search"),
        _suggest(),
        evaluate,
        time_budget,
        Listed(),
        trials=trials,
        refit_factor=1.25,
        observe=lambda record: None,
        resumed=lambda: said.append((len(trials), time_budget.reservations["refit"], len(evaluate.seen))),
    )
    assert said == [(2, 5.0, 0)]  # 4 s, times what all examples are to those that were trained on


def test_a_full_disk_ends_the_search() -> None:
    def full(record: TrialRecord) -> None:
        raise OutputError("the disk is full")

    study = make_study(seed=0, curves=50)
    with pytest.raises(OutputError):
        _run(Budget(trials=2), study=study, observe=full)

    def report(epoch: int, score: float) -> float:
        raise OutputError("the disk is full")

    evaluate = Recorded(Clock(), score=lambda candidate, epoch: report(epoch, 0.0))
    with pytest.raises(OutputError):
        _run(Budget(trials=2), _suggest(3), evaluate, study=(study := make_study(seed=0, curves=50)))
    assert [trial.state for trial in study.trials] == [TrialState.RUNNING], "it is carried out again"
