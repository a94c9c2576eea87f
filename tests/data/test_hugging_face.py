"""Tables of the package ``datasets``, of which a stand-in has what is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from autotransfer.data.hugging_face import is_hugging_face
from autotransfer.data.recognition import modality_named
from autotransfer.data.sources import find_examples, load_examples
from autotransfer.errors import DataError

TEXTS = [f"The answer to this one is {word}, they say" for word in ("yes", "no", "maybe", "never")]


class ClassLabel:
    """Classes by number; unlike an image, it need not be decoded."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)


class Picture:
    """Values that are decoded when they are asked for."""

    def decode_example(self, value: Any) -> Any:
        return value


class Rows:
    """A stand-in for ``datasets.Dataset``."""

    def __init__(self, features: dict[str, Any], **columns: Sequence[Any]) -> None:
        self.features, self.columns, self.asked = features, columns, list[Any]()

    @property
    def column_names(self) -> list[str]:
        return [*self.columns]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key: Any) -> Any:
        self.asked.append(key)
        return (
            self.columns[key] if isinstance(key, str) else {name: values[key] for name, values in self.columns.items()}
        )


@pytest.fixture
def rows() -> Rows:
    features = {"text": object(), "label": ClassLabel(["neg", "pos"])}
    return Rows(features, text=TEXTS, label=[0, 1, -1, 1])


def test_classes_have_their_names_and_missing_ones_are_left_out(rows: Rows) -> None:
    assert is_hugging_face(rows)
    examples = load_examples(rows)
    assert (examples.items, examples.targets) == ([TEXTS[0], TEXTS[1], TEXTS[3]], ["neg", "pos", "pos"])
    assert [(one.name, one.reason) for one in examples.skipped] == [("row 2", "no target")]
    assert find_examples(rows, modalities=modality_named("text")).items == TEXTS


def test_parts_by_name_divide_a_data_set(rows: Rows) -> None:
    examples = load_examples({"train": rows, "test": rows})
    assert examples.parts == ("train",) * 3 + ("test",) * 3
    assert examples.names[-1] == "test row 3"
    assert load_examples({"train": rows}).parts is None
    with pytest.raises(DataError, match=r"the parts 'train', 'unsupervised' does not say .*data\['train'\]"):
        load_examples({"train": rows, "unsupervised": rows})


def test_values_that_are_decoded_are_not_fetched_without_need(rows: Rows) -> None:
    rows.features["cover"], rows.columns["cover"] = Picture(), [object()] * 4
    assert load_examples(rows).columns == ("text",)
    assert "cover" not in rows.asked
    assert sum(isinstance(key, int) for key in rows.asked) <= 6


def test_an_empty_data_set_is_refused() -> None:
    with pytest.raises(DataError, match="The data set is empty"):
        load_examples(Rows({}, text=[], label=[]))
