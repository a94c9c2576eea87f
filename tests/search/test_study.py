"""The study: what it begins with, how it repeats, and what it stops."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages.journal import JournalStorage

from autotransfer.errors import OutputError
from autotransfer.search.study import OneWriterJournal, make_study


def _values(seed: int) -> list[float]:
    study = make_study(seed=seed, curves=50)
    study.optimize(lambda trial: -((trial.suggest_float("x", 0, 1) - 0.3) ** 2), n_trials=25)
    return [trial.params["x"] for trial in study.trials]


def test_equal_seeds_propose_the_same_and_others_do_not() -> None:
    assert _values(1) == _values(1)
    assert _values(1) != _values(2)


def test_it_maximises_and_what_is_enqueued_comes_first() -> None:
    study = make_study(seed=0, curves=50)
    study.enqueue_trial({"x": 0.25})
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1) + trial.suggest_float("y", 0, 1), n_trials=2)
    assert study.trials[0].params["x"] == 0.25
    assert 0 <= study.trials[0].params["y"] <= 1
    assert study.best_value == max(trial.value or 0.0 for trial in study.trials)


def test_the_more_curves_there_are_the_more_are_pruned() -> None:
    # Of five equally spaced curves' scores at an epoch, the pruners ask for the upper part of them.
    def stopped(curves: int) -> int:
        study = make_study(seed=0, curves=curves)
        for number in range(20):
            trial = study.ask()
            trial.report(number / 20, 3)
            study.tell(trial, number / 20)
        count = 0
        for number in range(20):
            trial = study.ask()
            trial.report(number / 20, 3)
            count += trial.should_prune()
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return count

    assert stopped(5) == 0
    assert 0 < stopped(50) < stopped(200)


def _with_history(curves: int) -> optuna.Study:
    study = make_study(seed=0, curves=50)
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


class _Full:
    """A file of a disk that is full: half of what is written gets there."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __enter__(self) -> _Full:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> None:
        self._file.write(data[: len(data) // 2])
        self._file.flush()
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_journal_on_a_full_disk_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "study.journal"
    study = make_study(seed=0, curves=50, storage=JournalStorage(OneWriterJournal(path)), name="s")
    study.tell(study.ask(), 0.5)
    before, opened = path.read_bytes(), Path.open
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", lambda self, *mode: _Full(opened(self, *mode)))
        with pytest.raises(OutputError, match=rf"{tmp_path} cannot be written: the disk is full\. Once .* resume"):
            study.ask()
    assert path.read_bytes() == before, "no half entry is left"
    again = make_study(seed=0, curves=50, storage=JournalStorage(OneWriterJournal(path)), name="s")
    again.tell(again.ask(), 0.6)
    assert [trial.value for trial in again.trials] == [0.5, 0.6]
