"""Whether what a file says of a task can be one. Files may come from strangers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

from autotransfer.tasks.targets import Kind

__all__ = ["is_saved_task"]


def is_saved_task(data: Mapping[str, Any]) -> bool:
    """Whether each value that ``Task.to_json`` writes is there, and allowed."""
    values: list[Any] = [data.get(key) for key in ("kind", "classes", "metric", "width")]
    kind, classes, metric, width = values
    positive, names = data.get("positive_class"), data.get("target_names", [])
    return (
        kind in get_args(Kind)
        and isinstance(classes, list)
        and all(isinstance(label, (str, int, float)) for label in classes)
        and len(set(classes)) == len(classes)
        and len(classes) >= {"regression": 0, "multilabel": 1}.get(kind, 2)
        and not (classes and kind == "regression")
        and isinstance(metric, str)
        and type(width) is int
        and width > 0
        and (positive is None or (kind == "binary" and positive in classes))
        and isinstance(names, list)
        and all(isinstance(name, str) for name in names)
        and len(names) in (0, width)
        and _are_thresholds(data.get("thresholds", []), kind, len(classes))
    )


def _are_thresholds(values: Any, kind: Kind, classes: int) -> bool:
    """Whether values are the thresholds of a task: none, or one for each output of a task that may have some."""
    if not isinstance(values, list) or not all(type(value) is float and 0 < value < 1 for value in values):
        return False
    if kind == "binary":
        return not values or (len(values) == 2 and math.isclose(sum(values), 1.0))
    return len(values) in ((0, classes) if kind == "multilabel" else (0,))
