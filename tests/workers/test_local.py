"""Worker processes share a search: what one of them does wrong, or dies of, costs its trial and nothing else."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from fixtures.fitting import fit_with
from fixtures.workers import Assignment

from autotransfer.candidate import Candidate
from autotransfer.contract.specs import EpochRecord
from autotransfer.errors import ConfigError, SearchError, TrialError
from autotransfer.features.cache import list_entries
from autotransfer.search.jobs import Evaluation, Finished, Job, Report
from autotransfer.workers.local import LocalWorkers

pytestmark = pytest.mark.slow

DEADLY = """
import ctypes, os, signal, sys, time
from torch import nn
from autotransfer import hookimpl
from autotransfer.contract.specs import HeadSpec

def killed(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

def crashed(*arguments):
    print("hello from a head", flush=True)
    ctypes.string_at(0)

def asleep(*arguments):
    time.sleep(1000)

@hookimpl
def register_heads(register):
    for solve in (killed, crashed, asleep):
        register(HeadSpec(name=solve.__name__, build=lambda s, o, p: nn.Linear(s[0], o), solve=solve))
"""


def _command(data: Path, zoo: Path, out: Path, *options: str) -> list[str]:
    common = ["--zoo", str(zoo), "--out", str(out), "--cache-dir", str(out.parent / "cache"), "--workers", "2"]
    quick = ["--epochs", "2", "--no-compare-scratch", "--json"]
    return [sys.executable, "-m", "autotransfer", "fit", str(data), *common, *quick, *options]


def _rows(run: Path) -> list[dict[str, str]]:
    file = run / "trials.csv"
    if not file.exists():
        return []
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def _wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.05)


def test_two_workers_compute_each_prefix_once(
    digits: tuple[np.ndarray, np.ndarray], tiny_zoo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"zoo": tiny_zoo, "epochs": 2, "progress": False, "compare_scratch": False}
    images, labels = digits
    epochs: list[EpochRecord] = []
    options["callbacks"] = [SimpleNamespace(epoch_finished=lambda epoch: epochs.append(epoch))]
    result = fit_with(
        images, labels, trials=26, workers=2, out=tmp_path / "run", cache_dir=tmp_path / "cache", **options
    )
    assert len(epochs) == sum(record.epochs for record in result.trials), "each, as it comes"
    assert all(0 < epoch.loss < 50 and epoch.learning_rate >= 0 for epoch in epochs)
    assert [record.number for record in result.trials] == list(range(26))
    assert {record.state for record in result.trials} <= {"complete", "pruned"}
    assert len({record.candidate for record in result.trials}) == 26
    assert any(record.curve for record in result.trials), "some were trained by gradient"
    assert result.validation.score > 0.9
    about = Counter(entry.about for entry in list_entries(tmp_path / "cache"))
    assert about
    assert max(about.values()) == 1
    assert result.model.predict(images[:3]).tolist() == labels[:3].tolist()
    assert not capfd.readouterr().err, "workers have nothing to say"


def test_worker_that_dies_or_hangs_costs_its_trial(
    install: Callable[..., Path], digit_folder: Path, tiny_zoo: Path, tmp_path: Path
) -> None:
    heads = [text for name in ("ridge", "killed", "crashed", "asleep") for text in ("--heads", name)]
    few = ["--trials", "12", "--freeze", "frozen", "--backbones", "test_resnet", "--trial-timeout", "10s"]
    done = subprocess.run(
        _command(digit_folder / "train", tiny_zoo, tmp_path / "run", *few, *heads),
        env={**os.environ, "PYTHONPATH": str(install(deadly=DEADLY))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trials"] == {"complete": 9, "paused": 0, "pruned": 0, "failed": 3}, _rows(
        tmp_path / "run"
    )
    reasons = {row["head"]: row["reason"] for row in _rows(tmp_path / "run") if row["state"] == "failed"}
    assert reasons["killed"] == "its worker process ended with signal 9"
    assert reasons["crashed"] == "its worker process ended with signal 11"
    assert reasons["asleep"].startswith("it hung: no sign of life for ")
    assert "hello from a head" in done.stderr, "what plugins print does not come between messages"


def test_killed_search_with_workers_resumes(digit_folder: Path, tiny_zoo: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = _command(digit_folder / "train", tiny_zoo, run, "--trials", "14")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _wait_for(lambda: len(_rows(run)) >= 4)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
    assert len(workers) >= 3, "two, and what they were forked from"
    psutil.wait_procs(workers, timeout=20)
    assert not any(worker.is_running() for worker in workers), "without a search, they end by themselves"
    before = _rows(run)
    resumed = subprocess.run(
        [sys.executable, "-m", "autotransfer", "resume", str(run), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert resumed.returncode == 0, resumed.stderr
    after = _rows(run)
    assert len(after) == 14
    for row in before:  # a column is there when a trial has it
        kept = after[int(row["number"])]
        assert {name: kept[name] for name, value in row.items() if value} == {n: v for n, v in row.items() if v}


def test_interrupt_of_a_search_with_workers_keeps_its_trials(
    digit_folder: Path, tiny_zoo: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    arguments = _command(digit_folder / "train", tiny_zoo, run, "--trials", "5000")[3:]
    # What a shell starts in the background ignores interrupts, and so do the tests there.
    heeding = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    command = [sys.executable, "-c", heeding + "from autotransfer.cli.main import main; main()", *arguments]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        _wait_for(lambda: len(_rows(run)) >= 3)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it, too
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out)["trials"]["complete"] >= 3


# --- processes alone -----------------------------------------------------------------------------------------------


def _job(head: str, *, report: Report = lambda epoch, score: False, expired: bool = False) -> Job:
    return Job(candidate=Candidate(backbone="a", head=head), report=report, expired=lambda: expired)


def _outcome(workers: LocalWorkers, job: Job) -> Evaluation | Exception:
    """Give a job to a worker; return what came of it."""
    finished: list[Finished] = []
    _wait_for(lambda: workers.free() or workers.poll())
    workers.submit(job)
    _wait_for(lambda: finished.extend(workers.poll()) or finished)
    ((ended, found),) = finished
    assert ended is job
    return found


def _score(found: Evaluation | Exception) -> float:
    assert isinstance(found, Evaluation), found
    return found.score


@pytest.fixture
def workers() -> Iterator[LocalWorkers]:
    """A single worker process, which may be silent for a second."""
    made = LocalWorkers(1, trial_timeout=1.0)
    made.assign(Assignment())  # type: ignore[arg-type]
    yield made
    made.close()


@pytest.mark.parametrize(("head", "reason"), [("crash", "ended with signal 11"), ("sleep", "it hung: no sign of life")])
def test_crash_or_hang_fails_its_trial_and_replaces_the_worker(workers: LocalWorkers, head: str, reason: str) -> None:
    first = _score(_outcome(workers, _job("pid")))
    assert _score(_outcome(workers, _job("pid"))) == first, "a worker does many jobs"
    found = _outcome(workers, _job(head))
    assert isinstance(found, TrialError)
    assert reason in str(found)
    assert _score(_outcome(workers, _job("pid"))) not in (first, os.getpid())
    assert not psutil.pid_exists(int(first))


def test_job_whose_time_is_up_stops_between_batches(workers: LocalWorkers) -> None:
    pid = _score(_outcome(workers, _job("train until stopped", expired=True)))
    assert _score(_outcome(workers, _job("pid"))) == pid, "the process goes on"


def test_report_gets_the_answer_of_the_search(workers: LocalWorkers) -> None:
    told: list[tuple[int, float]] = []
    for stop in (True, False):
        found = _outcome(workers, _job("report", report=lambda e, s, stop=stop: told.append((e, s)) or stop))  # type: ignore[misc]
        assert _score(found) == stop
    assert told == [(1, 0.25)] * 2


def test_result_is_kept_where_learning_from_it_fails() -> None:
    def learn(candidate: Candidate, found: Evaluation) -> None:
        raise OSError("the weights are gone")  # which is also what the end of a worker looks like

    with closing(LocalWorkers(1, trial_timeout=60.0)) as workers:
        workers.assign(Assignment(), learn=learn)  # type: ignore[arg-type]
        assert _score(_outcome(workers, _job("pid"))) > 0


def test_workers_that_never_become_ready_end_the_search(capfd: pytest.CaptureFixture[str]) -> None:
    workers = LocalWorkers(1, trial_timeout=1.0)
    workers.assign(Assignment(broken=True))  # type: ignore[arg-type]
    with pytest.raises(SearchError, match="No worker process can be started: the last one ended with exit code 1"):
        _wait_for(workers.poll)
    workers.close()


# Not guarded by __name__: workers do not run it again.
PROGRAM = """
import sys, time
import psutil
from fixtures.workers import Assignment
from autotransfer.candidate import Candidate
from autotransfer.search.jobs import Job
from autotransfer.workers.local import LocalWorkers

workers = LocalWorkers(2, trial_timeout=float(sys.argv[1]))
workers.assign(Assignment())
while workers.free() < 2:
    workers.poll()
for head in sys.argv[2:]:
    workers.submit(Job(candidate=Candidate(backbone="a", head=head), report=lambda e, s: False, expired=lambda: False))
print(*[process.pid for process in psutil.Process().children(recursive=True)], flush=True)
while len(sys.argv) > 2:
    time.sleep(1)
print(*[" ".join(worker.process._popen.method for worker in workers._workers)], flush=True)
"""


@contextmanager
def _program(log: Path, *arguments: str, path: str = "") -> Iterator[subprocess.Popen[str]]:
    """Run the program; its errors go to a file, for a pipe would be open as long as any of its processes lives."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), path]))}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment) as program,
    ):
        yield program


