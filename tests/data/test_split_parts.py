"""Divided data: which part is used for what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from autotransfer.data.examples import Examples
from autotransfer.errors import ConfigError, DataError
from autotransfer.pipeline.load_data import load_data
from autotransfer.settings import DataArguments, DataOptions


def read(data: Path, **given: Any) -> tuple[Examples, Examples | None]:
    return load_data(
        DataArguments(data=data, targets=given.pop("targets", None), test=given.pop("test", None)), DataOptions(**given)
    )


def warned(examples: Examples) -> dict[str, Any]:
    return {warning.code: warning for warning in examples.warnings}


def make(root: Path, names: str) -> Path:
    for i, name in enumerate(names.split()):
        file = root / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 9), i).save(file)
    return root


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    names = "train/cat/1 train/cat/2 train/dog/3 train/dog/4 val/cat/5 val/dog/6 test/dog/7 samples/8"
    return make(tmp_path / "photos", names)


def test_parts_are_used_as_what_they_are(photos: Path) -> None:
    examples, test = read(photos)
    assert examples.targets == ["cat", "cat", "dog", "dog", "cat", "dog"]
    assert examples.held_out == (False,) * 4 + (True,) * 2
    assert test is not None
    assert (test.targets, test.held_out) == (["dog"], None)
    said = warned(examples)["split_used"]
    assert said.message.endswith("4 to train on, 2 to score candidates on, 1 to test the model on, once.")
    assert {name: said.details[name] for name in ("train", "validation", "test")} == {
        "train": 4,
        "validation": 2,
        "test": 1,
    }
    assert [Path(s.name).name for s in examples.skipped] == ["8.png"], "and what stands beside them is named"
    assert examples.described == f"7 images of 2 classes (cat 3, dog 4) from the folder {photos}"


def test_what_is_given_wins_over_a_part(photos: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other", "cat/1 dog/2 dog/3")
    examples, test = read(photos, test=other, validation=other)
    assert test is not None
    assert (len(test), len(examples), sum(examples.held_out or ())) == (3, 7, 3)
    said = warned(examples)["split_used"]
    assert said.details["unused"] == ["validation", "test"]
    assert "The part test (1) is not used, since test data are given." in said.message


def test_of_what_is_given_the_part_is_used_that_is_there_for_it(photos: Path) -> None:
    examples, test = read(photos / "train", test=photos, validation=photos)
    assert test is not None
    assert (test.targets, examples.targets) == (["dog"], ["cat", "cat", "dog", "dog", "cat", "dog"])
    assert "the part test alone is used: 1 of 7 examples" in warned(test)["split_used"].message


def test_a_part_without_labels_is_left_out_and_named(tmp_path: Path) -> None:
    for name, nameless in (("flat", "test/3 test/4"), ("one", "test/images/3 test/images/4")):
        examples, test = read(make(tmp_path / name, f"train/a/1 train/b/2 {nameless}"))
        assert (len(examples), test) == (2, None)
        assert {s.reason for s in examples.skipped} == {
            "in a part of the data, but in no folder of a class: it has no label"
        }


def test_parts_without_anything_to_train_on_are_refused(photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    rows = [f"{photos}/train/cat/1.png,a,test", f"{photos}/train/cat/2.png,b,test", "gone.png,a,train"]
    table.write_text("\n".join(["path,label,split", *rows]))
    with pytest.raises(DataError, match="none of the examples to train on can be used"):
        read(table)


def test_a_single_class_to_test_on_stays_one(photos: Path, tmp_path: Path) -> None:
    test = read(photos / "train", test=make(tmp_path / "one", "cat/in/1 cat/out/2"))[1]
    assert test is not None
    assert test.targets == ["cat", "cat"]


def test_options_for_the_data_need_not_suit_the_test_data(photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("id,what\ncat/1,cat\ndog/3,dog\n")
    options = {"root": photos / "train", "suffix": "png", "path_column": "id", "target_column": "what"}
    examples, test = read(table, test=photos / "val", **options)
    assert test is not None
    assert (examples.targets, test.targets) == (["cat", "dog"], ["cat", "dog"])


def test_what_is_left_out_of_the_test_data_is_said(photos: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other", "cat/1 dog/2")
    (other / "cat" / "x.bin").write_bytes(b"123")
    test = read(photos / "train", test=other)[1]
    assert test is not None
    said = warned(test)["examples_skipped"]
    assert said.details["of"] == "the test data"
    assert said.details["classes"] == {"cat": {"skipped": 1, "used": 1, "reasons": {"no image that can be read": 1}}}


# Small classes


@pytest.fixture
def unequal(tmp_path: Path) -> Path:
    return make(tmp_path / "unequal", "a/1 a/2 a/3 b/4 b/5 c/6")


@pytest.mark.parametrize(("least", "left"), [(1, "aaabbc"), (2, "aaabb")])
def test_small_classes_are_left_out_by_name(unequal: Path, least: int, left: str) -> None:
    examples, test = read(unequal, test=unequal, min_examples=least)
    assert examples.targets == list(left)
    assert test is not None
    assert test.targets == list(left), "nobody knows them when it is tested"
    gone = ["c"] if least == 2 else []
    assert [s.label for s in examples.skipped] == gone
    assert ("small_classes" in warned(test)) == bool(gone)


def test_small_classes_are_counted_among_what_is_trained_on(photos: Path) -> None:
    make(photos, "train/ox/1 val/ox/2 val/ox/3")
    examples, _ = read(photos, min_examples=2)
    assert set(examples.targets or ()) == {"cat", "dog"}
    assert sum(examples.held_out or ()) == 2


def test_small_classes_are_none_of_a_regression(unequal: Path) -> None:
    paths = sorted(unequal.glob("a/*"))
    with pytest.raises(ConfigError, match="these targets are no classes"):
        read(paths, targets=[0.5, 1.5, 2.5], min_examples=2)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"Of 3 classes, 1 have 3 examples or more \(a\); it takes two classes"):
        read(unequal, min_examples=3)
