"""The cache: entries that are whole or not there, within its limits; a failing disk never fails the search."""

from __future__ import annotations

import gc
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotransfer.features.cache import ActivationCache, Allocate, clear, content_key, default_cache_dir, list_entries

MEGABYTE = 2**20

Compute = Callable[[Allocate], tuple[np.ndarray, ...]]


def filled(value: float, *shapes: tuple[int, ...]) -> Compute:
    """Compute arrays of one value."""

    def compute(allocate: Allocate) -> tuple[np.ndarray, ...]:
        arrays = tuple(allocate(shape, np.dtype(np.float32)) for shape in shapes or ((3, 4),))
        for array in arrays:
            array[...] = value
        return arrays

    return compute


def never(allocate: Allocate) -> tuple[np.ndarray, ...]:
    raise AssertionError("computed again")


def make(folder: Path | None, memory: int = MEGABYTE, disk: int = 2**30) -> ActivationCache:
    return ActivationCache(folder, memory_limit=memory, disk_limit=disk)


def assert_filled(arrays: tuple[np.ndarray, ...] | None, value: float) -> None:
    assert arrays
    for array in arrays:
        np.testing.assert_array_equal(array, np.full(array.shape, value, dtype=np.float32))


@pytest.mark.parametrize("memory", [0, MEGABYTE], ids=["on disk", "in memory"])
def test_an_entry_is_read_back_by_another_cache(memory: int, tmp_path: Path) -> None:
    first = make(tmp_path, memory)
    assert_filled(first.get_or_compute("key", "two arrays", filled(7, (3, 4), (5,))), 7)
    second = make(tmp_path, memory)
    arrays = second.get_or_compute("key", "two arrays", never)
    assert_filled(arrays, 7)
    assert [array.shape for array in arrays] == [(3, 4), (5,)]
    assert isinstance(arrays[0], np.memmap) == (memory == 0)
    assert (first.computed, second.computed, second.reused) == (1, 0, 1)


def test_ten_arrays_keep_their_order(tmp_path: Path) -> None:
    shapes = [(i + 1,) for i in range(11)]
    make(tmp_path).get_or_compute("key", "", filled(1, *shapes))
    assert [array.shape for array in make(tmp_path).get_or_compute("key", "", never)] == shapes


def left_in(folder: Path) -> list[str]:
    """Return what is in a cache folder beside locks, which stay for whoever comes next."""
    return sorted(entry.name for entry in folder.iterdir() if entry.name != ".locks")


