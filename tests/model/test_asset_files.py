"""Files beside the JSON of a model: written once, read back, and refused where they were changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autotransfer.errors import ModelFormatError
from autotransfer.model.asset_files import digests_of, read_asset_files, write_asset_files

FILES = {"words-1.json": b'{"a": 1}', "words-2.json": b"{}"}


def test_files_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_asset_files(FILES, tmp_path)
    assert read_asset_files(digests_of(FILES), tmp_path) == FILES
    before = (tmp_path / "words-1.json").stat().st_mtime_ns
    write_asset_files(FILES, tmp_path)
    assert (tmp_path / "words-1.json").stat().st_mtime_ns == before


def test_changed_and_missing_files_are_refused(tmp_path: Path) -> None:
    write_asset_files(FILES, tmp_path)
    (tmp_path / "words-2.json").write_bytes(b"[]")
    with pytest.raises(ModelFormatError, match=r"words-2\.json .* was changed"):
        read_asset_files(digests_of(FILES), tmp_path)
    (tmp_path / "words-2.json").unlink()
    with pytest.raises(ModelFormatError, match=r"lacks the file words-2\.json"):
        read_asset_files(digests_of(FILES), tmp_path)


@pytest.mark.parametrize(
    "saved", [[], {"../secret": "0"}, {"model.json": "0"}, {".hidden": "0"}, {f"f{i}": "0" for i in range(17)}]
)
def test_names_outside_of_the_folder_are_refused(tmp_path: Path, saved: Any) -> None:
    with pytest.raises(ModelFormatError):
        read_asset_files(saved, tmp_path)


def test_name_of_a_file_of_the_model_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot be called 'model\.json'"):
        write_asset_files({"model.json": b""}, tmp_path)
    assert list(tmp_path.iterdir()) == []
