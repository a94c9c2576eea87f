"""The arguments of ``fit``: as settings, as examples, and as JSON, so that the same call can be made again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from numbers import Real
from pathlib import Path
from typing import Any

from autotransfer.config import Budget, SearchConfig, parse_duration, zoos_from
from autotransfer.data.examples import Examples
from autotransfer.data.sources import load_examples
from autotransfer.errors import ConfigError

__all__ = ["call_of", "configure", "examples_of", "share_of", "test_examples_of"]

_DEFAULT_SECONDS = 300.0
# Arguments that say where a run is and who looks on, not what it is.
_PLACE = ("out", "overwrite", "resume", "callbacks")
_PATHS = ("data", "validation", "test", "zoo", "cache_dir")


def configure(given: Mapping[str, Any]) -> SearchConfig:
    """Return the settings that the arguments of ``fit`` ask for.

    Raises:
        ConfigError: One of them is wrong.
    """
    same = {field.name: given[field.name] for field in fields(SearchConfig) if field.name in given}
    cache = given["cache_dir"]
    return SearchConfig(
        **{
            **same,
            "validation": share_of(given["validation"]),
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
    return examples.holding_out(_load(given, given["validation"], given["validation_targets"]))


def test_examples_of(given: Mapping[str, Any]) -> Examples | None:
    """Return the test examples that the arguments of ``fit`` name, if any.

    Raises:
        DataError: They cannot be used.
    """
    return None if given["test"] is None else _load(given, given["test"], given["test_targets"])


def call_of(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the arguments of ``fit`` as JSON, files by their absolute paths; None where JSON cannot hold them."""
    call = {name: value for name, value in given.items() if name not in _PLACE}
    for name in _PATHS:
        value = call.get(name)
        if isinstance(value, (str, Path)):
            call[name] = str(Path(value).absolute())
        elif name == "zoo" and value is not None:
            call[name] = [str(Path(folder).absolute()) for folder in value]
    try:
        return dict(json.loads(json.dumps(call)))
    except (TypeError, ValueError):
        return None


def _load(given: Mapping[str, Any], data: Any, targets: Any, *, groups: Any = None) -> Examples:
    columns = {name: given.get(name) for name in ("path_column", "target_column")}
    return load_examples(data, targets, groups=groups, **columns)


def _budget(time_budget: str | float | None, trials: int | None) -> Budget:
    if time_budget is None:
        return Budget(seconds=None if trials else _DEFAULT_SECONDS, trials=trials)
    return Budget(seconds=parse_duration(time_budget), trials=trials)


def _patterns(given: str | Sequence[str]) -> tuple[str, ...]:
    patterns = [given] if isinstance(given, str) else given
    if not isinstance(patterns, Sequence) or not all(isinstance(pattern, str) for pattern in patterns):
        raise ConfigError(f"Names and patterns are text, or a list of texts; got {given!r}.")
    return tuple(patterns)
