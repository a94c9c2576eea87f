"""The training settings of a candidate: defaults, and refusal of what is none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from autotransfer.errors import ConfigError
from autotransfer.training.settings import TrainingSettings


def test_what_is_not_given_has_a_default() -> None:
    assert TrainingSettings.from_candidate({}) == TrainingSettings()
    assert TrainingSettings.from_candidate({"lr": 0.1}).lr == 0.1


def test_settings_survive_json() -> None:
    settings = TrainingSettings(optimizer="sgd", lr=0.1, epochs=3, batch_norm="live", views=2)
    assert TrainingSettings.from_candidate(json.loads(json.dumps(settings.to_json()))) == settings


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"learning_rate": 0.1}, r"Unknown training setting\(s\) \['learning_rate'\]; known: .*'lr'"),
        ({"optimizer": "lion"}, r"'optimizer' is one of \['adamw', 'adam', 'sgd'\]; got 'lion'"),
        ({"augmentation": None}, "'augmentation' is text"),
        ({"optimizer": ["sgd"]}, "'optimizer' is one of"),
        ({"lr": "fast"}, "'lr' is a number from 0 to inf; got 'fast'"),
        ({"lr": -1.0}, "'lr' is a number"),
        ({"lr": float("nan")}, "'lr' is a number"),
        ({"lr": float("inf")}, "'lr' is a number"),
        ({"lr": None}, "'lr' is a number"),
        ({"lr": [0.1]}, "'lr' is a number"),
        ({"lr": True}, "'lr' is a number"),
        ({"batch_size": 16.5}, "'batch_size' is a whole number"),
        ({"epochs": 1e3}, "'epochs' is a whole number"),
        ({"batch_size": 0}, "a whole number from 1 to"),
        ({"epochs": 0}, "a whole number from 1 to"),
        ({"views": 0}, "a whole number from 1 to"),
        ({"warmup": 1.5}, "'warmup' is a number from 0 to 1;"),
        ({"label_smoothing": 1.1}, "'label_smoothing' is a number from 0 to 1;"),
    ],
)
def test_what_is_no_setting_is_refused(training: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainingSettings.from_candidate(training)
