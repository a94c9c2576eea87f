"""The arguments of ``fit``: as settings, as examples, and as JSON, so that the same call can be made again."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import numpy as np

from autotransfer.data.columns import TargetReader
from autotransfer.data.examples import Examples
from autotransfer.data.skipped import warnings_of
from autotransfer.data.small_classes import small_classes, without_classes
from autotransfer.data.sources import is_folder, is_table, load_examples
from autotransfer.data.split_parts import divide_by_split, select_split, split_used
from autotransfer.errors import ConfigError, DataError
from autotransfer.settings import Budget, SearchConfig, parse_duration, zoos_from
from autotransfer.tasks.metrics import find_metric

__all__ = ["arguments_of", "call_of", "configure", "data_of", "examples_of", "share_of"]

_DEFAULT_SECONDS = 300.0
# Arguments that say where a run is and who looks on, not what it is.
_PLACE = ("out", "overwrite", "resume", "callbacks")
_PATHS = ("data", "validation", "test", "root", "zoo", "cache_dir")
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


def data_of(given: Mapping[str, Any]) -> tuple[Examples, Examples | None]:
    """Return the examples that the arguments of ``fit`` or ``evaluate`` name, and those to test on, if any.

    Those to score candidates on are among the former, held out. Where the data are divided into parts, these are used
    as such, unless others are given.

    Raises:
        ConfigError: What is given of them does not go together.
        DataError: They cannot be used.
    """
    data = _load(given, "data", "targets", groups=given["groups"])
    share = isinstance(given["validation"], Real)
    if share and given["validation_targets"] is not None:
        raise ConfigError(f"validation_targets need examples in validation; it is {given['validation']}, a share.")
    if not share and given["groups"] is not None:
        raise ConfigError("Groups say how to split the examples, and validation is the split: leave one of them out.")
    train, own_validation, own_test = divide_by_split(data)
    validation = own_validation if share else _load(given, "validation", "validation_targets", train)
    test = own_test if given.get("test") is None else _load_test(given, train)
    if data.parts is not None and len(set(data.parts)) > 1:
        own = {"validation": (own_validation, validation), "test": (own_test, test)}
        replaced = [part for part, (ours, used) in own.items() if ours is not None and ours is not used]
        said = split_used(data, replaced, groups=given["groups"] is not None)
        train = replace(train, warnings=(*train.warnings, said))
    examples = train if validation is None else train.holding_out(validation)
    if given.get("min_images") is not None:
        small = small_classes(examples, given["min_images"])
        examples = without_classes(examples, small)
        test = None if test is None else without_classes(test, small)
    if test is not None:
        said_of_test = warnings_of(test.skipped, test.targets or (), what="the test data", advice=test.advice)
        test = replace(test, warnings=(*test.warnings, *said_of_test))
    return examples, test


def examples_of(given: Mapping[str, Any]) -> Examples:
    """Return the examples that the arguments of ``fit`` or ``evaluate`` name, as ``data_of`` does."""
    return data_of({**given, "test": None})[0]


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


def _load_test(given: Mapping[str, Any], train: Examples) -> Examples:
    """Return the test examples, in groups where those name a column or an expression that they have, too."""
    if isinstance(given["groups"], str):
        with contextlib.suppress(DataError):
            return _load(given, "test", "test_targets", train, groups=given["groups"]).match_targets(train)
    return _load(given, "test", "test_targets", train).match_targets(train)


def _load(
    given: Mapping[str, Any],
    name: Literal["data", "validation", "test"],
    targets: str,
    trained: Examples | None = None,
    groups: Any = None,
) -> Examples:
    """Return the examples that an argument names; of those to score on, the part that is there for it."""
    data = given[name]
    options = {option: given.get(option) for option in ("path_column", "target_column", "root", "suffix")}
    if trained is not None:  # what is said of the data may not suit those to score on
        options |= {} if is_table(data) else {"path_column": None, "target_column": None}
        options |= {"root": None, "suffix": None} if is_folder(data) else {}
    reader = TargetReader(
        kind=given.get("task"),
        separator=given.get("label_separator"),
        train_format=None if trained is None else trained.reading,
    )
    examples = load_examples(
        data,
        given[targets],
        groups=groups,
        reader=reader,
        follow_links=bool(given.get("follow_links")),
        known=frozenset(map(str, trained.targets or ())) if trained is not None and is_folder(data) else (),
        argument=targets,
        **options,
    )
    return examples if name == "data" else select_split(examples, name)


def _budget(time_budget: str | float | None, trials: int | None) -> Budget:
    if time_budget is None:
        return Budget(seconds=None if trials else _DEFAULT_SECONDS, trials=trials)
    return Budget(seconds=parse_duration(time_budget), trials=trials)


def _patterns(given: str | Sequence[str]) -> tuple[str, ...]:
    patterns = [given] if isinstance(given, str) else given
    if not isinstance(patterns, Sequence) or not all(isinstance(pattern, str) for pattern in patterns):
        raise ConfigError(f"Names and patterns are text, or a list of texts; got {given!r}.")
    return tuple(patterns)
