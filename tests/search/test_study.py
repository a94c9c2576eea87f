"""The study: what it begins with, how it repeats, and what it stops."""

from __future__ import annotations

import optuna

from autotransfer.search.study import make_study


def _values(seed: int) -> list[float]:
    study = make_study(seed=seed, first=[{"x": 0.5}])
    study.optimize(lambda trial: -((trial.suggest_float("x", 0, 1) - 0.3) ** 2), n_trials=25)
    return [trial.params["x"] for trial in study.trials]


def test_equal_seeds_propose_the_same_and_others_do_not() -> None:
    assert _values(1) == _values(1)
    assert _values(1) != _values(2)


def test_it_begins_with_the_given_trials_in_order_and_maximises() -> None:
    study = make_study(seed=0, first=[{"x": 0.25}, {"x": 0.75}])
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    assert [trial.params["x"] for trial in study.trials] == [0.25, 0.75]
    assert study.best_value == 0.75


def test_what_the_first_trials_leave_open_is_sampled() -> None:
    study = make_study(seed=0, first=[{"x": 0.25}])
    trial = study.ask()
    assert trial.suggest_float("x", 0, 1) == 0.25
    assert 0 <= trial.suggest_float("y", 0, 1) <= 1


def _with_history(curves: int) -> optuna.Study:
    study = make_study(seed=0, first=[])
    for number in range(curves):
        trial = study.ask()
        for epoch in range(1, 6):
            trial.report(0.5 + 0.01 * number + 0.05 * epoch, epoch)
        study.tell(trial, 0.75 + 0.01 * number)
    return study


def test_a_poor_curve_is_stopped_but_not_in_its_first_epoch() -> None:
    trial = _with_history(6).ask()
    trial.report(0.1, 1)
    assert not trial.should_prune()  # a first epoch says little
    trial.report(0.1, 2)
    assert trial.should_prune()


def test_a_good_curve_goes_on_and_few_curves_stop_nobody() -> None:
    good = _with_history(6).ask()
    good.report(0.9, 3)
    assert not good.should_prune()
    lonely = _with_history(3).ask()
    lonely.report(0.0, 3)
    assert not lonely.should_prune()
