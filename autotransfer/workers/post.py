"""A worker's side of a mailbox."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from autotransfer.candidate import Candidate
from autotransfer.search.jobs import Evaluation
from autotransfer.workers.letters import read_text, write_evaluation

__all__ = ["BEAT", "GONE", "WORKER", "Post", "latest_mailbox"]

# Seconds between two signs of life, and after how many without one somebody is gone.
BEAT, GONE = 2.0, 20.0
# A job is asked for news of its end so often, in seconds.
_ASKED = 1.0
WORKER = "worker:"


def latest_mailbox(storage: BaseStorage, study: str) -> str | None:
    """Return the name of the newest mailbox of a study; None where there is none."""
    names = [name for name in optuna.get_all_study_names(storage) if name.startswith(f"{study}/jobs/")]
    return max(names, key=lambda name: int(name.rpartition("/")[2]), default=None)


class Post:
    """A worker's side: takes jobs out of a mailbox and says what came of them.

    Args:
        storage: The storage.
        name: Name of the mailbox.
        worker: Name of the worker, unlike all others.
    """

    def __init__(self, storage: BaseStorage, name: str, worker: str) -> None:
        self._storage, self._worker = storage, worker
        self._id = storage.get_study_id_from_name(name)
        self._signs = 0
        self._looked: dict[int, float] = {}
        self._beat = self._heard = -math.inf
        self._attributes: dict[str, Any] = {}

    def about(self) -> dict[str, Any]:
        """Return what the search says of itself."""
        return dict(json.loads(read_text(self._storage.get_study_user_attrs(self._id), "search")))

    def is_open(self, places: int) -> bool:
        """Show that the worker is there, and return whether the search is, too.

        Args:
            places: Number of jobs that the worker does at a time.
        """
        now = time.monotonic()
        if now - self._beat > BEAT:
            self._beat, self._signs = now, self._signs + 1
            self._storage.set_study_user_attr(self._id, f"{WORKER}{self._worker}", [places, self._signs])
            attributes = self._storage.get_study_user_attrs(self._id)
            if attributes.get("beat") != self._attributes.get("beat"):
                self._heard = now
            self._attributes = attributes
        return not self._attributes.get("closed") and now - self._heard < 3 * GONE

    def leave(self) -> None:
        """Say that the worker goes."""
        self._storage.set_study_user_attr(self._id, f"{WORKER}{self._worker}", [0, -1])

    def take(self) -> tuple[int, Candidate, int | None, float] | None:
        """Take a job: its number, candidate, epochs to be done and predicted seconds; None where there is none."""
        for trial in self._storage.get_all_trials(self._id, deepcopy=False, states=(TrialState.WAITING,)):
            if self._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
                with _ended_elsewhere() as ended:
                    self._storage.set_trial_user_attr(trial._trial_id, "by", self._worker)
                if ended():
                    continue
                about, self._looked[trial._trial_id] = trial.user_attrs, time.monotonic()
                return trial._trial_id, Candidate.from_json(about["candidate"]), about["until"], about["expected"]
        return None

    def report(self, job: int, epoch: int, score: float) -> bool:
        """Tell the score of an epoch; return whether to stop."""
        with _ended_elsewhere() as ended:
            self._storage.set_trial_intermediate_value(job, epoch, score)
        return ended() or self.stopped(job)

    def stopped(self, job: int) -> bool:
        """Whether a job is to stop; asking is a sign of life. The storage is asked now and then only."""
        now = time.monotonic()
        if now - self._looked.get(job, -math.inf) < _ASKED:
            return False
        self._looked[job], self._signs = now, self._signs + 1
        with _ended_elsewhere() as ended:
            self._storage.set_trial_user_attr(job, "alive", self._signs)
        return ended() or bool(self._storage.get_trial(job).user_attrs.get("stop"))

    def tell(self, job: int, result: Evaluation | Exception) -> None:
        """Say what came of a job; nobody asks any more where the search has given it up."""
        with _ended_elsewhere():
            if isinstance(result, Exception):
                self._storage.set_trial_user_attr(job, "reason", str(result))
                self._storage.set_trial_state_values(job, TrialState.FAIL)
            else:
                write_evaluation(lambda name, value: self._storage.set_trial_user_attr(job, name, value), result)
                self._storage.set_trial_state_values(job, TrialState.COMPLETE, [0.0])
        self._looked.pop(job, None)


@contextlib.contextmanager
def _ended_elsewhere() -> Iterator[Callable[[], bool]]:
    """Let the block end where the search has ended its trial; what it yields says whether that was so."""
    ended = False
    try:
        yield lambda: ended
    except (UpdateFinishedTrialError, KeyError):
        ended = True