def test_without_a_folder_nothing_outlives_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    cache = make(None, memory=MEGABYTE)
    for value in range(3):
        cache.get_or_compute(f"key{value}", "", filled(value, (MEGABYTE // 6,)))
    for value in range(3):  # what left memory is read from the temporary folder
        assert_filled(cache.get_or_compute(f"key{value}", "", never), value)
    assert len(list(tmp_path.iterdir())) == 1
    del cache
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_beyond_the_memory_limit_arrays_live_on_disk(tmp_path: Path) -> None:
    cache = make(tmp_path, memory=MEGABYTE)
    small = cache.get_or_compute("small", "", filled(1, (1000,)))
    large = cache.get_or_compute("large", "", filled(2, (MEGABYTE,)))
    both = cache.get_or_compute("both", "", filled(3, (MEGABYTE // 8,), (MEGABYTE // 5,)))  # together too large
    assert [type(array) for array in (*small, *large, *both)] == [np.ndarray, np.memmap, np.ndarray, np.memmap]
    assert cache.held <= MEGABYTE
    for key, value in (("small", 1), ("large", 2), ("both", 3)):
        assert_filled(cache.get(key), value)
        assert_filled(make(tmp_path).get_or_compute(key, "", never), value)


def test_memory_is_given_back_to_the_newest(tmp_path: Path) -> None:
    cache = make(tmp_path, memory=MEGABYTE)
    for i in range(10):
        cache.get_or_compute(f"key{i}", "", filled(i, (MEGABYTE // 16,)))  # a quarter of the limit each
        assert cache.held <= MEGABYTE
    for i in range(10):
        assert_filled(cache.get(f"key{i}"), i)


def test_what_was_allocated_but_not_used_is_not_kept(tmp_path: Path) -> None:
    # Features that overflow 16 bit are computed again in 32 bit, into other arrays.
    def compute(allocate: Allocate) -> tuple[np.ndarray, ...]:
        allocate((MEGABYTE,), np.dtype(np.float16))[:] = 0
        return filled(5, (MEGABYTE,))(allocate)

    make(tmp_path, memory=0).get_or_compute("key", "", compute)
    assert_filled(make(tmp_path).get_or_compute("key", "", never), 5)
    assert sorted(file.name for file in (tmp_path / "key").iterdir()) == ["0.npy", "about.json"]


def test_the_least_recently_used_entries_go_first(tmp_path: Path) -> None:
    cache = make(tmp_path, disk=25_000)  # two entries of about 10 kB
    for key in ("old", "used"):
        cache.get_or_compute(key, "", filled(1, (2500,)))
    hour_ago = time.time() - 3600
    os.utime(tmp_path / "old" / "about.json", (hour_ago, hour_ago))
    os.utime(tmp_path / "used" / "about.json", (hour_ago - 60, hour_ago - 60))
    assert make(tmp_path).get("used") is not None  # older, but used again
    cache.get_or_compute("new", "", filled(1, (2500,)))
    assert [entry.key for entry in list_entries(tmp_path)] == ["new", "used"]


def test_one_entry_may_exceed_the_limit_alone(tmp_path: Path) -> None:
    cache = make(tmp_path, disk=10)
    cache.get_or_compute("key", "", filled(1))
    assert [entry.key for entry in list_entries(tmp_path)] == ["key"]


def cut_short(entry: Path) -> None:
    os.truncate(entry / "1.npy", 130)


def emptied(entry: Path) -> None:
    (entry / "0.npy").write_bytes(b"")


def garbled(entry: Path) -> None:
    (entry / "0.npy").write_bytes(b"PK\x03\x04" + b"x" * 300)


def pickled(entry: Path) -> None:
    np.save(entry / "0.npy", np.array([{"a": 1}]), allow_pickle=True)


def with_one_bit_flipped(entry: Path) -> None:
    content = bytearray((entry / "0.npy").read_bytes())
    content[-3] ^= 1  # within the values: the file looks sound
    (entry / "0.npy").write_bytes(content)


def of_other_rows(entry: Path) -> None:
    np.save(entry / "0.npy", np.ones((2, 4), np.float32))


def with_a_folder_for_an_array(entry: Path) -> None:
    (entry / "0.npy").unlink()
    (entry / "0.npy").mkdir()


def with_a_pipe_for_an_array(entry: Path) -> None:
    (entry / "0.npy").unlink()
    os.mkfifo(entry / "0.npy")


def without_an_array(entry: Path) -> None:
    (entry / "1.npy").unlink()


def without_its_description(entry: Path) -> None:
    (entry / "about.json").unlink()


def with_half_a_description(entry: Path) -> None:
    (entry / "about.json").write_text('{"about": "tw')


def with_another_description(entry: Path) -> None:
    (entry / "about.json").write_text("[]")


def with_a_description_without_end(entry: Path) -> None:
    (entry / "about.json").write_text("[" * 100_000)


def with_a_huge_array(entry: Path) -> None:
    # A header may claim anything, and be sealed as it should be.
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (%d, 2), }" % 2**70
    (entry / "0.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    sums = [zlib.crc32((entry / f"{i}.npy").read_bytes()) for i in range(2)]
    (entry / "about.json").write_text(json.dumps({"arrays": sums}))


DAMAGES = [
    cut_short,
    emptied,
    garbled,
    pickled,
    with_one_bit_flipped,
    of_other_rows,
    with_a_folder_for_an_array,
    pytest.param(with_a_pipe_for_an_array, marks=pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")),
    without_an_array,
    without_its_description,
    with_half_a_description,
    with_another_description,
    with_a_description_without_end,
    with_a_huge_array,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_computed_again_and_replaced(damage: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path).get_or_compute("key", "", filled(1, (3, 4), (50,)))
    damage(tmp_path / "key")
    list_entries(tmp_path)
    cache = make(tmp_path)
    assert_filled(cache.get_or_compute("key", "", filled(1, (3, 4), (50,))), 1)
    assert cache.computed == 1
    assert_filled(make(tmp_path).get_or_compute("key", "", never), 1)
    assert [entry.key for entry in list_entries(tmp_path)] == ["key"]


def test_an_error_while_computing_leaves_nothing_behind(tmp_path: Path) -> None:
    def compute(allocate: Allocate) -> tuple[np.ndarray, ...]:
        allocate((MEGABYTE,), np.dtype(np.float32))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        make(tmp_path, memory=0).get_or_compute("key", "", compute)
    assert left_in(tmp_path) == []


def assert_works_without_caching(cache: ActivationCache, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "autotransfer"):
        for value in (1, 2):
            assert_filled(cache.get_or_compute(f"key{value}", "", filled(value, (MEGABYTE,))), value)
        assert_filled(cache.get_or_compute("key2", "", never), 2)  # the last one stays in memory all the same
    assert len(caplog.records) == 1, "said once, not for each entry"
    assert "not cached" in caplog.text


def test_a_folder_that_is_a_file_means_no_caching(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "cache"
    file.write_text("")
    assert_works_without_caching(make(file), caplog)
    assert list_entries(file) == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_means_no_caching(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tmp_path.chmod(0o500)
    assert_works_without_caching(make(tmp_path / "cache"), caplog)
    tmp_path.chmod(0o700)


def test_large_arrays_stay_in_memory_on_a_nearly_full_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    arrays = make(tmp_path, memory=1000).get_or_compute("key", "", filled(1, (MEGABYTE,)))
    assert not isinstance(arrays[0], np.memmap)
    assert "the disk has 0 MB left; 4 MB are needed" in caplog.text


# A disk that is full in the middle of a write: the system refuses files beyond a size.
FULL_DISK = """
    import resource, signal, sys
    from pathlib import Path
    import numpy as np
    from autotransfer.features.cache import ActivationCache

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    def compute(allocate):
        array = allocate((2**20,), np.dtype(np.float32))
        array[:] = 3
        return (array,)

    cache = ActivationCache(Path(sys.argv[1]), memory_limit=int(sys.argv[2]))
    (array,) = cache.get_or_compute("key", "", compute)
    assert (array == 3).all()
    assert [entry.name for entry in Path(sys.argv[1]).iterdir()] == [".locks"]
"""


def python(script: str, *args: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs a limit on file sizes")
@pytest.mark.parametrize("memory", [0, 2**30], ids=["mapped", "saved"])
def test_a_full_disk_means_no_caching(memory: int, tmp_path: Path) -> None:
    process = python(FULL_DISK, tmp_path, memory)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "not cached" in errors


RACE = """
    import sys, time
    from pathlib import Path
    import numpy as np
    from autotransfer.features import cache as module

    folder, alone = Path(sys.argv[1]), sys.argv[3] == "alone"
    if not alone:  # as where the file system has no locks
        module._alone = module.contextlib.nullcontext

    def compute(allocate):
        (folder.parent / f"computed-{memory}-{sys.argv[2]}").touch()
        end = time.monotonic() + (0.5 if alone else 30)
        while len(list(folder.parent.glob(f"computed-{memory}-*"))) < 2 and time.monotonic() < end:
            time.sleep(0.01)  # both compute before either is done, if they may
        array = allocate((1000, 100), np.dtype(np.float32))
        array[:] = 3
        return (array,)

    for memory in (0, 2**30):
        cache = module.ActivationCache(folder, memory_limit=memory)
        (array,) = cache.get_or_compute(f"key{memory}", "", compute)
        assert (array == 3).all()
        (array,) = cache.get(f"key{memory}")
        assert (array == 3).all()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("how", "computed"), [("alone", 2), ("together", 4)])
def test_one_of_two_processes_computes_an_entry_under_locks(how: str, computed: int, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    processes = [python(RACE, folder, i, how) for i in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert not errors
    assert len(list_entries(folder)) == 2
    assert len(list(tmp_path.glob("computed-*"))) == computed
    assert not [name for name in left_in(folder) if name.startswith(".")], "nothing is left over"


def test_a_process_that_dies_while_it_computes_blocks_nobody(tmp_path: Path) -> None:
    script = """
        import os, sys
        from pathlib import Path
        from autotransfer.features.cache import ActivationCache
        ActivationCache(Path(sys.argv[1]), memory_limit=0).get_or_compute("key", "", lambda allocate: os._exit(7))
    """
    process = python(script, tmp_path)
    process.communicate(timeout=60)
    assert process.returncode == 7
    assert_filled(make(tmp_path).get_or_compute("key", "", filled(1, (3,))), 1)


def test_what_killed_processes_left_is_removed_after_a_day(tmp_path: Path) -> None:
    for name, age in ((".new-stale", 25), (".old-stale", 25), (".new-working", 23)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.npy").write_bytes(b"x")
        then = time.time() - age * 3600
        os.utime(tmp_path / name, (then, then))
    make(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == [".new-working"]


def test_entries_are_listed_with_contents_and_can_be_cleared(tmp_path: Path) -> None:
    cache = make(tmp_path)
    cache.get_or_compute("key", "resnet18 pooled (3 images)", filled(1, (1000,)))
    (tmp_path / ".new-working").mkdir()
    (tmp_path / ".new-working" / "about.json").write_text('{"about": "unfinished"}')
    (tmp_path / "notes.txt").write_text("not ours")
    (entry,) = list_entries(tmp_path)
    assert (entry.key, entry.about) == ("key", "resnet18 pooled (3 images)")
    assert 4000 < entry.size < 5000
    assert time.time() - entry.used < 60
    assert clear(tmp_path) == entry.size
    assert left_in(tmp_path) == [".new-working", "notes.txt"]
    assert list_entries(tmp_path / "missing") == []
    assert clear(tmp_path / "missing") == 0


def test_what_was_computed_along_the_way_is_kept(tmp_path: Path) -> None:
    cache, found = ActivationCache(tmp_path, memory_limit=MEGABYTE), (np.arange(6.0),)
    cache.put("key", "along the way", found)
    np.testing.assert_array_equal(cache.get("key"), found)
    np.testing.assert_array_equal(ActivationCache(tmp_path, memory_limit=MEGABYTE).get("key"), found)
    assert [entry.about for entry in list_entries(tmp_path)] == ["along the way"]


def test_contains_says_what_get_would_find(tmp_path: Path) -> None:
    cache = make(tmp_path)
    assert not cache.contains("key")
    cache.get_or_compute("key", "", filled(1))
    assert cache.contains("key")
    assert make(tmp_path).contains("key")


@pytest.mark.parametrize(("one", "other"), [({"a": 1}, {"a": 2}), ({"a": 1}, {"b": 1}), ({"a": "1"}, {"a": 1})])
def test_different_parts_have_different_keys(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert content_key(**one) != content_key(**other)
    assert content_key(x=1, y=2) == content_key(y=2, x=1)


def test_the_environment_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTOTRANSFER_CACHE", str(tmp_path))
    assert default_cache_dir() == tmp_path
    monkeypatch.delenv("AUTOTRANSFER_CACHE")
    assert default_cache_dir().name == "autotransfer"
