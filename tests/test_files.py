"""Files that are never half written."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotransfer.files import write_atomically


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
