"""Threads are settled before torch reads how many there are and how they wait."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from autotransfer.runtime import threads
from autotransfer.runtime.threads import configure_threads, usable_cores


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment that says nothing, before torch is loaded; pytest writes into it, too."""
    empty: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", empty)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    return empty


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_allowed_cores", lambda: 8)


def quota(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str | None) -> None:
    file = folder / "cpu.max"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(threads, "_CGROUP_CPU_QUOTA", file)


@pytest.mark.parametrize(
    ("text", "cores"),
    [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("9999999 100", 8), ("", 8)],
)
@pytest.mark.usefixtures("allowed")
def test_a_containers_quota_cuts_the_cores(
    text: str, cores: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    quota(monkeypatch, tmp_path, text)
    assert usable_cores() == cores


def test_usable_cores_without_a_control_group_are_all_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    quota(monkeypatch, tmp_path, None)
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.usefixtures("allowed")
def test_no_more_threads_compute_than_the_quota_allows(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # On 64 cores with a quota of 2, torch would start 64 threads that are throttled together.
    quota(monkeypatch, tmp_path, "200000 100000")
    configure_threads()
    assert environment.items() >= {("OMP_WAIT_POLICY", "PASSIVE"), ("GOMP_SPINCOUNT", "0"), ("OMP_NUM_THREADS", "2")}


@pytest.mark.usefixtures("allowed")
def test_without_a_quota_their_number_is_left_to_the_libraries(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    quota(monkeypatch, tmp_path, "max 100000")
    configure_threads()
    assert "OMP_NUM_THREADS" not in environment


@pytest.mark.usefixtures("allowed")
def test_what_the_environment_says_comes_first(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    quota(monkeypatch, tmp_path, "200000 100000")
    environment |= {"OMP_NUM_THREADS": "5", "OMP_WAIT_POLICY": "ACTIVE"}
    configure_threads()
    assert (environment["OMP_NUM_THREADS"], environment["OMP_WAIT_POLICY"]) == ("5", "ACTIVE")


def test_it_is_too_late_once_torch_is_loaded(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", threads)
    configure_threads()
    assert not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS"} & set(environment)
