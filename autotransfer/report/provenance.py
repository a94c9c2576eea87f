"""Where a result is from: the call, the settings, the data, the versions and the machine."""

from __future__ import annotations

import ast
import platform
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from autotransfer._version import __version__
from autotransfer.settings import Settings
from autotransfer.settings.fields import FlatSetting, flat_settings, groups_of

__all__ = ["Provenance", "call_text"]

# Packages that change a result.
PACKAGES = ("torch", "torchvision", "timm", "transformers", "optuna", "scikit-learn", "scipy", "numpy", "pillow")
# Addresses of services, which may hold a password: a page may be sent to anybody.
UNSHOWN = frozenset({"ray_address", "storage"})
# Characters of a value that are shown.
MAX_VALUE_CHARACTERS = 200


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a result is from.

    Attributes:
        command: The call, as a command line where there is one, else in Python.
        fingerprint: Hash of the examples and their targets.
        examples: Number of examples.
        seed: The seed.
        settings: Settings that are not the default, by name.
        versions: Versions of what computed it.
        machine: Where it was computed.
        made: Date and time.
    """

    command: str
    fingerprint: str
    examples: int
    seed: int
    settings: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, str] = field(default_factory=dict)
    made: str = ""

    @classmethod
    def of(cls, call: Mapping[str, Any], settings: Settings, **more: Any) -> Provenance:
        """Describe a call on this machine.

        Args:
            call: The data and the settings, as ``call_to_json`` returns them.
            settings: The settings.
            **more: Further attributes.
        """
        given = {each.name: _shown(value) for each, value in _given(settings)}
        return cls(
            command=call_text(call, settings),
            seed=settings.seed,
            settings=given,
            versions={"autotransfer": __version__, "python": platform.python_version(), **_versions()},
            **more,
        )


def call_text(call: Mapping[str, Any], settings: Settings) -> str:
    """Return the command that makes a call again; in Python where the command line cannot."""
    given = list(_given(settings))
    data, test = call["data"], call["test"]
    on_command_line = all(each.info.on_command_line and _is_plain(value) for each, value in given)
    if isinstance(data, str) and call["targets"] is None and isinstance(test, (str, type(None))) and on_command_line:
        words = ["autotransfer", "fit", data, *(() if test is None else ("--test", test))]
        words += [word for each, value in given for word in _options(each, value)]
        return shlex.join(words)
    arguments = [repr(data) if isinstance(data, str) else "data"]
    arguments += ["targets"] if call["targets"] is not None else []
    arguments += [] if test is None else [f"test={test!r}" if isinstance(test, str) else "test=test"]
    return f"autotransfer.fit({', '.join([*arguments, *_python(given)])})"


def _given(settings: Settings) -> Iterator[tuple[FlatSetting, Any]]:
    """Yield the settings that are not what they are by default, but for where the run is and who looks on."""
    usual = type(settings)()
    for each in flat_settings(type(settings)):
        value, default = each.of(settings), each.of(usual)
        if each.info.environment:  # what a variable gives is given, too
            default = type(value)() if isinstance(value, tuple) else None
        if each.info.saved and each.name not in UNSHOWN and not _equal(value, default):
            yield each, value


def _shown(value: Any) -> str:
    """Return a value as text; a long one, such as targets, by its type."""
    text = ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
    return text if len(text) <= MAX_VALUE_CHARACTERS else f"a {type(value).__name__}"


def _equal(one: Any, other: Any) -> bool:
    equal = one is other or one == other
    return equal if isinstance(equal, bool) else False  # arrays compare element by element


def _is_plain(value: Any) -> bool:
    """Whether the command line can give a value."""
    if isinstance(value, (tuple, list)):
        return all(isinstance(one, (str, Path)) for one in value)
    return value is None or isinstance(value, (str, int, float, Path))


def _options(setting: FlatSetting, value: Any) -> list[str]:
    """Return the words of the command line that give a setting its value."""
    name = setting.name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    values = value if isinstance(value, (tuple, list)) else (value,)
    return [word for one in values for word in (f"--{name}", str(one))]


def _python(given: Sequence[tuple[FlatSetting, Any]], cls: type = Settings, place: str | None = None) -> list[str]:
    """Return the arguments that give settings their values, those of a group in its class.

    Args:
        given: The settings, with their values.
        cls: The class that takes the arguments: that of all settings stands for ``fit``.
        place: Where the class is among the settings, as ``FlatSetting.group`` says it.
    """
    arguments = [f"{each.field}={_literal(value)}" for each, value in given if each.group == place]
    for name, home in groups_of(cls).items():
        inside = _python(given, home, name if place is None else f"{place}.{name}")
        if inside:
            arguments.append(f"{name}=autotransfer.{home.__name__}({', '.join(inside)})")
    return arguments


def _literal(value: Any) -> str:
    """Return a value as Python text; an ellipsis for one that is long, or that no literal says, such as an array."""
    text = repr(_plain(value))
    if len(text) > MAX_VALUE_CHARACTERS:
        return "..."
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return "..."
    return text


def _plain(value: Any) -> Any:
    """Return a value with the paths and NumPy's numbers in it as text and as Python's numbers, which literals say."""
    if isinstance(value, Mapping):
        return {_plain(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in value]
    if isinstance(value, Path):
        return str(value)
    return value.item() if isinstance(value, np.generic) else value


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
