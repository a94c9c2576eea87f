"""Files of one JSON object a line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autotransfer.data.json_lines import read_json_lines
from autotransfer.data.sources import find_examples, load_examples
from autotransfer.errors import DataError


def test_keys_are_columns_and_types_are_kept(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(
        b'\xef\xbb\xbf{"text": "a\\nb", "n": 1}\r\n\r\n{"n": 2.5, "more": ["x"]}\n{"text": " ", "n": null}'
    )
    found = read_json_lines(tmp_path / "t.jsonl")
    assert found.columns == {"text": ["a\nb", None, None], "n": [1, 2.5, None], "more": [None, ["x"], None]}
    assert found.lines == [1, 3, 4]


def test_lines_that_hold_no_object_are_left_out_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "t.ndjson"
    path.write_text('{"a": 1}\n{"a": 2\n[3]\n' + '{"a": 4}\n' * 3)
    found = read_json_lines(path)
    assert found.columns == {"a": [1, 4, 4, 4]}
    assert [one.reason for one in found.skipped] == ["no JSON: Expecting ',' delimiter", "a list, and no object"]
    path.write_text('{"a": 1}\n' + "nothing\n" * 3)
    with pytest.raises(DataError, match=r"holds 1 lines that are a JSON object.*line 2: no JSON"):
        read_json_lines(path)


def test_examples_are_read_from_json_lines(tmp_path: Path) -> None:
    texts = [f"The answer to this one is {i}, they say" for i in range(4)]
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(json.dumps({"body": t, "label": i % 2, "tags": ["x"]}) for i, t in enumerate(texts)))
    examples = load_examples(path)
    assert (list(examples.items), examples.targets) == (texts, [0, 1, 0, 1])
    assert load_examples(path, target_column="tags").targets == [["x"]] * 4
    assert list(find_examples(path).items) == texts
