"""What JSON says of a task: read with suspicion, since a stranger may have written it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from autotransfer.errors import ConfigError
from autotransfer.tasks.targets import Kind

__all__ = ["task_arguments"]


def task_arguments(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the task that ``Task.to_json`` wrote.

    Raises:
        ConfigError: A key is missing, or a value is not allowed.
    """
    values: list[Any] = [data.get(key) for key in ("kind", "classes", "metric", "width")]
    kind, classes, metric, width = values
    positive, names = data.get("positive_class"), data.get("target_names", [])
    valid = (
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
    )
    if not valid:
        raise ConfigError(f"The task {dict(data)!r:.200} is none: it has a kind, classes, a metric and a width.")
    return {
        "kind": kind,
        "classes": tuple(classes),
        "metric": metric,
        "width": width,
        "positive_class": positive,
        "target_names": tuple(names),
    }
