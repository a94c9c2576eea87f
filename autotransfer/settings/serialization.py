"""Settings as JSON that keeps types, so that the same call can be made again; and as plain JSON to look at."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from autotransfer.settings.fields import SettingsGroup, flat_settings, groups_of
from autotransfer.settings.settings import DataArguments, Settings

__all__ = [
    "call_from_json",
    "call_to_json",
    "described",
    "from_json",
    "is_complete",
    "name_of_data",
    "settings_from_json",
    "to_json",
]

# Where JSON has no type for a value, an object with this key says the type.
_TYPE = "$type"
# Arrays of targets have up to two axes; those of examples, which have more, are not written down.
_MAX_ARRAY_AXES = 2
_COLLECTIONS: Mapping[str, Any] = {"tuple": tuple, "set": set, "frozenset": frozenset}
# Characters of JSON from which on a description names the type of a value instead.
_MAX_CHARACTERS_SHOWN = 1000

Locate = Callable[[str | Path], Path]
"""Finds the file that an entry of a list names."""

_Group = TypeVar("_Group", bound=SettingsGroup)


def call_to_json(arguments: DataArguments, settings: Settings, *, locate: Locate | None = Path) -> dict[str, Any]:
    """Return the data and the settings of a call as JSON, files by their absolute paths.

    Args:
        arguments: The data.
        settings: The settings.
        locate: Finds the file that an entry of a list of data names; None where the entries are texts.
    """
    return {
        "data": to_json(_absolute(arguments.data, locate)),
        "targets": to_json(arguments.targets),
        "test": to_json(_absolute(arguments.test, locate)),
        "settings": settings_to_json(settings, locate),
    }


def call_from_json(call: Mapping[str, Any]) -> tuple[DataArguments, Settings]:
    """Return what ``call_to_json`` wrote down, with the types that the values had.

    Raises:
        ConfigError: A value is no such setting.
        TypeError: The call is not complete, or holds settings that do not exist.
    """
    arguments = DataArguments(**{each.name: from_json(call[each.name]) for each in fields(DataArguments)})
    return arguments, settings_from_json(Settings, call["settings"])


def is_complete(value: Any) -> bool:
    """Whether JSON of ``call_to_json`` holds all that the call was given, so that the call can be made again."""
    if isinstance(value, list):
        return all(map(is_complete, value))
    return not isinstance(value, Mapping) or (value.get(_TYPE) != "object" and all(map(is_complete, value.values())))


def name_of_data(data: Any) -> str:
    """Return the name of the file or folder that data are in, without its folders; empty where they are in memory.

    Args:
        data: The data as ``call_to_json`` wrote them down.
    """
    path = data.get("values") if isinstance(data, Mapping) and data.get(_TYPE) == "path" else data
    return Path(path).name if isinstance(path, str) else ""


def settings_to_json(settings: SettingsGroup, locate: Locate | None = Path) -> dict[str, Any]:
    """Return settings as JSON that keeps types; those that say where a run is, or who looks on, are left out.

    Args:
        settings: The settings.
        locate: Finds the file that an entry of a list of data names; None where the entries are texts.
    """
    found: dict[str, Any] = {}
    for each in fields(settings):  # type: ignore[arg-type]  # subclasses are dataclasses
        value = getattr(settings, each.name)
        if isinstance(value, SettingsGroup):
            found[each.name] = settings_to_json(value, locate)
        elif (info := each.metadata["setting"]).saved:
            found[each.name] = to_json(_absolute(value, locate) if info.holds_data else value)
    return found


def settings_from_json(cls: type[_Group], data: Mapping[str, Any]) -> _Group:
    """Return the settings that ``settings_to_json`` wrote down.

    Raises:
        ConfigError: A value is no such setting.
        TypeError: JSON could not hold a value, or there is no setting of a name.
    """
    groups = groups_of(cls)
    values = {
        name: settings_from_json(groups[name], value) if name in groups else from_json(value)
        for name, value in data.items()
    }
    return cls(**values)


def described(settings: Settings) -> dict[str, Any]:
    """Return each setting by its name, as JSON to look at: a text stands for what JSON cannot hold, or what is long."""
    found = {}
    for each in flat_settings(type(settings)):
        value = each.of(settings)
        if each.info.saved:
            plain = {str(key): one for key, one in value.items()} if isinstance(value, Mapping) else value
            text = json.dumps(plain, default=str)
            found[each.name] = json.loads(text) if len(text) <= _MAX_CHARACTERS_SHOWN else f"a {type(value).__name__}"
    return found


def to_json(value: Any) -> Any:
    """Return a value as JSON that keeps its type; for a value that JSON cannot hold, an object that says so."""
    try:
        return _to_json(value)
    except TypeError as error:
        return {_TYPE: "object", "values": str(error)}


def _to_json(value: Any) -> Any:
    """Return a value as JSON that keeps its type: keys that are no text, tuples, sets, paths and NumPy's values.

    Raises:
        TypeError: JSON cannot hold the value.
    """
    if _is_numpy(value):
        if value.ndim > _MAX_ARRAY_AXES or value.dtype == object:
            raise TypeError(f"an array of {value.ndim} axes of {value.dtype}")
        return {_TYPE: "array", "values": value.tolist(), "type": str(value.dtype)} if value.ndim else value.item()
    if isinstance(value, Path):
        return {_TYPE: "path", "values": str(value.absolute())}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and _TYPE not in value:
            return {key: _to_json(one) for key, one in value.items()}
        return {_TYPE: "dict", "values": [[_to_json(key), _to_json(one)] for key, one in value.items()]}
    if isinstance(value, list):
        return [_to_json(one) for one in value]
    for name, kind in _COLLECTIONS.items():
        if type(value) is kind:
            return {_TYPE: name, "values": [_to_json(one) for one in value]}
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError(f"a {type(value).__name__}")


def from_json(value: Any) -> Any:
    """Return the value that ``to_json`` wrote down.

    Raises:
        TypeError: JSON could not hold the value.
    """
    if isinstance(value, list):
        return [from_json(one) for one in value]
    if not isinstance(value, dict):
        return value
    if _TYPE not in value:
        return {key: from_json(one) for key, one in value.items()}
    kind, values = value[_TYPE], value["values"]
    if kind == "object":
        raise TypeError(f"no file holds {values}")
    if kind == "array":
        import numpy as np

        return np.array(values, dtype=value["type"])
    if kind == "path":
        return Path(values)
    if kind == "dict":
        return {from_json(key): from_json(one) for key, one in values}
    return _COLLECTIONS[kind](map(from_json, values))


def _absolute(value: Any, locate: Locate | None) -> Any:
    """Return paths of data by their absolute names, so that the call can be made again in another folder."""
    if isinstance(value, (str, Path)):
        return str(Path(value).absolute())
    if isinstance(value, Sequence) and value and all(isinstance(one, (str, Path)) for one in value):
        return [str(one if locate is None else locate(one).absolute()) for one in value]
    return value


def _is_numpy(value: Any) -> bool:
    """Whether a value is of NumPy, which is not loaded to find that out."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, (numpy.generic, numpy.ndarray))
