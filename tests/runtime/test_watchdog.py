"""What hangs is ended, what lives is not, and nothing of it is left behind."""

from __future__ import annotations

import signal
import threading
import time
from types import SimpleNamespace

import pytest

from autotransfer.candidate import Candidate
from autotransfer.errors import TrialError
from autotransfer.runtime.watchdog import ended_when_silent
from autotransfer.search.jobs import Evaluation, Inline, Job


def _sleeping(*arguments: object) -> Evaluation:
    time.sleep(60)
    return Evaluation(score=1.0)


def _swallowing(*arguments: object) -> Evaluation:
    for _ in range(2):
        try:
            time.sleep(60)
        except TrialError:
            continue
    raise AssertionError("it was not interrupted again")


def _looping(*arguments: object) -> Evaluation:
    while True:
        pass


@pytest.mark.parametrize("evaluate", [_sleeping, _looping])
def test_a_trial_that_hangs_is_ended(evaluate: object) -> None:
    executor = Inline(evaluate, patience=0.2)  # type: ignore[arg-type]
    job = Job(candidate=Candidate(backbone="a"), report=lambda epoch, score: False, expired=lambda: False)
    executor.submit(job)
    ((ended, error),) = executor.poll()
    assert ended is job
    assert isinstance(error, TrialError)
    assert str(error).startswith("it hung: no sign of life for ")
    assert executor.free() == 1


def test_a_trial_that_swallows_the_error_is_interrupted_again() -> None:
    with pytest.raises(AssertionError, match="not interrupted again"), ended_when_silent(0.1):
        _swallowing()


def test_who_shows_life_may_take_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("autotransfer.runtime.watchdog.time", SimpleNamespace(monotonic=lambda: now))
    with ended_when_silent(0.1) as alive:
        for _ in range(8):
            time.sleep(0.05)  # the watch looks again after a tenth of a second by any clock
            now += 0.09
            alive()


def test_a_signal_that_comes_too_late_does_nothing() -> None:
    with ended_when_silent(10.0):
        pass
    signal.raise_signal(signal.SIGUSR1)
    with ended_when_silent(10.0):
        signal.raise_signal(signal.SIGUSR1)


def test_a_program_that_uses_the_signal_itself_keeps_it() -> None:
    before = signal.signal(signal.SIGUSR1, own := lambda number, frame: None)
    try:
        with ended_when_silent(0.05):
            time.sleep(0.2)
        assert signal.getsignal(signal.SIGUSR1) is own
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_outside_of_the_main_thread_nothing_is_ended() -> None:
    ended: list[bool] = []

    def work() -> None:
        with ended_when_silent(0.05):
            time.sleep(0.2)
        ended.append(False)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended == [False]
