"""The examples of a call: where the files of lists are, for a run that is resumed elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from autotransfer.contract.modality import Item
from autotransfer.data.examples import Examples
from autotransfer.pipeline.load_data import file_finder
from autotransfer.settings import DataOptions


def _of(*items: Item) -> Examples:
    return Examples(items=list(items), names=tuple(map(str, items)))


def test_listed_files_are_found_below_the_root_and_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "root").mkdir()
    for name in ("root/a.png", "here.png"):
        (tmp_path / name).touch()
    find = file_finder(_of(Path("a.png")), DataOptions(root="root", suffix="png"))
    assert find is not None
    assert [find(name).absolute() for name in ("a", "here.png")] == [tmp_path / "root" / "a.png", tmp_path / "here.png"]


class Slow(Sequence[Item]):
    """A data set, each of whose examples takes long to fetch."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, i: Any) -> Any:
        raise AssertionError("it is fetched when it is read, and not before")


def test_texts_and_data_sets_name_no_files() -> None:
    assert file_finder(_of("a text", "another"), DataOptions()) is None
    assert file_finder(Examples(items=Slow(), names=("0", "1", "2")), DataOptions()) is None
