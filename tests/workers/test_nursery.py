"""Where workers come from: they begin at once, their ends are known, and none outlives the search."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from autotransfer.workers import nursery as module
from autotransfer.workers.nursery import Child, Nursery, _Forked

forking = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")


class _Household:
    """A nursery, and the workers that it has started."""

    def __init__(self) -> None:
        self.before = set(psutil.Process().children(recursive=True))
        self.nursery = Nursery(1)
        self.children: list[Child] = []

    def start(self) -> Child:
        self.children.append(self.nursery.start())
        return self.children[-1]

    def processes(self) -> list[psutil.Process]:
        """Return the processes that came since the nursery is there: other tests may have left some of their own."""
        return [process for process in psutil.Process().children(recursive=True) if process not in self.before]

    def close(self) -> None:
        self.nursery.close()
        for child in self.children:
            for pipe in filter(None, (child.stdin, child.stdout)):
                pipe.close()


@pytest.fixture
def household() -> Iterator[_Household]:
    made = _Household()
    yield made
    made.close()


def _stop(child: Child) -> None:
    """Let a worker's input end, as that of a search does which ends."""
    assert child.stdin is not None
    child.stdin.close()


def _refuse(child: Child) -> None:
    """Send what no worker understands: an assignment that is none."""
    assert child.stdin is not None
    pickle.dump(("assignment", None), child.stdin)
    child.stdin.flush()


@pytest.mark.parametrize("forks", [pytest.param(True, marks=forking), False])
def test_it_is_known_how_a_worker_ended(forks: bool, household: _Household, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FORKS", forks)
    good, bad, killed = (household.start() for _ in range(3))
    _stop(good)
    assert good.wait() == 0
    _refuse(bad)
    assert bad.wait() == 1
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert killed.stdout is not None
    assert killed.stdout.read() == b""


@forking
def test_a_worker_that_replaces_another_comes_from_the_same_process(household: _Household) -> None:
    first = household.start()
    _stop(first)
    assert first.wait() == 0
    (before,) = household.processes()
    second = household.start()
    household.nursery.learn_pids(wait=True)
    assert isinstance(second, _Forked)
    assert {process.pid for process in household.processes()} == {before.pid, second.pid}


@forking
def test_where_a_plugin_has_touched_the_gpu_workers_are_started_anew(
    install: Callable[..., Path], household: _Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = "import torch\ntorch.cuda.is_initialized = lambda: True\n"
    monkeypatch.syspath_prepend(install(touching=plugin))
    household.nursery = Nursery(1)  # which takes over the path
    child = household.start()
    household.nursery.learn_pids(wait=True)
    assert isinstance(child, _Forked)
    assert child.pid is not None
    until = time.monotonic() + 20
    while "autotransfer.workers.worker" not in (command := psutil.Process(child.pid).cmdline()):
        assert time.monotonic() < until, command
        time.sleep(0.05)
    _stop(child)
    assert child.wait() == 0


@forking
def test_no_worker_outlives_a_search_that_is_killed() -> None:
    search = "import time; from autotransfer.workers.nursery import Nursery; n = Nursery(1); c = n.start(); "
    search += "n.learn_pids(wait=True); print(c.pid, flush=True); time.sleep(1000)"
    with subprocess.Popen([sys.executable, "-c", search], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        worker = psutil.Process(int(process.stdout.readline()))
        worker.suspend()  # one that hangs does not notice that its input ends
        process.kill()
    assert not psutil.wait_procs([worker], timeout=20)[1]


@forking
def test_what_still_imports_is_ended_at_once(household: _Household) -> None:
    child = household.start()
    importing, *_ = household.processes()  # and what an import has started meanwhile
    child.kill()
    household.nursery.close()
    assert not importing.is_running()
    assert child.stdout is not None
    assert child.stdout.read() == b""
    assert child.wait() is None


@forking
def test_a_nursery_that_died_is_started_again(household: _Household) -> None:
    child, orphan = household.start(), household.start()
    household.nursery.learn_pids(wait=True)
    for process in set(psutil.Process().children()) - household.before:
        process.kill()
        process.wait()
    assert child.wait() is None, "nobody knows how it ended"
    _stop(child)
    another = household.start()
    _stop(orphan)
    assert orphan.wait() is None, "the new one did not fork it"
    _stop(another)
    assert another.wait() == 0
