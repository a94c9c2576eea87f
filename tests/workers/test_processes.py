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
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

import autotransfer
from autotransfer.candidate import Candidate
from autotransfer.contract.specs import EpochRecord
from autotransfer.errors import ConfigError
from autotransfer.features.cache import list_entries
from autotransfer.search.jobs import Job
from autotransfer.settings import Settings, grouped
from autotransfer.workers.processes import LocalWorkers

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


def test_two_workers_try_as_many_trials_and_compute_each_prefix_once(
    digits: tuple[np.ndarray, np.ndarray], tiny_zoo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"zoo": tiny_zoo, "epochs": 2, "progress": False, "compare_scratch": False}
    images, labels = digits
    epochs: list[EpochRecord] = []
    options["callbacks"] = [SimpleNamespace(epoch_finished=lambda epoch: epochs.append(epoch))]
    result = autotransfer.fit(
        images,
        labels,
        **grouped(Settings, dict(trials=26, workers=2, out=tmp_path / "run", cache_dir=tmp_path / "cache", **options)),
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


def test_a_worker_that_dies_or_hangs_costs_its_trial(
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
    assert json.loads(done.stdout)["trials"] == {"complete": 9, "paused": 0, "pruned": 0, "failed": 3}
    reasons = {row["head"]: row["reason"] for row in _rows(tmp_path / "run") if row["state"] == "failed"}
    assert reasons["killed"] == "its worker process ended with signal 9"
    assert reasons["crashed"] == "its worker process ended with signal 11"
    assert reasons["asleep"].startswith("it hung: no sign of life for ")
    assert "hello from a head" in done.stderr, "what plugins print does not come between messages"


def test_a_search_with_workers_that_is_killed_goes_on(digit_folder: Path, tiny_zoo: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = _command(digit_folder / "train", tiny_zoo, run, "--trials", "14")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _wait_for(lambda: len(_rows(run)) >= 4)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
    assert len(workers) == 3, "two, and where they come from"
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


def test_an_interrupt_ends_a_search_with_workers_and_keeps_what_it_found(
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


def test_a_worker_that_is_being_ended_gets_no_further_job() -> None:
    workers = LocalWorkers(1, patience=0.0)
    try:
        (only,) = workers._workers
        only.ready = True  # it is still importing: to the search, it is silent
        workers.submit(job := Job(candidate=Candidate(backbone="a"), report=lambda e, s: False, expired=lambda: False))
        ((ended, error),) = workers.poll(0.0)
        assert ended is job
        assert "it hung" in str(error)
        assert workers.free() == 0
        _wait_for(lambda: workers.free() == 0 and workers._workers[0] is not only)
        assert not workers.poll(0.0), "its end costs no other trial"
    finally:
        workers.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "The number of workers is at least 1; got 0"),
        ({"executor": "slurm"}, "The executor is 'local' or 'ray'; got 'slurm'"),
        ({"ray_address": "localhost:1"}, "A Ray address is of use with the executor 'ray' only"),
        ({"trial_timeout": "soon"}, "got 'soon'"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], message: str, digit_folder: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        autotransfer.fit(digit_folder / "train", **grouped(Settings, options))
