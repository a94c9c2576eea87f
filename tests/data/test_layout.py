"""Layouts of folders: where the classes begin, and which folders divide them."""

from __future__ import annotations

import pytest

from autotransfer.data.layout import Layout
from autotransfer.errors import DataError


def placed(text: str, known: set[str] | None = None) -> tuple[Layout, list[str]]:
    """Return the layout of paths, and ``part:class`` for each."""
    paths = [tuple(path.split("/")) for path in text.split()]
    layout = Layout.of(paths, known or set())
    return layout, [f"{layout.part_of(path) or '-'}:{layout.label_of(path) or '-'}" for path in paths]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ("cat/1 dog/2 dog/deep/er/3", "-:cat -:dog -:dog"),
        ("cat/1 dog/2 3", "-:cat -:dog -:-"),
        # One folder that holds the classes, and one in it.
        ("data/cat/1 data/dog/2", "-:cat -:dog"),
        ("a/b/cat/1 a/b/dog/2", "-:cat -:dog"),
        ("data/cat/1 data/dog/2 cover", "-:cat -:dog -:-"),
        # Parts, also with a folder in between, as archives unpack.
        ("train/cat/1 train/dog/2 test/cat/3", "train:cat train:dog test:cat"),
        ("train_set/cat/1 train_set/dog/2 test_set/dog/3 samples/4", "train:cat train:dog test:dog -:-"),
        ("x/train/cat/1 x/train/dog/2 x/val/cat/3", "train:cat train:dog validation:cat"),
        (
            "a_train/a_train/c/1 a_train/a_train/d/2 a_test/a_test/c/3 a_test/a_test/d/4",
            "train:c train:d test:c test:d",
        ),
        ("train/cat/1 train/dog/2 test/cat/in/3 test/cat/out/4", "train:cat train:dog test:cat test:cat"),
        ("train/cat/1 train/dog/2 train/cover test/cat/3 test/4", "train:cat train:dog train:- test:cat test:-"),
        # Parts within the classes.
        ("cat/train/1 cat/test/2 dog/train/3 dog/test/4", "train:cat test:cat train:dog test:dog"),
        # Classes that are called so.
        ("train/1 test/2 train/3", "-:train -:test -:train"),
        ("train/steam/1 train/diesel/2 bus/3", "-:train -:train -:bus"),
    ],
)
def test_every_file_has_its_part_and_class(paths: str, expected: str) -> None:
    assert placed(paths)[1] == expected.split()


def test_a_class_that_is_known_is_no_folder_to_pass_through() -> None:
    assert placed("cat/in/1 cat/out/2")[1] == ["-:in", "-:out"]
    assert placed("cat/in/1 cat/out/2", {"cat", "dog"})[1] == ["-:cat", "-:cat"]


def test_a_single_class_stays_one_where_it_holds_images() -> None:
    assert placed("cat/1 cat/2 cat/in/3 cat/out/4")[1] == ["-:cat"] * 4


def test_parts_without_one_to_train_on_are_refused() -> None:
    with pytest.raises(DataError, match=r"splits, not classes \(test, val\), and none is there to train on"):
        placed("test/cat/1 val/cat/2")


def test_parts_in_some_classes_only_are_said() -> None:
    layout, where = placed("cat/train/1 cat/test/2 dog/3")
    assert where == ["-:cat", "-:cat", "-:dog"]
    assert "1 of 2 classes have folders named test, train" in layout.hints[0]


def test_a_class_that_looks_like_a_part_is_said() -> None:
    layout, _ = placed("train/cat/1 train/dog/2 samples/3")
    assert "'train' holds folders of its own, and is read as one class beside samples" in layout.hints[0]
    assert placed("cat/1 dog/a/2 dog/b/3")[0].hints == ()
