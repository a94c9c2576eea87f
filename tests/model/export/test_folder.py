"""Folders of exports: an export replaces the files of an earlier one, and never anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotransfer.errors import ConfigError
from autotransfer.model.export.folder import MANIFEST, check_folder, move_folder, write_manifest


def make_export(folder: Path, **files: str) -> Path:
    """Write the folder of an export with some files; in their names, ``__`` stands for a slash."""
    for name, text in files.items():
        file = folder / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    write_manifest(folder, "mine", {"versions": {"autotransfer": "1"}})
    return folder


def names_in(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def test_the_manifest_names_the_files(tmp_path: Path) -> None:
    make_export(tmp_path / "out", model="weights", sub__config="{}")
    found = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert found == {"format": "mine", "files": ["model", "sub/config"], "versions": {"autotransfer": "1"}}


def test_only_the_files_of_the_export_are_replaced(tmp_path: Path) -> None:
    there = make_export(tmp_path / "out", model="old", sub__config="old", tokenizer="old")
    (there / "sub" / "notes").write_text("of the user")
    found = move_folder(make_export(tmp_path / "new", model="new", sub__config="new"), there, overwrite=True)
    assert {file.relative_to(there).as_posix() for file in found} == {"model", "sub/config", MANIFEST}
    assert names_in(there) == {"model", "sub/config", "sub/notes", MANIFEST}
    assert [(there / name).read_text() for name in ("model", "sub/config")] == ["new", "new"]


def test_a_file_of_the_user_is_not_replaced(tmp_path: Path) -> None:
    there = make_export(tmp_path / "out", model="old")
    (there / "tokenizer").write_text("of the user")
    with pytest.raises(ConfigError, match=r"holds tokenizer, which the earlier export did not write.*Nothing was"):
        move_folder(make_export(tmp_path / "new", model="new", tokenizer="new"), there, overwrite=True)
    assert [(there / name).read_text() for name in ("model", "tokenizer")] == ["old", "of the user"]


def test_a_manifest_of_a_stranger_deletes_nothing_outside(tmp_path: Path) -> None:
    there, precious = make_export(tmp_path / "out", model="old"), tmp_path / "precious" / "file"
    precious.parent.mkdir()
    precious.write_text("precious")
    (there / "link").symlink_to(precious.parent)
    names = ["../precious/file", str(precious), "link/file", "link", "..", "", "\0"]
    (there / MANIFEST).write_text(json.dumps({"files": names}))
    (there / "model").unlink()
    move_folder(make_export(tmp_path / "new", model="new"), there, overwrite=True)
    assert precious.read_text() == "precious"
    assert (there / "model").read_text() == "new"


@pytest.mark.parametrize("manifest", ["", "[]", "{}", '{"files": "model"}', '{"files": [1]}', "[" * 100_000, "\udcff"])
def test_a_damaged_manifest_is_none(manifest: str, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(manifest.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=rf"not empty and holds no export: it has no {MANIFEST}"):
        check_folder(tmp_path, overwrite=True)


def test_a_folder_that_is_free_or_replaced_passes(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    check_folder(tmp_path / "empty", overwrite=False)
    there = make_export(tmp_path / "out", model="old")
    check_folder(there, overwrite=True)
    with pytest.raises(ConfigError, match=r"is there already: .*--overwrite"):
        check_folder(there, overwrite=False)


def test_an_empty_folder_takes_the_export(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    found: Any = move_folder(make_export(tmp_path / "new", model="new"), tmp_path / "out", overwrite=False)
    assert {file.name for file in found} == {"model", MANIFEST}
    assert names_in(tmp_path / "out") == {"model", MANIFEST}
