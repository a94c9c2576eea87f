"""Jobs in a storage: each is done by one worker, told to stop when it is to, and done again when its worker is lost."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from autotransfer.candidate import Candidate
from autotransfer.errors import TrialError
from autotransfer.runtime.storage import close_storage, open_storage
from autotransfer.search.jobs import Evaluation, Finished, Job, as_found
from autotransfer.workers import mailbox, post
from autotransfer.workers.letters import read_text, write_text
from autotransfer.workers.mailbox import Mailbox
from autotransfer.workers.post import GONE, Post, latest_mailbox


class Clock:
    """Time that passes when a test says so, and a little at each look."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        self.now += 1e-3
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (mailbox, post):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def storage(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[optuna.storages.BaseStorage]:
    for name in ("_LOOK", "_OPENING", "BEAT"):
        monkeypatch.setattr(mailbox, name, 0.0)
    monkeypatch.setattr(post, "BEAT", 0.0)
    storage = open_storage(f"sqlite:///{tmp_path / 'study.db'}")
    yield storage
    close_storage(storage)


@pytest.fixture
def box(storage: optuna.storages.BaseStorage) -> Mailbox:
    return Mailbox(storage, "search", {"answer": 42}, judge=as_found, patience=0.5)


def _post(storage: optuna.storages.BaseStorage, worker: str) -> Post:
    name = latest_mailbox(storage, "search")
    assert name is not None
    post = Post(storage, name, worker)
    assert post.is_open(1)
    return post


def _job(name: str = "a", *, stops_at: int = 99, expires: bool = False) -> Job:
    return Job(
        candidate=Candidate(backbone=name), report=lambda epoch, score: epoch >= stops_at, expired=lambda: expires
    )


def _taken(post: Post) -> int:
    taken = post.take()
    assert taken is not None
    return taken[0]


def _result(box: Mailbox) -> Finished:
    (finished,) = box.poll()
    return finished


def test_a_job_goes_to_one_worker_and_its_result_comes_back(box: Mailbox, storage: optuna.storages.BaseStorage) -> None:
    one, two = _post(storage, "one"), _post(storage, "two")
    assert one.about() == {"answer": 42}
    assert box.free() == 2
    box.submit(job := _job())
    assert box.free() == 1
    number = _taken(one)
    assert two.take() is None
    predictions = np.array([[0.25, 0.75], [math.nan, math.nan]], dtype=np.float32)
    one.tell(number, Evaluation(score=0.9, depth=3, best_epoch=2, curve=(0.5, 0.9), predictions=predictions, trained=2))
    ended, found = _result(box)
    assert ended is job
    assert isinstance(found, Evaluation)
    assert (found.score, found.depth, found.best_epoch, found.curve, found.trained) == (0.9, 3, 2, (0.5, 0.9), 2)
    assert math.isnan(found.objective)
    assert found.predictions is not None
    np.testing.assert_array_equal(found.predictions, predictions)
    assert box.free() == 2


def test_a_failure_comes_back_with_its_reason(box: Mailbox, storage: optuna.storages.BaseStorage) -> None:
    post = _post(storage, "one")
    box.submit(_job())
    post.tell(_taken(post), TrialError("the loss became nan"))
    _, found = _result(box)
    assert isinstance(found, TrialError)
    assert str(found) == "the loss became nan"


def test_a_result_that_cannot_be_read_costs_its_trial(box: Mailbox, storage: optuna.storages.BaseStorage) -> None:
    post = _post(storage, "one")
    box.submit(_job())
    job = _taken(post)
    write_text(lambda name, value: storage.set_trial_user_attr(job, name, value), "found", "rubbish")
    storage.set_trial_state_values(job, optuna.trial.TrialState.COMPLETE, [0.0])
    _, found = _result(box)
    assert isinstance(found, TrialError)
    assert str(found).startswith("what its worker found cannot be read: JSONDecodeError")


@pytest.mark.parametrize("job", [_job(stops_at=2), _job(expires=True)])
def test_a_worker_hears_that_it_is_to_stop(
    job: Job, box: Mailbox, storage: optuna.storages.BaseStorage, clock: Clock
) -> None:
    post = _post(storage, "one")
    box.submit(job)
    number = _taken(post)
    post.report(number, 1, 0.5)
    post.report(number, 2, 0.4)
    box.poll()
    assert not post.stopped(number), "the storage is not asked all the time"
    clock.now += 2
    assert post.stopped(number)


def test_a_job_whose_worker_is_lost_is_done_again_once(
    box: Mailbox, storage: optuna.storages.BaseStorage, clock: Clock
) -> None:
    lost, other = _post(storage, "lost"), _post(storage, "other")
    box.submit(job := _job())
    number = _taken(lost)
    box.poll()
    clock.now += GONE + 1
    other.is_open(1)
    assert not box.poll()
    again = _taken(other)
    assert again != number
    lost.tell(number, Evaluation(score=0.1))  # it was only slow: too late
    assert lost.report(number, 1, 0.1), "what was given up is to stop"
    assert not box.poll()
    clock.now += GONE + 1
    ended, found = _result(box)
    assert ended is job
    assert "two workers were lost while they evaluated it" in str(found)


def test_a_job_that_nobody_is_there_to_begin_is_given_back(
    box: Mailbox, storage: optuna.storages.BaseStorage, clock: Clock
) -> None:
    post = _post(storage, "one")
    assert box.free() == 1
    box.submit(job := _job())
    post.leave()
    clock.now += GONE + 1
    assert box.free() == 0
    assert not box.poll()
    assert box.take_back() == [job]
    assert post.take() is None


def test_a_worker_that_lives_but_whose_job_hangs_is_given_up(
    box: Mailbox, storage: optuna.storages.BaseStorage, clock: Clock
) -> None:
    post = _post(storage, "one")
    box.submit(_job())
    number = _taken(post)
    for _ in range(4):
        assert not box.poll()
        clock.now += 0.3 * GONE
        post.is_open(1)
    _, found = _result(box)
    assert "it hung" in str(found)
    post.tell(number, Evaluation(score=0.5))  # nobody asks any more


def test_a_search_that_ends_or_dies_lets_its_workers_go(
    box: Mailbox, storage: optuna.storages.BaseStorage, clock: Clock
) -> None:
    post = _post(storage, "one")
    clock.now += 3 * GONE + 1
    assert not post.is_open(1), "it gave no sign of life"
    box.free()
    assert post.is_open(1)
    box.close()
    assert not post.is_open(1)


def test_a_job_that_the_search_gives_up_while_it_is_taken_is_left_alone(
    box: Mailbox, storage: optuna.storages.BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, take = _post(storage, "one"), storage.set_trial_state_values
    box.submit(_job("a"))
    box.submit(_job("b"))

    def given_up(trial: int, state: TrialState, values: object = None) -> bool:
        took = take(trial, state)
        monkeypatch.setattr(storage, "set_trial_state_values", take)
        return take(trial, TrialState.FAIL) and took

    monkeypatch.setattr(storage, "set_trial_state_values", given_up)
    taken = worker.take()
    assert taken is not None
    assert taken[1] == Candidate(backbone="b")


def test_of_a_mailbox_that_nobody_used_nothing_is_left(box: Mailbox, storage: optuna.storages.BaseStorage) -> None:
    box.close()
    assert latest_mailbox(storage, "search") is None


def test_each_search_has_a_mailbox_of_its_own(box: Mailbox, storage: optuna.storages.BaseStorage) -> None:
    first = latest_mailbox(storage, "search")
    Mailbox(storage, "search", {}, judge=as_found, patience=1.0)
    assert (first, latest_mailbox(storage, "search")) == ("search/jobs/1", "search/jobs/2")
    assert latest_mailbox(storage, "sea") is None


def test_texts_of_any_length_pass_through_attributes() -> None:
    for text in ("", "short", "long" * 40_000):
        attributes: dict[str, object] = {}
        write_text(attributes.__setitem__, "text", text)
        assert read_text(attributes, "text") == text
        assert all(len(str(value)) <= 60_000 for value in attributes.values())
