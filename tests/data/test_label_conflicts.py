"""Copies with different labels are left out by name; whatever else is there keeps its place beside its label."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import autotransfer
from autotransfer.data.examples import Examples
from autotransfer.data.label_conflicts import without_label_conflicts
from autotransfer.errors import DataError
from autotransfer.settings import Compute
from autotransfer_plugins.modalities.image.decode import decode
from autotransfer_plugins.modalities.image.images import Images


def decoded(values: list[int], memory_limit: int | None = None) -> tuple[Images, tuple[str, ...]]:
    """Decode plain images, one of each value; 0 is one that cannot be read."""
    items = [np.full((9, 9), value, dtype=np.uint8) if value else Path("gone.png") for value in values]
    names = tuple(f"item {i}" for i in range(len(items)))
    return decode(Examples(items=items, names=names), {"center": 9}, memory_limit=memory_limit), names


@pytest.mark.parametrize("memory_limit", [None, 0])
def test_label_conflicts_are_skipped_and_the_order_is_kept(memory_limit: int | None) -> None:
    images, names = decoded([50, 0, 60, 70, 50, 60, 80, 50], memory_limit)
    labels = ["cat", "cat", "dog", "dog", "dog", "dog", "cat", "cat"]
    agreeing = without_label_conflicts(images, names, labels)
    assert agreeing.kept.tolist() == [2, 3, 5, 6]  # equal images of one label are no contradiction
    assert agreeing.pixels["center"][:, 0, 0, 0].tolist() == [60, 70, 60, 80]
    assert len(agreeing.digests) == 4
    assert [(skipped.name, skipped.reason) for skipped in agreeing.skipped] == [
        ("item 1", "the file is gone"),
        ("item 0", "labelled 'cat', but its copy item 4 'dog'"),
        ("item 4", "labelled 'dog', but its copy item 0 'cat'"),
        ("item 7", "labelled 'cat', but its copy item 4 'dog'"),
    ]


def test_without_contradictions_nothing_is_touched() -> None:
    images, names = decoded([5, 6, 5, 7])
    assert without_label_conflicts(images, names, ["a", "b", "a", "b"]) is images


def test_nothing_but_contradictions_is_an_error() -> None:
    images, names = decoded([5, 5])
    with pytest.raises(DataError, match=r"No example is left.*item 1 is labelled 1, but its copy item 0 0"):
        without_label_conflicts(images, names, [0, 1])


@pytest.mark.slow
def test_the_user_is_told_by_name(tiny_zoo: Path, digit_folder: Path, tmp_path: Path) -> None:
    data = shutil.copytree(digit_folder / "train", tmp_path / "data")
    source = sorted((data / "one").iterdir())[0]
    shutil.copy(source, data / "two" / "cop\x1b[2J.png")
    result = autotransfer.fit(
        data,
        zoo=tiny_zoo,
        backbones="test_resnet",
        heads="ridge",
        trials=1,
        compute=Compute(cache=False),
        out=tmp_path / "run",
    )
    (warning,) = [warning for warning in result.warnings if warning.code == "label_conflicts"]
    assert warning.message.startswith("2 files of the data are not used, since copies of them have other labels")
    assert source.name in warning.message
    assert "cop\\x1b[2J.png" in warning.message
    assert warning.details["count"] == 2
    assert {Path(skipped.name).name for skipped in result.data.skipped} == {source.name, "cop\x1b[2J.png"}
    assert result.validation.examples == 89
