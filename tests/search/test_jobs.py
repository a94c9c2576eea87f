"""A trial in the process of the search checks its deadline between batches."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from autotransfer.candidate import Candidate
from autotransfer.errors import TrialError
from autotransfer.search.jobs import Evaluation, Inline, Job, Report, heartbeat_timeout


def _outcome(batch_seconds: float) -> Evaluation | Exception:
    def evaluate(
        candidate: Candidate, report: Report, expired: Callable[[], bool], until: int | None = None
    ) -> Evaluation:
        for _ in range(4):
            time.sleep(batch_seconds)
            expired()
        return Evaluation(score=1.0)

    executor = Inline(evaluate, trial_timeout=0.2)  # type: ignore[arg-type]
    job = Job(candidate=Candidate(backbone="a"), report=lambda epoch, score: False, expired=lambda: False)
    executor.submit(job)
    assert executor.free() == 0
    ((ended, found),) = executor.poll()
    assert ended is job
    assert executor.free() == 1
    return found


def test_inline_trial_fails_after_a_batch_over_the_timeout() -> None:
    found = _outcome(0.25)
    assert isinstance(found, TrialError)
    assert str(found).startswith("it hung: no sign of life for ")


def test_inline_trial_of_short_batches_may_exceed_the_timeout() -> None:
    assert isinstance(_outcome(0.06), Evaluation)


def test_heartbeat_timeout_grows_with_the_predicted_seconds() -> None:
    assert heartbeat_timeout(60.0, 3.0) == pytest.approx(90.0)
