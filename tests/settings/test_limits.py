"""Limits: durations and sizes are read with their units; anything else is refused in words."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

import autotransfer
from autotransfer.errors import ConfigError
from autotransfer.settings import Limits, Selection, Settings, grouped
from autotransfer.settings.limits import format_bytes, format_seconds, parse_bytes, parse_latency
from autotransfer.settings.serialization import described, settings_from_json, settings_to_json


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("10ms", 0.01),
        ("800us", 8e-4),
        ("800 µs", 8e-4),
        ("0.5s", 0.5),
        ("1.5 MS", 1.5e-3),
        (0.25, 0.25),
        ("1e1ms", 0.01),
    ],
)
def test_a_latency_is_read_with_its_unit(given: Any, seconds: float) -> None:
    assert parse_latency(given) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("given", "count"),
    [("20MB", 20_000_000), ("1.5 GiB", 1_610_612_736), ("500kB", 500_000), ("7b", 7), (123, 123), ("1tb", 10**12)],
)
def test_a_size_is_read_with_its_unit(given: Any, count: int) -> None:
    assert parse_bytes("size")(given) == count


@pytest.mark.parametrize(
    "given", ["10", "ten ms", "10 parsecs", "-3ms", "", "ms", "1.2.3s", 0, -1, math.nan, True, [1]]
)
def test_what_is_no_latency_is_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"The latency is .*'10ms'.*got "):
        Limits(latency=given)


@pytest.mark.parametrize("given", ["20", "20 M", "MB", "20ms", 0, math.inf, False, {}])
def test_what_is_no_size_is_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"The size is .*'20MB'.*got "):
        Limits(size=given)
    with pytest.raises(ConfigError, match=r"The memory is "):
        Limits(memory=given)


def test_quantities_are_written_with_three_digits() -> None:
    assert [format_seconds(value) for value in (0.00984, 1.5, 2.5e-5, 0.1234)] == [
        "9.84 ms",
        "1.5 s",
        "25 µs",
        "123 ms",
    ]
    assert [format_bytes(value) for value in (19_840_000, 999, 4.2e9, 1500)] == [
        "19.8 MB",
        "999 bytes",
        "4.2 GB",
        "1.5 kB",
    ]


def test_limits_are_infinite_where_none_is_set() -> None:
    assert not Limits(batch=4).is_set
    assert math.isinf(Limits().latency_seconds + Limits().size_bytes + Limits().memory_bytes)
    assert str(Limits()) == "no limit"
    assert str(Limits(latency="10ms", size="20MB", batch=8)) == "10 ms for 8 examples, 20 MB"


def test_limits_are_a_group_within_the_selection() -> None:
    values = grouped(Settings, {"max_latency": "10ms", "latency_batch": 2, "calibrate": False, "seed": 3})
    assert values == {"seed": 3, "selection": Selection(calibrate=False, limits=Limits(latency="10ms", batch=2))}


def test_limits_come_back_from_json_and_have_flat_names() -> None:
    given = Settings(selection=Selection(limits=Limits(latency="10ms", size="20MB")))
    assert settings_from_json(Settings, json.loads(json.dumps(settings_to_json(given)))) == given
    assert {name: described(given)[name] for name in ("max_latency", "max_size", "max_memory", "latency_batch")} == {
        "max_latency": 0.01,
        "max_size": 20_000_000,
        "max_memory": None,
        "latency_batch": 1,
    }


def test_estimators_take_limits_with_the_selection() -> None:
    estimator = autotransfer.AutoTransferClassifier(selection=Selection(limits=Limits(size="20MB")))
    assert estimator.get_params()["selection__limits"].size_bytes == 20_000_000
    changed = estimator.set_params(selection__limits=Limits(latency="5ms"))
    assert changed.selection == Selection(limits=Limits(latency="5ms"))
