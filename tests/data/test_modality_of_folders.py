"""Folders of several kinds of files: the kind of most files wins, and the others are named."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from autotransfer.data.recognition import modality_named
from autotransfer.data.sources import load_examples
from autotransfer.errors import DataError, UnknownNameError


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Three texts and one image in each of two classes."""
    for label in ("good", "bad"):
        (tmp_path / label).mkdir()
        for i in range(3):
            (tmp_path / label / f"{i}.txt").write_text(f"{label} for the {i}. time")
        Image.new("L", (9, 9)).save(tmp_path / label / "cover.png")
    return tmp_path


def test_most_files_say_what_a_folder_holds(mixed: Path) -> None:
    examples = load_examples(mixed)
    assert examples.modality is not None
    assert (examples.modality.name, len(examples), set(examples.targets or ())) == ("text", 6, {"good", "bad"})
    assert {(Path(one.name).name, one.reason) for one in examples.skipped} == {
        ("cover.png", "no text that can be read")
    }


def test_a_modality_that_is_named_reads_its_files(mixed: Path) -> None:
    examples = load_examples(mixed, modalities=modality_named("image"))
    assert {Path(name).name for name in examples.names} == {"cover.png"}
    assert examples.ignored_files == {".txt": 6}
    with pytest.raises(DataError, match="No class with"):
        load_examples(mixed, modalities=modality_named("audio"))
    with pytest.raises(UnknownNameError, match="No modality matches 'pictures'"):
        modality_named("pictures")


def test_images_with_captions_beside_them_are_images(mixed: Path) -> None:
    for label in ("good", "bad"):
        for i in range(2):
            Image.new("L", (9, 9)).save(mixed / label / f"{i}.png")
    examples = load_examples(mixed)
    assert (examples.modality and examples.modality.name, len(examples)) == ("image", 6)
