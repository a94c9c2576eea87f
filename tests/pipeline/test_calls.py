"""The arguments of a call: what run.json holds of them comes back with its types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotransfer.pipeline.calls import arguments_of, call_of


def _through_json(**given: Any) -> dict[str, Any]:
    call = call_of(given)
    assert call is not None
    return arguments_of(json.loads(json.dumps(call)))


@pytest.mark.parametrize(
    "value",
    [
        {0: 1.0, 1: 5.0},
        {True: 2.0, False: 1.0},
        {1.5: 1.0, "a": 2.0, 3: 4.0},
        {"a": {2: (1, 2)}},
        {"$type": "dict", "values": 3},
        ("a", ("b", 1)),
        {("a", "b"): 1.0},
        [{"cat"}, set(), {"dog"}],
        [True, 1, 1.0, "1", None],
        frozenset({1}),
        "text",
        1e300,
    ],
)
def test_an_argument_comes_back_with_its_types(value: Any) -> None:
    found = _through_json(class_weight=value)["class_weight"]
    assert found == value
    assert repr(found) == repr(value)


def test_values_of_numpy_are_written_down() -> None:
    found = _through_json(trials=np.int64(4), time_budget=np.float64(2.5), targets=np.array([[0, 1], [2, 3]], np.int16))
    assert (found["trials"], found["time_budget"]) == (4, 2.5)
    assert found["targets"].dtype == np.int16
    assert found["targets"].tolist() == [[0, 1], [2, 3]]
    names = np.array(["a", "bb"])
    assert (_through_json(targets=names)["targets"] == names).all()


def test_files_are_written_down_by_their_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = _through_json(data=["a.png", Path("b.png")], test=Path("test"), zoo=["zoo"], cache_dir="cache", out="run")
    assert found == {
        "data": [str(tmp_path / "a.png"), str(tmp_path / "b.png")],
        "test": str(tmp_path / "test"),
        "zoo": [str(tmp_path / "zoo")],
        "cache_dir": str(tmp_path / "cache"),
    }


def test_what_no_file_holds_is_not_written_down() -> None:
    assert call_of({"data": np.zeros((2, 8, 8, 3), np.uint8)}) is None
    assert call_of({"data": "photos", "metric": len}) is None
    assert call_of({"targets": np.array([object()])}) is None
