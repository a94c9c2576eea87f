"""Jobs for workers on other machines: they pass through the Optuna storage that all of them reach.

A mailbox is a study of its own beside that of the search. Each of its trials is a job: it waits until a worker takes
it, which the storage lets only one do; scores of epochs are its intermediate values, and what came of it an attribute.
Numbers and text pass through, nothing that can run code.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from autotransfer.errors import TrialError
from autotransfer.runtime.watchdog import hung, silence_allowed
from autotransfer.search.jobs import Evaluation, Finished, Job, Judge, describe, judged
from autotransfer.workers.letters import read_evaluation, write_text
from autotransfer.workers.post import BEAT, GONE, WORKER, latest_mailbox

__all__ = ["Mailbox"]

# Seconds between two looks for workers, and for what came of jobs.
_LOOK, _OPENING = 1.0, 0.1


@dataclass
class _Letter:
    """A job on its way.

    Attributes:
        job: The job.
        trial: Its trial in the mailbox.
        heard: When its sign of life changed last.
        tries: How often it was sent.
        sign: That sign.
        stopped: Whether it was told to stop.
        epoch: Last epoch that was reported.
    """

    job: Job
    trial: int
    heard: float
    tries: int = 1
    sign: Any = None
    stopped: bool = False
    epoch: int = 0


class Mailbox:
    """The search's side: hands jobs to whoever has joined.

    Args:
        storage: The storage.
        study: Name of the study that workers ask for.
        about: All that they need to know of the search.
        judge: Makes what a worker found comparable with what others found.
        patience: Seconds without a sign of life, beside ten times what a trial was predicted to take, after which it
            hangs.
    """

    def __init__(
        self, storage: BaseStorage, study: str, about: Mapping[str, Any], *, judge: Judge, patience: float
    ) -> None:
        number = int((latest_mailbox(storage, study) or "/0").rpartition("/")[2]) + 1
        self._study = optuna.create_study(study_name=f"{study}/jobs/{number}", storage=storage)
        self.storage, self._id = storage, self._study._study_id
        self._judge, self._patience = judge, patience
        self._letters: list[_Letter] = []
        self._workers: dict[str, tuple[Any, float]] = {}
        self._returned: list[Job] = []
        self._looked = self._beat = self._opened_at = -math.inf
        write_text(self._study.set_user_attr, "search", json.dumps(about))
        self._study.set_user_attr("beat", 0)

    @property
    def workers(self) -> int:
        """Number of jobs that those who have joined can do at a time."""
        now = time.monotonic()
        return sum(places for (places, _), heard in self._workers.values() if now - heard < GONE)

    def close(self) -> None:
        """Let the workers go; of a mailbox that nobody has used, nothing is left beside the search's study."""
        self._study.set_user_attr("closed", True)
        joined = any(name.startswith(WORKER) for name in self.storage.get_study_user_attrs(self._id))
        if not joined and not self.storage.get_all_trials(self._id, deepcopy=False):
            self.storage.delete_study(self._id)

    def free(self) -> int:
        """Return how many more jobs somebody would begin at once."""
        self._look()
        return max(self.workers - len(self._letters), 0)

    def submit(self, job: Job) -> None:
        """Put a job into the mailbox."""
        self._letters.append(_Letter(job=job, trial=self._send(job), heard=time.monotonic()))

    def take_back(self) -> list[Job]:
        """Return the jobs that nobody has begun and nobody is there to begin."""
        returned, self._returned = self._returned, []
        return returned

    def poll(self) -> list[Finished]:
        """Return the jobs that have ended."""
        self._look()
        finished, open_ones, now = list[Finished](), list[_Letter](), time.monotonic()
        if now - self._opened_at < _OPENING:
            return []
        self._opened_at = now
        for letter in self._letters:
            trial = self.storage.get_trial(letter.trial)
            if (result := self._opened(letter, trial)) is not None:
                finished.append((letter.job, result))
            elif letter.job not in self._returned:
                open_ones.append(letter)
        self._letters = open_ones
        return finished

    def _send(self, job: Job) -> int:
        about = {"candidate": job.candidate.to_json(), "until": job.until, "expected": job.expected}
        template = optuna.trial.create_trial(state=TrialState.WAITING, user_attrs=about)
        return self.storage.create_new_trial(self._id, template)

    def _look(self) -> None:
        """See who is there, and show that the search is."""
        now = time.monotonic()
        if now - self._looked < _LOOK:
            return
        self._looked = now
        if now - self._beat > BEAT:
            self._beat = now
            self._study.set_user_attr("beat", round(now, 1))
        for name, sign in self.storage.get_study_user_attrs(self._id).items():
            if name.startswith(WORKER) and self._workers.get(name, (None, 0.0))[0] != sign:
                self._workers[name] = (sign, now)

    def _opened(self, letter: _Letter, trial: FrozenTrial) -> Evaluation | Exception | None:
        """Return what came of a job; None while it goes on."""
        if trial.state == TrialState.COMPLETE:
            try:
                found = read_evaluation(trial.user_attrs)
            except Exception as error:  # whoever wrote it is not this process
                return TrialError(f"what its worker found cannot be read: {describe(error)}")
            return judged(self._judge, letter.job, found)
        if trial.state == TrialState.FAIL:
            return TrialError(trial.user_attrs.get("reason", "its worker does not say why"))
        now = time.monotonic()
        if trial.state == TrialState.WAITING:
            if not self.workers and now - letter.heard > GONE and self._withdraw(letter):
                self._returned.append(letter.job)
            return None
        self._follow(letter, trial, now)
        worker = self._workers.get(f"{WORKER}{trial.user_attrs.get('by')}")
        if worker is not None and now - worker[1] > GONE:
            return self._lost(letter)
        if now - letter.heard > silence_allowed(self._patience, letter.job.expected) + GONE:
            self._end(letter.trial)
            return hung(now - letter.heard)
        return None

    def _follow(self, letter: _Letter, trial: FrozenTrial, now: float) -> None:
        """Take in what a job that is being done has reported, and tell it to stop if it is to."""
        sign = (trial.user_attrs.get("alive"), len(trial.intermediate_values))
        if sign != letter.sign:
            letter.sign, letter.heard = sign, now
        for epoch, score in sorted(trial.intermediate_values.items()):
            if epoch > letter.epoch:
                letter.epoch = epoch
                letter.stopped = letter.job.report(epoch, score) or letter.stopped
        if letter.stopped or letter.job.expired():
            letter.stopped = True
            if not trial.user_attrs.get("stop"):
                self.storage.set_trial_user_attr(letter.trial, "stop", True)

    def _lost(self, letter: _Letter) -> Exception | None:
        """Send a job again whose worker is gone; once."""
        self._end(letter.trial)
        if letter.tries > 1:
            return TrialError("two workers were lost while they evaluated it")
        letter.trial, letter.tries, letter.sign, letter.epoch = self._send(letter.job), letter.tries + 1, None, 0
        letter.heard = time.monotonic()
        return None

    def _withdraw(self, letter: _Letter) -> bool:
        """Take a job out of the mailbox, unless somebody has just begun it."""
        if not self.storage.set_trial_state_values(letter.trial, TrialState.RUNNING):
            return False
        self._end(letter.trial)
        return True

    def _end(self, trial: int) -> None:
        self.storage.set_trial_state_values(trial, TrialState.FAIL)
