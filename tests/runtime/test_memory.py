"""How much memory there is: the machine's, within the limit of the control group; and what its end looks like."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

import psutil
import pytest
import torch

from autotransfer.runtime import memory
from autotransfer.runtime.memory import (
    free_memory,
    keep_freed_memory,
    memory_budget,
    out_of_memory,
    release_freed_memory,
)

GIGABYTE = 2**30


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 64 * GIGABYTE}))
    return tmp_path


def write(folder: Path, **files: object) -> None:
    for name, value in files.items():
        path = folder / name.replace("__", "/").replace("_", ".", 1)
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{value}\n")


def test_without_a_control_group_the_machine_counts(cgroup: Path) -> None:
    assert free_memory() == 64 * GIGABYTE


def test_version_2_limits(cgroup: Path) -> None:
    write(cgroup, memory_max=8 * GIGABYTE, memory_current=3 * GIGABYTE)
    assert free_memory() == 5 * GIGABYTE


def test_version_1_limits(cgroup: Path) -> None:
    folder = cgroup / "memory"
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text(str(8 * GIGABYTE))
    (folder / "memory.usage_in_bytes").write_text(str(2 * GIGABYTE))
    assert free_memory() == 6 * GIGABYTE


def test_files_in_the_page_cache_are_given_back_on_demand(cgroup: Path) -> None:
    # TargetFormat a data set fills the group with cached files; that is no lack of memory.
    write(cgroup, memory_max=8 * GIGABYTE, memory_current=8 * GIGABYTE)
    write(cgroup, memory_stat=f"anon 123\ninactive_file {6 * GIGABYTE}\nactive_file 5")
    assert free_memory() == 6 * GIGABYTE


@pytest.mark.parametrize("limit", ["max", "", 9223372036854771712])
def test_a_group_without_a_limit_leaves_all(cgroup: Path, limit: object) -> None:
    write(cgroup, memory_max=limit, memory_current=GIGABYTE)
    assert free_memory() == 64 * GIGABYTE


def test_beyond_the_limit_nothing_is_free(cgroup: Path) -> None:
    write(cgroup, memory_max=GIGABYTE, memory_current=2 * GIGABYTE)
    assert free_memory() == 0


def test_here_some_memory_is_free() -> None:
    assert 0 < free_memory() <= psutil.virtual_memory().total


def test_the_budget_is_the_users_or_a_share_of_what_is_free(cgroup: Path) -> None:
    assert memory_budget(123) == 123
    assert memory_budget(0) == 0
    assert memory_budget(None) == GIGABYTE
    write(cgroup, memory_max=2 * GIGABYTE, memory_current=GIGABYTE // 2)
    assert memory_budget(None) == GIGABYTE // 2


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate"), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_a_lack_of_memory_is_told_from_other_errors(error: BaseException, expected: bool) -> None:
    assert out_of_memory(error) is expected


def test_torch_says_so_in_these_words() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**58, dtype=torch.uint8)
    assert out_of_memory(caught.value)


# --- pages ---------------------------------------------------------------------------------------------------------


class Libc:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

    def mallopt(self, number: int, value: int) -> None:
        self.told.append((number, value))

    def malloc_trim(self, pad: int) -> None:
        self.told.append((0, pad))


@pytest.fixture
def libc(monkeypatch: pytest.MonkeyPatch) -> Libc:
    told = Libc()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: told)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    for name in list(os.environ):
        if name.startswith(("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")):
            monkeypatch.delenv(name)
    return told


def test_thresholds_are_raised_within_and_lowered_after(libc: Libc) -> None:
    with keep_freed_memory():
        raised = dict(libc.told)
    lowered = dict(libc.told[len(raised) :])
    assert set(raised) == {-3, -1}
    assert all(lowered[number] < value for number, value in raised.items())
    assert libc.told[-1] == (0, 0), "what is free is given back"


def test_an_error_within_lowers_them_too(libc: Libc) -> None:
    with pytest.raises(ZeroDivisionError), keep_freed_memory():
        raise ZeroDivisionError
    assert libc.told[-1] == (0, 0)


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "LD_PRELOAD"])
def test_what_the_user_set_is_left_alone(name: str, libc: Libc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    with keep_freed_memory():
        release_freed_memory()
    assert libc.told == []


def test_another_c_library_is_left_alone(libc: Libc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    with keep_freed_memory():
        release_freed_memory()
    assert libc.told == []


def test_what_is_free_is_given_back_in_between(libc: Libc) -> None:
    release_freed_memory()
    assert libc.told == [(0, 0)]
