"""Files that are never half written, and disks that are full or cannot be written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from autotransfer.errors import DataError, OutputError
from autotransfer.runtime.files import replacing, write_atomically, writing


def test_text_is_written_and_replaced(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    for text in ("ä\r\nb\n", ""):
        write_atomically(file, text)
        assert file.read_bytes() == text.encode()
    assert list(tmp_path.iterdir()) == [file], "nothing temporary is left"


def test_a_name_in_another_encoding_does_not_lose_the_file(tmp_path: Path) -> None:
    # What a Latin-1 file name looks like in Python, as it may stand in the reason of a failed trial.
    write_atomically(tmp_path / "trials.csv", b"caf\xe9.jpg".decode("utf-8", "surrogateescape"))
    assert (tmp_path / "trials.csv").read_text(encoding="utf-8") == r"caf\udce9.jpg"


def test_a_failure_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "result.json"
    write_atomically(file, "old")

    def fail(*arguments: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "missing" / "result.json", "")


def test_a_full_disk_is_named_with_what_to_do(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=rf"^{tmp_path} cannot be written: the disk is full\. Make room\.$"),
        writing(tmp_path, "Make room."),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    for message in ("I/O error: No space left on device (os error 28)", "database or disk is full"):
        with pytest.raises(OutputError, match="the disk is full"), writing(tmp_path):
            raise RuntimeError(message)  # as libraries say it that write from native code


def test_what_cannot_be_written_is_named_with_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "missing" / "result.json"
    with pytest.raises(OutputError, match=rf"{file} cannot be written: No such file or directory"), writing(file):
        write_atomically(file, "")


def test_errors_that_are_not_of_writing_pass(tmp_path: Path) -> None:
    for error in (DataError("no labels"), ValueError("wrong"), KeyError("x")):
        with pytest.raises(type(error)) as caught, writing(tmp_path):
            raise error
        assert caught.value is error


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    # tempfile and safetensors make files for their owner alone.
    def private(file: Path) -> None:
        file.unlink()
        file.touch(mode=0o600)

    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "model") as temporary:
            private(temporary)
        write_atomically(tmp_path / "text", "")
    finally:
        os.umask(before)
    assert {oct(file.stat().st_mode & 0o777) for file in tmp_path.iterdir()} == {"0o640"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(pipe, "a row")
    assert os.read(reader, 100) == b"a row"
    os.close(reader)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]
