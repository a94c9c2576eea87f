"""Workers on a Ray cluster: each trial is a Ray task with its needs of CPUs and GPUs."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from autotransfer.candidate import Candidate
from autotransfer.errors import ConfigError, TrialError
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.search.jobs import (
    Evaluation,
    Finished,
    Job,
    Learn,
    describe,
    heartbeat_timeout,
    hung,
    learn_nothing,
)
from autotransfer.workers.assignment import Assignment
from autotransfer.workers.process import HEARTBEAT_SECONDS

__all__ = ["RayWorkers"]

# Seconds that a task's end is waited for, and between two looks at the nodes of the cluster.
_POLL_SECONDS, _NODES_SECONDS = 0.3, 2.0
# Seconds in which a cluster has to answer.
_CONNECT_SECONDS = 10.0
# Times that a task is done again when its node or process is lost.
_RETRIES = 1


@dataclass
class _Task:
    """A job on the cluster.

    Attributes:
        job: The job.
        result: Ray's reference to what comes of it.
        heartbeat: Time of the last message from it; None before the first.
        stopped: Whether a request to stop was sent.
    """

    job: Job
    result: Any
    heartbeat: float | None = None
    stopped: bool = False


class Messages:
    """What tasks and the search tell each other, in a Ray actor beside the search."""

    def __init__(self) -> None:
        self._reports: list[tuple[str, int, float]] = []
        self._stopped: set[str] = set()

    def report(self, task: str, epoch: int = 0, score: float = 0.0) -> bool:
        """Take in the score of an epoch, or with epoch 0 a heartbeat; return whether to stop."""
        self._reports.append((task, epoch, score))
        return task in self._stopped

    def stop(self, task: str) -> None:
        """Let a task stop at its next report."""
        self._stopped.add(task)

    def reports(self) -> list[tuple[str, int, float]]:
        """Return the reports since the last call."""
        reports, self._reports = self._reports, []
        return reports


class RayWorkers:
    """Tasks on a Ray cluster, as many at a time as it has room for.

    A lost node or process costs the trials that it evaluated; each is done again, once.

    Args:
        address: Address of the cluster; None takes the one that ``RAY_ADDRESS`` names, else starts one here.
        trial_timeout: Seconds without a heartbeat, beside ten times what a trial was predicted to take, after which it
            hangs.
        max_tasks: Most tasks at a time; None for as many as there is room for.

    Raises:
        ConfigError: Ray is not installed, or the cluster cannot be reached.
    """

    def __init__(self, address: str | None, *, trial_timeout: float, max_tasks: int | None = None) -> None:
        self._ray, self._own = _connect(address)
        self._trial_timeout, self._max_tasks = trial_timeout, max_tasks
        self._tasks: dict[str, _Task] = {}
        self._room, self._counted = 0, 0.0
        self._needs: dict[str, float] = {}
        self._learn: Learn = learn_nothing

    def close(self) -> None:
        """End what still runs, and the connection if it was made here."""
        for task in self._tasks.values():
            self._ray.cancel(task.result, force=True)
        self._tasks = {}
        if self._own:
            self._ray.shutdown()

    def assign(self, assignment: Assignment, *, learn: Learn) -> None:
        """Put all that tasks need into the object store.

        Args:
            assignment: What they need.
            learn: Learns from what one of them found.
        """
        ray, self._learn = self._ray, learn
        on_gpu = assignment.device != "cpu" and any(node["Resources"].get("GPU") for node in ray.nodes())
        if on_gpu:  # Ray shows each task the GPU that it may use, and no other
            assignment = replace(assignment, device="auto")
        self._needs = {"CPU": assignment.threads, "GPU": 1 if on_gpu else 0}
        self._key, self._assignment = uuid4().hex, ray.put(assignment)
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            node_id=ray.get_runtime_context().get_node_id(), soft=False
        )
        self._messages = ray.remote(Messages).options(num_cpus=0, scheduling_strategy=here).remote()
        self._evaluate = ray.remote(_evaluate).options(
            num_cpus=self._needs["CPU"],
            num_gpus=self._needs["GPU"],
            max_retries=_RETRIES,
            scheduling_strategy="SPREAD",
        )

    def free(self) -> int:
        """Return how many more tasks the cluster has room for."""
        now = time.monotonic()
        if now - self._counted > _NODES_SECONDS:
            self._counted = now
            self._room = sum(self._fitting(node["Resources"]) for node in self._ray.nodes() if node["Alive"])
        return max((self._room if self._max_tasks is None else min(self._room, self._max_tasks)) - len(self._tasks), 0)

    def submit(self, job: Job) -> None:
        """Start a task."""
        name = uuid4().hex
        task = self._evaluate.remote(self._key, [self._assignment], job.candidate, job.until, name, self._messages)
        self._tasks[name] = _Task(job=job, result=task)

    def poll(self) -> list[Finished]:
        """Return the jobs that have ended; waits for a moment if none has."""
        if not self._tasks:
            time.sleep(_POLL_SECONDS)
            return []
        ended, _ = self._ray.wait([task.result for task in self._tasks.values()], timeout=_POLL_SECONDS)
        self._read_reports()  # those of a task come before its end
        finished = list[Finished]()
        for name, task in list(self._tasks.items()):
            if task.result in ended:
                finished.append((task.job, self._result(task)))
            elif (error := self._watch(name, task)) is not None:
                finished.append((task.job, error))
            else:
                continue
            del self._tasks[name]
        return finished

    def _fitting(self, resources: dict[str, float]) -> int:
        return int(min(resources.get(name, 0.0) // need for name, need in self._needs.items() if need))

    def _read_reports(self) -> None:
        for name, epoch, score in self._ray.get(self._messages.reports.remote()):
            if (task := self._tasks.get(name)) is None:
                continue
            task.heartbeat = time.monotonic()
            if epoch and task.job.report(epoch, score):
                self._stop(name, task)

    def _watch(self, name: str, task: _Task) -> TrialError | None:
        """Stop a task whose time is up; end one that hangs."""
        if task.job.expired():
            self._stop(name, task)
        silent = 0.0 if task.heartbeat is None else time.monotonic() - task.heartbeat
        if silent <= heartbeat_timeout(self._trial_timeout, task.job.expected):
            return None
        self._ray.cancel(task.result, force=True)
        return hung(silent)

    def _stop(self, name: str, task: _Task) -> None:
        if not task.stopped:
            task.stopped = True
            self._messages.stop.remote(name)

    def _result(self, task: _Task) -> Evaluation | Exception:
        try:
            found: Evaluation | str = self._ray.get(task.result)
        except self._ray.exceptions.RayError as error:
            return TrialError(f"its node or process was lost, {_RETRIES + 1} times: {type(error).__name__}")
        if isinstance(found, str):
            return TrialError(found)
        self._learn(task.job.candidate, found)
        return found


@dataclass
class _Process:
    """What a process of the cluster keeps between tasks.

    Attributes:
        search: Key of the search.
        evaluator: What evaluates its candidates.
        heartbeat: Time of the last report.
    """

    search: str = ""
    evaluator: Evaluator | None = None
    heartbeat: float = 0.0


_PROCESS = _Process()


def _evaluate(
    search: str, assignment: list[Any], candidate: Candidate, until: int | None, task: str, messages: Any
) -> Evaluation | str:
    """Evaluate a candidate on the cluster; return what came of it, or why nothing did."""
    import ray

    def report(*about: Any) -> bool:
        _PROCESS.heartbeat = time.monotonic()
        return bool(ray.get(messages.report.remote(task, *about)))

    def expired() -> bool:
        return time.monotonic() - _PROCESS.heartbeat > HEARTBEAT_SECONDS and report()

    try:
        if _PROCESS.search != search or _PROCESS.evaluator is None:
            given: Assignment = ray.get(assignment[0])  # arrays stay in the object store, which the node's tasks share
            _PROCESS.search, _PROCESS.evaluator = search, given.evaluator()
        report()  # only now: a new process may take a minute to import what it needs
        return _PROCESS.evaluator.measure(candidate, report, expired, until)
    except Exception as error:
        return describe(error)


def _connect(address: str | None) -> tuple[Any, bool]:
    """Return Ray, connected, and whether the connection is ours to end."""
    try:
        import ray
    except ImportError as error:
        raise ConfigError("The executor 'ray' needs Ray: pip install 'autotransfer[ray]'.") from error
    if ray.is_initialized():
        return ray, False
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    _refuse_unreachable(address)
    dashboard = False if address == "local" else None  # of a cluster that is there, it cannot be said
    try:
        ray.init(address=address, include_dashboard=dashboard, log_to_driver=False, logging_level="warning")
    except (ConnectionError, RuntimeError) as error:
        raise ConfigError(f"The Ray cluster {address!r} cannot be reached: {describe(error)}.") from error
    return ray, True


def _refuse_unreachable(address: str) -> None:
    """Refuse the address of a host that does not answer: Ray would try for minutes.

    Raises:
        ConfigError: It does not answer.
    """
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in host:
        try:
            socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
        except OSError as error:
            raise ConfigError(f"The Ray cluster {address!r} cannot be reached: {describe(error)}.") from error