def _methods(log: Path, *, path: str = "") -> list[str]:
    """Return how the two workers of a program were started that ends without closing them."""
    with _program(log, "60", path=path) as program:
        out, _ = program.communicate(timeout=200)
    assert (program.returncode, log.read_text()) == (0, "")
    return out.splitlines()[1].split()


def _pids(line: str) -> list[psutil.Process]:
    return [psutil.Process(int(pid)) for pid in line.split()]


def test_no_process_outlives_a_search_that_is_killed(tmp_path: Path) -> None:
    # The kernel ends the one that holds Python's lock, a few seconds after the timeout.
    with _program(tmp_path / "log", "0.5", "sleep", "hold Python's lock") as program:
        assert program.stdout is not None
        processes = _pids(program.stdout.readline())
        assert len(processes) >= 3, "two workers, and what they were forked from"
        time.sleep(0.5)  # until the jobs have begun
        program.kill()
        assert not psutil.wait_procs(processes, timeout=60)[1]


def test_program_that_does_not_close_its_workers_ends(tmp_path: Path) -> None:
    assert _methods(tmp_path / "log") == ["forkserver", "forkserver"]


def test_workers_are_spawned_where_a_plugin_has_used_cuda(tmp_path: Path, install: Callable[..., Path]) -> None:
    # To the process that imports it, and to no other, this plugin lets CUDA seem to be in use.
    plugin = "import os, torch\ntorch.cuda._is_in_bad_fork = lambda owner=os.getpid(): os.getpid() != owner\n"
    assert _methods(tmp_path / "log", path=str(install(touching=plugin))) == ["spawn", "spawn"]


# -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "The number of workers must be at least 1; got 0"),
        ({"executor": "slurm"}, "No executor matches 'slurm'. Known: local, ray"),
        ({"ray_address": "localhost:1"}, "A Ray address is of use with the executor 'ray' only"),
        ({"trial_timeout": "soon"}, "got 'soon'"),
    ],
)
def test_nonsensical_compute_settings_are_refused(options: dict[str, Any], message: str, digit_folder: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        fit_with(digit_folder / "train", **options)
