"""The arguments of ``fit``: as settings, as examples, and as JSON, so that the same call can be made again."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from autotransfer.config import Budget, SearchConfig, parse_duration, zoos_from
from autotransfer.data.columns import TargetReader
from autotransfer.data.examples import Examples
from autotransfer.data.sources import load_examples
from autotransfer.errors import ConfigError, DataError
from autotransfer.metrics import find_metric

__all__ = ["arguments_of", "call_of", "configure", "examples_of", "share_of", "test_examples_of"]

_DEFAULT_SECONDS = 300.0
# Arguments that say where a run is and who looks on, not what it is.
_PLACE = ("out", "overwrite", "resume", "callbacks")
_PATHS = ("data", "validation", "test", "zoo", "cache_dir")
# Where JSON has no type for a value, an object with this key says which it is. Arrays of targets have up to two axes;
# those of images, which have more, are not written down.
_TAG, _MOST_AXES = "$type", 2
_COLLECTIONS: Mapping[str, Any] = {"tuple": tuple, "set": set, "frozenset": frozenset}


def configure(given: Mapping[str, Any]) -> SearchConfig:
    """Return the settings that the arguments of ``fit`` ask for.

    Raises:
        ConfigError: One of them is wrong.
    """
    same = {field.name: given[field.name] for field in fields(SearchConfig) if field.name in given}
    cache, (name, scorer) = given["cache_dir"], (None, None)
    if given["metric"] is not None:
        name, scorer = find_metric(given["metric"])
    return SearchConfig(
        **{
            **same,
            "validation": share_of(given["validation"]),
            "metric": given["metric"] if scorer is not None else name,
            "budget": _budget(given["time_budget"], given["trials"]),
            "zoos": zoos_from(given["zoo"]),
            "cache_dir": None if cache is None else Path(cache),
            "trial_timeout": parse_duration(given["trial_timeout"]),
            **{name: _patterns(given[name]) for name in ("backbones", "exclude", "heads", "freeze")},
        }
    )


def share_of(validation: Any) -> float:
    """Return the share of the examples to split off: of no use where these are given."""
    return float(validation) if isinstance(validation, Real) else SearchConfig.validation


def examples_of(given: Mapping[str, Any]) -> Examples:
    """Return the examples that the arguments of ``fit`` or ``evaluate`` name, those to score candidates on included.

    Raises:
        ConfigError: What is given of them does not go together.
        DataError: They cannot be used.
    """
    examples = _load(given, given["data"], given["targets"], groups=given["groups"])
    if isinstance(given["validation"], Real):
        if given["validation_targets"] is not None:
            raise ConfigError(f"validation_targets need examples in validation; it is {given['validation']}, a share.")
        return examples
    if given["groups"] is not None:
        raise ConfigError("Groups say how to split the examples, and validation is the split: leave one of them out.")
    return examples.holding_out(_load(given, given["validation"], given["validation_targets"], like=examples))


def test_examples_of(given: Mapping[str, Any], trained: Examples) -> Examples | None:
    """Return the test examples that the arguments of ``fit`` name, if any, with targets as ``trained`` has them.

    They are in groups where those name a column or an expression that test examples have, too.

    Raises:
        DataError: They cannot be used.
    """
    if given["test"] is None:
        return None
    if isinstance(given["groups"], str):
        with contextlib.suppress(DataError):  # the test examples need not have the column, or match the expression
            return _load(given, given["test"], given["test_targets"], groups=given["groups"], like=trained).in_form_of(
                trained
            )
    return _load(given, given["test"], given["test_targets"], like=trained).in_form_of(trained)


def call_of(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the arguments of ``fit`` as JSON, files by their absolute paths; None where JSON cannot hold them.

    ``arguments_of`` returns them with the types that they had.
    """
    call = {name: value for name, value in given.items() if name not in _PLACE}
    for name in _PATHS:
        value = call.get(name)
        if isinstance(value, (str, Path)):
            call[name] = str(Path(value).absolute())
        elif isinstance(value, Sequence) and all(isinstance(one, (str, Path)) for one in value):
            call[name] = [str(Path(one).absolute()) for one in value]
    if call.get("metric") is not None and (found := find_metric(call["metric"]))[1] is None:
        call["metric"] = found[0]
    try:
        return {name: _to_json(value) for name, value in call.items()}
    except TypeError:
        return None


def arguments_of(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that ``call_of`` wrote down."""
    return {name: _from_json(value) for name, value in call.items()}


def _to_json(value: Any) -> Any:
    """Return a value as JSON that keeps its type: keys that are no text, tuples, sets, paths and NumPy's values.

    Raises:
        TypeError: JSON cannot hold it.
    """
    if isinstance(value, (np.generic, np.ndarray)):
        if value.ndim > _MOST_AXES or value.dtype == object:
            raise TypeError(f"an array of {value.ndim} axes of {value.dtype}")
        return {_TAG: "array", "values": value.tolist(), "type": str(value.dtype)} if value.ndim else value.item()
    if isinstance(value, Path):
        return {_TAG: "path", "values": str(value.absolute())}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and _TAG not in value:
            return {key: _to_json(one) for key, one in value.items()}
        return {_TAG: "dict", "values": [[_to_json(key), _to_json(one)] for key, one in value.items()]}
    if isinstance(value, list):
        return [_to_json(one) for one in value]
    for name, kind in _COLLECTIONS.items():
        if type(value) is kind:
            return {_TAG: name, "values": [_to_json(one) for one in value]}
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError(f"a {type(value).__name__}")


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(one) for one in value]
    if not isinstance(value, dict):
        return value
    if _TAG not in value:
        return {key: _from_json(one) for key, one in value.items()}
    kind, values = value[_TAG], value["values"]
    if kind == "array":
        return np.array(values, dtype=value["type"])
    if kind == "path":
        return Path(values)
    if kind == "dict":
        return {_from_json(key): _from_json(one) for key, one in values}
    return _COLLECTIONS[kind](map(_from_json, values))


def _load(
    given: Mapping[str, Any], data: Any, targets: Any, *, groups: Any = None, like: Examples | None = None
) -> Examples:
    columns = {name: given.get(name) for name in ("path_column", "target_column")}
    reader = TargetReader(
        kind=given.get("task"), separator=given.get("label_separator"), like=None if like is None else like.reading
    )
    return load_examples(data, targets, groups=groups, reader=reader, **columns)


def _budget(time_budget: str | float | None, trials: int | None) -> Budget:
    if time_budget is None:
        return Budget(seconds=None if trials else _DEFAULT_SECONDS, trials=trials)
    return Budget(seconds=parse_duration(time_budget), trials=trials)


def _patterns(given: str | Sequence[str]) -> tuple[str, ...]:
    patterns = [given] if isinstance(given, str) else given
    if not isinstance(patterns, Sequence) or not all(isinstance(pattern, str) for pattern in patterns):
        raise ConfigError(f"Names and patterns are text, or a list of texts; got {given!r}.")
    return tuple(patterns)
