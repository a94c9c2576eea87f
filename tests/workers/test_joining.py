"""Workers on any machine join a search through a real PostgreSQL; no trial is lost, none is done twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest

from autotransfer.errors import ConfigError, DataError
from autotransfer.runtime.storage import close_storage, open_storage
from autotransfer.search.journal import read_journal
from autotransfer.workers.joining import join


@contextmanager
def _workers(count: int, url: str, study: str, *options: str) -> Iterator[list[subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "autotransfer", "worker", "--storage", url, "--study", study, *options]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(count)]
    try:
        yield started
    finally:
        for worker in started:
            worker.kill()
            worker.communicate()


def _fit(data: Path, zoo: Path, out: Path, *options: str) -> list[str]:
    common = ["--zoo", str(zoo), "--out", str(out), "--epochs", "2", "--no-compare-scratch", "--json"]
    return [sys.executable, "-m", "autotransfer", "fit", str(data), *common, *options]


@pytest.mark.timeout(600)
def test_four_workers_and_two_hundred_trials_on_postgresql(
    postgresql: str, digit_folder: Path, tiny_zoo: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "AUTOTRANSFER_CACHE": str(tmp_path / "cache")}
    options = ["--trials", "200", "--storage", postgresql, "--study", "digits", "--workers", "0"]
    with _workers(4, postgresql, "digits", "--cache-dir", str(tmp_path / "cache"), "--wait", "120") as workers:
        quick = ["--freeze", "frozen", "--heads", "ridge", "--heads", "logistic", "--backbones", "test_resnet"]
        command = _fit(digit_folder / "train", tiny_zoo, tmp_path / "run", *options, *quick)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said = [worker.communicate(timeout=60)[1] for worker in workers]
    counts = json.loads(done.stdout)["trials"]
    assert sum(counts.values()) == 200
    assert counts["failed"] == 0
    storage = open_storage(postgresql)
    entries = read_journal(optuna.load_study(study_name="digits", storage=storage))
    close_storage(storage)
    tried = Counter(entry.record.number for entry in entries if entry.record is not None)
    assert sorted(tried) == list(range(200))
    candidates = Counter(entry.record.candidate for entry in entries if entry.record is not None)
    assert max(candidates.values()) == 1, "none is tried twice"
    assert all("the search is over" in text for text in said), said
    jobs = [int(text.rpartition("the search is over; ")[2].split()[0]) for text in said]
    assert sum(jobs) == 200
    assert min(jobs) > 0, "all four took part"


def test_a_worker_without_a_search_says_so(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path / 'study.db'}")
    with pytest.raises(ConfigError, match="No search named 'none' takes workers in this storage"):
        join(storage, "none", wait=0.0)
    close_storage(storage)


def test_a_worker_with_other_data_is_refused(digit_folder: Path, tiny_zoo: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    held_out = shutil.copytree(digit_folder / "test", tmp_path / "held_out")
    options = ["--trials", "4", "--storage", url, "--study", "digits", "--cache-dir", str(tmp_path / "cache")]
    quick = ["--freeze", "frozen", "--workers", "0", "--validation", str(held_out)]
    command = _fit(digit_folder / "train", tiny_zoo, tmp_path / "run", *options, *quick)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as search:
        storage = open_storage(url)
        with pytest.raises(DataError, match=r"The data of the search are not those in .*Name the folder"):
            join(storage, "digits", data=digit_folder / "test", wait=60.0)
        # What candidates are scored on is elsewhere on that machine.
        assert join(storage, "digits", validation=digit_folder / "test", cache_dir=tmp_path / "cache", wait=60.0) == 4
        close_storage(storage)
        _, err = search.communicate(timeout=60)
    assert search.returncode == 0, err
