"""How often a student agrees with its teacher: as both decide, and where that has a meaning."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autotransfer.pretraining.distill import DistillResult, _agreement
from autotransfer.tasks.task import infer_task


def test_classes_are_compared_as_the_thresholds_decide_them() -> None:
    task = replace(infer_task(["a", "b", "a"]), thresholds=(0.9, 0.1))
    student, teacher = np.array([[0.95, 0.05], [0.6, 0.4]]), np.array([[0.8, 0.2], [0.7, 0.3]])
    assert _agreement(task, student, teacher) == 0.5, "b from 0.1 on: the most probable classes agree twice"
    assert _agreement(replace(task, thresholds=()), student, teacher) == 1.0


def test_labels_are_compared_as_the_thresholds_decide_them() -> None:
    task = replace(infer_task([("a",), ("b",), ("a", "b")]), thresholds=(0.2, 0.5))
    student, teacher = np.array([[0.3, 0.1], [0.3, 0.6]]), np.array([[0.1, 0.1], [0.25, 0.7]])
    assert _agreement(task, student, teacher) == 0.75


def test_values_of_one_example_agree_with_nothing() -> None:
    task = infer_task([0.5, 1.5, 2.5])
    assert _agreement(task, np.array([[1.0], [2.0]]), np.array([[1.0], [2.0]])) == pytest.approx(1.0)
    alone = _agreement(task, np.array([[1.0]]), np.array([[1.5]]))
    assert math.isnan(alone)
    model: Any = SimpleNamespace(members=[SimpleNamespace(candidate=SimpleNamespace(backbone="small"))])
    found = DistillResult(
        model=model, agreement=alone, teacher=None, student=None, parameters=(10, 5), epochs=1, seconds=1.0
    )
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["agreement"] is None
    assert str(found) == "model       small: 5 parameters of 10"
