"""Settings of a search: durations as people write them, and refusal of what cannot be meant."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotransfer.errors import ConfigError
from autotransfer.settings import Budget, Compute, SearchOptions, Settings, grouped, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("5m", 300),
        ("5min", 300),
        ("1.5h", 5400),
        ("2d", 172800),
        ("1h30m", 5400),
        ("1h 30m 5s", 5405),
        (" 90 S ", 90),
        ("2 min 30 s", 150),
        (90, 90),
        (0.5, 0.5),
    ],
)
def test_durations_are_read(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "fast", "m", "5x", "-5m", "5m-", "1,5h", "500ms", "1e3", "nan", "inf", "5 5", "1h30", "1h30m5", "5 m m"],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=f"such as '90s', '5m' or '1h30m'; got {text!r}"):
        parse_duration(text)


@pytest.mark.parametrize("value", ["0", "0s", 0, -1, -0.5, math.nan, math.inf])
def test_a_duration_is_positive_and_ends(value: str | float) -> None:
    with pytest.raises(ConfigError, match="must be positive"):
        parse_duration(value)


@given(st.text(alphabet="0123456789. smhdin-", max_size=8))
def test_any_text_is_a_duration_or_an_error_of_ours(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert parse_duration(text) > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seconds": 0.0}, "must be positive"),
        ({"seconds": -1.0}, "must be positive"),
        ({"seconds": math.nan}, "must be positive"),
        ({"trials": 0}, "at least 1; got 0"),
    ],
)
def test_an_empty_budget_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Budget(**settings)


def test_a_budget_may_be_open() -> None:
    assert Budget() == Budget(seconds=None, trials=None)
    assert Settings().budget == Budget(seconds=300.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation": 0.0}, "between 0 and 1; got 0.0"),
        ({"validation": 1.0}, "between 0 and 1"),
        ({"validation": math.nan}, "between 0 and 1"),
        ({"folds": 0}, "folds must be at least 1"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"views": 0}, "views must be at least 1"),
        ({"seed": -1}, "seed must be at least 0; got -1"),
        ({"seed": 0.5}, "seed must be a whole number; got 0.5"),
        ({"seed": 2**32}, "seed must be at most"),
        ({"seed": None}, "seed must be a whole number; got None"),
        ({"executor": None}, "No executor matches .None."),
        ({"class_weight": "equal"}, "'balanced', a dictionary of weights by class, or None; got 'equal'"),
        ({"class_weight": {}}, "dictionary"),
        ({"class_weight": [1.0, 2.0]}, "dictionary"),
        ({"class_weight": {"cat": 0}}, "positive number; got 0 for 'cat'"),
        ({"class_weight": {"cat": "2"}}, "positive number; got '2' for 'cat'"),
        ({"class_weight": {"cat": math.nan}}, "positive number; got nan"),
        ({"memory_limit": -1}, "memory limit"),
        ({"device": "gpu"}, "got 'gpu'"),
        ({"device": "cuda:-1"}, "got 'cuda:-1'"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Settings(**grouped(Settings, settings))


def test_class_weights_become_plain() -> None:
    # Labels that come from NumPy must not keep run.json from being written.
    weights = SearchOptions(class_weight={np.int64(3): np.float32(2.0), "x": 1}).class_weight
    assert json.loads(json.dumps(weights)) == {"3": 2.0, "x": 1.0}


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:3", "mps"])
def test_a_device_is_named_without_being_asked_for(device: str) -> None:
    assert Compute(device=device).device == device
