"""Checks of settings: each returns the value that is kept, or raises a ConfigError that says what was given."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from autotransfer.errors import ConfigError, UnknownNameError

__all__ = [
    "Folders",
    "Patterns",
    "bytes_or_none",
    "class_weights",
    "device_name",
    "metric_name",
    "one_of",
    "optional_duration",
    "options_of_modality",
    "parse_duration",
    "parse_options_of_modality",
    "parse_share_or_data",
    "path_or_none",
    "patterns",
    "plain_label",
    "share",
    "share_or_data",
    "whole_number",
    "zoos_from",
]

Folders = str | Path | Sequence[str | Path]
Patterns = str | Sequence[str]

_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER, _UNIT = r"\s*\d+(?:\.\d+)?\s*", r"(?:min|[smhd])"


def parse_duration(value: str | float) -> float:
    """Return seconds from a number of seconds or from text such as ``"90s"``, ``"5m"``, ``"1h30m"``.

    Raises:
        ConfigError: The text is no duration, or the duration is not positive.
    """
    if isinstance(value, str):
        text = value.strip().lower()
        if not re.fullmatch(rf"{_NUMBER}|({_NUMBER}{_UNIT})+", text):
            raise ConfigError(f"A time budget is a number with a unit, such as '90s', '5m' or '1h30m'; got {value!r}.")
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in re.findall(rf"({_NUMBER})({_UNIT}|)", text))
    else:
        seconds = _number(value)
    if not 0 < seconds < math.inf:
        raise ConfigError(f"A time budget must be positive; got {value!r}.")
    return seconds


def optional_duration(value: str | float | None) -> float | None:
    """Return a duration in seconds, or None.

    Raises:
        ConfigError: The value is no duration.
    """
    return None if value is None else parse_duration(value)


def zoos_from(zoo: Folders | None) -> tuple[Path, ...]:
    """Return the zoo folders: those given, else those of the environment variable ``AUTOTRANSFER_ZOO``."""
    if zoo is None:
        return tuple(Path(folder) for folder in os.environ.get("AUTOTRANSFER_ZOO", "").split(os.pathsep) if folder)
    return tuple(Path(folder) for folder in ([zoo] if isinstance(zoo, (str, Path)) else zoo))


def device_name(name: str) -> str:
    """Return the name of a device; whether the machine has the device is not asked.

    Raises:
        ConfigError: No device has such a name.
    """
    if not isinstance(name, str) or not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise ConfigError(f"The device is 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps'; got {name!r}.")
    return name


def whole_number(what: str, low: int, high: int | None = None, *, optional: bool = False) -> Callable[[Any], Any]:
    """Return a check for a whole number from ``low`` to ``high``, or None where it is ``optional``."""

    def check(value: Any) -> Any:
        if value is None and optional:
            return None
        if not isinstance(value, Integral):
            raise ConfigError(f"The {what} must be a whole number; got {value!r}.")
        if int(value) < low:
            raise ConfigError(f"The {what} must be at least {low}; got {value!r}.")
        if high is not None and int(value) > high:
            raise ConfigError(f"The {what} must be at most {high}; got {value!r}.")
        return int(value)

    return check


def one_of(what: str, known: Sequence[str], *, optional: bool = False) -> Callable[[Any], Any]:
    """Return a check for one of some names, or None where it is ``optional``."""

    def check(value: Any) -> Any:
        if value not in known and not (value is None and optional):
            raise UnknownNameError(what, str(value), known)
        return value

    return check


def patterns(given: Patterns) -> tuple[str, ...]:
    """Return names and glob patterns as a tuple.

    Raises:
        ConfigError: They are no texts.
    """
    found = [given] if isinstance(given, str) else given
    if not isinstance(found, Sequence) or not all(isinstance(pattern, str) for pattern in found):
        raise ConfigError(f"Names and patterns are text, or a list of texts; got {given!r}.")
    return tuple(found)


def path_or_none(given: Any) -> Path | None:
    """Return a path."""
    return None if given is None else Path(given)


def share(what: str) -> Callable[[Any], float]:
    """Return a check for a number between 0 and 1, without both."""

    def check(value: Any) -> float:
        if not 0 < _number(value) < 1:
            raise ConfigError(f"The {what} lies between 0 and 1; got {value!r}.")
        return float(value)

    return check


def share_or_data(given: Any) -> Any:
    """Return the share of the examples that candidates are scored on, or examples as they are.

    Raises:
        ConfigError: A number is no share.
    """
    return share("validation share")(given) if isinstance(given, Real) else given


def bytes_or_none(given: Any) -> int | None:
    """Return a number of bytes, or None.

    Raises:
        ConfigError: The value is no number, or it is negative.
    """
    if given is not None and not _number(given) >= 0:
        raise ConfigError(f"The memory limit is a number of bytes of 0 or more; got {given!r}.")
    return None if given is None else int(given)


def class_weights(given: Any) -> Any:
    """Return class weights with plain keys and values, so that they can be written down as JSON.

    Raises:
        ConfigError: The value holds no class weights.
    """
    if given is None or (isinstance(given, str) and given == "balanced"):
        return given
    if not isinstance(given, Mapping) or not given:
        raise ConfigError(f"The class weight is 'balanced', a dictionary of weights by class, or None; got {given!r}.")
    for label, weight in given.items():
        if not 0 < _number(weight) < math.inf:
            raise ConfigError(f"The weight of a class is a positive number; got {weight!r} for {label!r}.")
    return {plain_label(label): float(weight) for label, weight in given.items()}


def plain_label(label: Any) -> Any:
    """Return a NumPy scalar as the Python value that JSON can hold."""
    return label.item() if hasattr(label, "item") else label


def options_of_modality(given: Any) -> dict[str, Any] | None:
    """Return options by name; whether the modality has them, and what their values may be, the modality says later.

    Raises:
        ConfigError: The value holds no options by name.
    """
    if given is None:
        return None
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise ConfigError(f"The options of a modality are a dictionary of values by name; got {given!r:.80}.")
    return dict(given)


def metric_name(given: Any) -> Any:
    """Return the name of a metric, or the scorer itself where no name says it.

    Raises:
        ConfigError: There is no such metric.
    """
    if given is None:
        return None
    from autotransfer.tasks.metrics import find_metric  # which loads NumPy, and for most metrics scikit-learn

    name, scorer = find_metric(given)
    return name if scorer is None else given


def parse_share_or_data(text: str) -> float | str:
    """Return the number that a text of the command line is, or the text."""
    try:
        return float(text)
    except ValueError:
        return text


def parse_options_of_modality(text: str) -> Any:
    """Return the options that a text of the command line holds as JSON.

    Raises:
        ConfigError: It is no JSON.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(f"The options of a modality are a JSON object; got {text!r:.80}: {error}.") from None


def _number(value: Any) -> float:
    """Return a number as a float, and NaN for a value that is no number."""
    return float(value) if isinstance(value, Real) else math.nan
