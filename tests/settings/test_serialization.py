"""The arguments of a call: what run.json holds of them comes back with its types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotransfer.settings import Compute, DataArguments, DataOptions, SearchOptions, Settings
from autotransfer.settings.serialization import call_from_json, call_to_json, from_json, is_complete, to_json


def _through_json(data: Any, targets: Any = None, test: Any = None, **given: Any) -> tuple[DataArguments, Settings]:
    call = call_to_json(DataArguments(data=data, targets=targets, test=test), Settings(**given))
    assert is_complete(call)
    return call_from_json(json.loads(json.dumps(call)))


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
def test_a_value_comes_back_with_its_types(value: Any) -> None:
    found = from_json(json.loads(json.dumps(to_json(value))))
    assert found == value
    assert repr(found) == repr(value)


def test_settings_come_back_with_their_groups_and_types() -> None:
    given = Settings(
        time_budget="5m",
        heads=["linear", "mlp"],
        data_options=DataOptions(modality_options={"value_range": (0, 4095)}, groups=["a", "b"], positive_class=1),
        search=SearchOptions(class_weight={0: 1.0, 1: 5.0}, exclude="vit*"),
        compute=Compute(workers=2, trial_timeout="2m"),
    )
    _, found = _through_json("photos", **vars(given))
    assert found == given
    assert found.search.class_weight == {0: 1.0, 1: 5.0}


def test_values_of_numpy_are_written_down() -> None:
    arguments, settings = _through_json(
        "photos", np.array([[0, 1], [2, 3]], np.int16), trials=np.int64(4), time_budget=np.float64(2.5)
    )
    assert (settings.trials, settings.time_budget) == (4, 2.5)
    assert arguments.targets.dtype == np.int16
    assert arguments.targets.tolist() == [[0, 1], [2, 3]]
    names = np.array(["a", "bb"])
    assert (_through_json("photos", names)[0].targets == names).all()


def test_files_are_written_down_by_their_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, settings = _through_json(
        ["a.png", Path("b.png")],
        test=Path("test"),
        zoo=["zoo"],
        out="run",
        data_options=DataOptions(validation="val"),
        compute=Compute(cache_dir="cache"),
    )
    assert arguments.data == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert arguments.test == str(tmp_path / "test")
    assert settings.zoos == (tmp_path / "zoo",)
    assert settings.out is None
    assert settings.data_options.validation == str(tmp_path / "val")
    assert settings.compute.cache_dir == tmp_path / "cache"


def test_texts_of_a_list_are_written_down_as_they_are() -> None:
    texts = ["the pump drips", "notes.txt"]
    settings = Settings(data_options=DataOptions(validation=texts))
    call = call_to_json(DataArguments(data=texts, test=tuple(texts)), settings, locate=None)
    arguments, found = call_from_json(json.loads(json.dumps(call)))
    assert arguments.data == arguments.test == found.data_options.validation == texts


@pytest.mark.parametrize(
    ("data", "settings"),
    [
        ({"data": np.zeros((2, 8, 8, 3), np.uint8)}, {}),
        ({"data": [object()]}, {}),
        ({"data": "photos", "targets": np.array([object()])}, {}),
        ({"data": "photos"}, {"metric": lambda estimator, X, y: 0.0}),
    ],
)
def test_a_call_that_no_file_holds_says_so(data: dict[str, Any], settings: dict[str, Any]) -> None:
    call = json.loads(json.dumps(call_to_json(DataArguments(**data), Settings(**settings))))
    assert not is_complete(call)
    with pytest.raises(TypeError, match="no file holds"):
        call_from_json(call)
