"""Names of parts: which of them divide data, and which are names of something else."""

from __future__ import annotations

import pytest

from autotransfer.data.split_names import find_split_names, split_of_name


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        ("train test", "train test"),
        ("Train VAL Test", "train validation test"),
        ("training validation testing", "train validation test"),
        ("train_set test_set", "train test"),
        ("trainset testset", "train test"),
        ("train2017 val2017", "train validation"),
        ("TrainImages TestImages", "train test"),
        ("images_train images_valid", "train validation"),
        ("train dev holdout", "train validation test"),
        ("train hold_out", "train test"),
        ("train held-out", "train test"),
        ("seg_train seg_test", "train test"),
    ],
)
def test_names_of_parts_are_known(names: str, parts: str) -> None:
    assert find_split_names(names.split()) == dict(zip(names.split(), parts.split(), strict=True))


@pytest.mark.parametrize(
    ("names", "evaluation"),
    [
        ("train eval", "test"),
        ("train eval test", "validation"),
        ("train val eval", "test"),
        ("train val eval test", "test"),
    ],
)
def test_eval_means_test_unless_another_split_is_test(names: str, evaluation: str) -> None:
    # What is chosen on cannot be tested on: to take a test part for validation could not be undone.
    assert find_split_names(names.split())["eval"] == evaluation


@pytest.mark.parametrize(
    "names",
    ["train", "cat dog", "test val", "train bus", "dev test", "a_train b_train", "a_train b_test"],
)
def test_other_names_divide_nothing(names: str) -> None:
    assert find_split_names(names.split()) == {}


def test_names_beside_parts_are_left_out() -> None:
    assert find_split_names(["train", "test", "samples"]) == {"train": "train", "test": "test"}
    assert find_split_names(["seg_train", "seg_test", "seg_pred"]) == {"seg_train": "train", "seg_test": "test"}


def test_a_name_with_another_word_stands_for_nothing_by_itself() -> None:
    assert [split_of_name(name) for name in ("Train", "val", "eval", "train_station", "train_test", "cat")] == [
        "train",
        "validation",
        "evaluation",
        None,
        None,
        None,
    ]
