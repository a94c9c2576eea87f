"""A setting is one field of a frozen dataclass: its default, type, help text and check stand together.

Everything else follows from the fields: the checks, the options of the command line, the parameters of the estimators,
the documentation of the classes, and the JSON of a run folder. A new setting is one more field.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from operator import attrgetter
from typing import Any, TypeVar, get_type_hints

from autotransfer.errors import ConfigError

__all__ = [
    "FlatSetting",
    "SettingInfo",
    "SettingsGroup",
    "documented",
    "flat_settings",
    "group",
    "grouped",
    "groups_of",
    "refuse_unused",
    "setting",
]

_INFO, _TITLE, _USED = "setting", "title", "used"
_LINE = 112  # characters of a line of documentation

_Class = TypeVar("_Class", bound=type)


@dataclass(frozen=True, kw_only=True)
class SettingInfo:
    """What a field says of its setting, beside name, type and default.

    Attributes:
        help: What the setting does, in a sentence: help text of the command line and documentation.
        more: Further sentences for the documentation.
        none: What None stands for, in a few words.
        off: What the switch ``--no-NAME`` does, for a setting that is on by default.
        check: Returns the value that is kept for a value that is given, or raises ConfigError.
        metavar: What stands for the value in the help text of the command line.
        parse: Returns the value for a text of the command line; None reads the text by the type of the field.
        aliases: Further names of the option of the command line.
        hidden: Whether the help text of the command line leaves the option out.
        environment: The environment variable that gives the value where no option does.
        option: Name of the setting among all settings, such as for its option; empty for the name of its field.
        on_command_line: Whether the command line has an option for the setting.
        holds_data: Whether the value may be data; a run folder keeps their paths as absolute ones.
        saved: Whether a run folder keeps the setting: it keeps what a run is, not where it is or who looks on.
    """

    help: str
    more: str = ""
    none: str = ""
    off: str = ""
    check: Callable[[Any], Any] | None = None
    metavar: str | None = None
    parse: Callable[[str], Any] | None = None
    aliases: tuple[str, ...] = ()
    hidden: bool = False
    environment: str = ""
    option: str = ""
    on_command_line: bool = True
    holds_data: bool = False
    saved: bool = True

    def checked(self, value: Any) -> Any:
        """Return the value that is kept for a value that is given.

        Raises:
            ConfigError: The value is wrong.
        """
        return value if self.check is None else self.check(value)


def setting(default: Any, *, help: str, **info: Any) -> Any:
    """Return a dataclass field that is a setting.

    Args:
        default: The default value; an ellipsis where there is none, and a value has to be given.
        help: What the setting does, in a sentence.
        **info: Further attributes of ``SettingInfo``.
    """
    if isinstance(default, bool) and "check" not in info:
        info["check"] = _is_switch
    metadata = {_INFO: SettingInfo(help=help, **info)}
    return field(metadata=metadata) if default is ... else field(default=default, metadata=metadata)


def group(default: SettingsGroup, title: str, *, used: Collection[str] | None = None) -> Any:
    """Return a dataclass field that holds a group of settings.

    Args:
        default: The group with its default values.
        title: What heads the options of the group in ``--help``.
        used: Names of those that have an effect; None means all. Others are refused.
    """
    return field(default=default, metadata={_TITLE: title, _USED: used})


class SettingsGroup:
    """Base of the frozen dataclasses whose fields are settings: each value is checked when one is made."""

    def __post_init__(self) -> None:
        for each in fields(self):  # type: ignore[arg-type]  # subclasses are dataclasses
            given = getattr(self, each.name)
            if _TITLE in each.metadata:
                _check_group(each.name, given, _class_of(each))
                if each.metadata[_USED] is not None:
                    refuse_unused(given, each.metadata[_USED])
            else:
                object.__setattr__(self, each.name, each.metadata[_INFO].checked(given))


@dataclass(frozen=True, kw_only=True)
class FlatSetting:
    """A setting with its place.

    Attributes:
        name: Name of the setting among all settings: that of the field, unless the field says another.
        field: Name of the field.
        group: Names of the fields that hold the group of the setting, outermost first, with dots between them; None
            where no group holds it.
        title: Title of the group.
        type: Type of the field.
        default: Default value; ``dataclasses.MISSING`` where there is none.
        info: What the field says of the setting.
    """

    name: str
    field: str
    group: str | None
    title: str
    type: Any
    default: Any
    info: SettingInfo

    def of(self, settings: Any) -> Any:
        """Return the value that an object of all settings has for the setting."""
        return attrgetter(self.field if self.group is None else f"{self.group}.{self.field}")(settings)


def flat_settings(cls: type, *, group: str | None = None, title: str = "") -> list[FlatSetting]:
    """Return all settings of a class of settings, those in its groups, and in groups of these, included."""
    types, found = get_type_hints(cls), list[FlatSetting]()
    for each in fields(cls):
        if _TITLE in each.metadata:
            place_inside = each.name if group is None else f"{group}.{each.name}"
            inside = flat_settings(_class_of(each), group=place_inside, title=each.metadata[_TITLE])
            used = each.metadata[_USED]
            found += [one for one in inside if used is None or one.name in used]
        else:
            info = each.metadata[_INFO]
            place = {"field": each.name, "group": group, "title": title, "type": types[each.name]}
            found.append(FlatSetting(name=info.option or each.name, default=each.default, info=info, **place))
    return found


def groups_of(cls: type) -> dict[str, Any]:
    """Return the classes of the groups of a class of settings, by the names of their fields."""
    return {each.name: _class_of(each) for each in fields(cls) if _TITLE in each.metadata}


def grouped(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by the names of settings as arguments of a class of settings: those of a group in its dataclass.

    Names that are no setting of a group stay as they are.

    Raises:
        ConfigError: A value is wrong.
    """
    flat = flat_settings(cls)
    homes = {each.name: each.group.partition(".")[0] for each in flat if each.group is not None}
    own = {each.name: each.field for each in flat if each.group is None}
    found = {own.get(name, name): value for name, value in values.items() if name not in homes}
    for group_name, home in groups_of(cls).items():
        inside = {name: value for name, value in values.items() if homes.get(name) == group_name}
        if inside:
            found[group_name] = home(**grouped(home, inside))
    return found


def refuse_unused(settings: SettingsGroup, used: Collection[str]) -> None:
    """Refuse settings of a group that a function does not look at, where they are not what they are by default.

    Args:
        settings: The group that the function was given.
        used: Names of the settings that have an effect.

    Raises:
        ConfigError: Another one was given.
    """
    usual = type(settings)()
    for each in flat_settings(type(settings)):
        given, default = each.of(settings), each.of(usual)
        if each.name not in used and given is not default and (default is None or given != default):
            raise ConfigError(
                f"{each.name} of {type(settings).__name__} has no effect here: leave it out; got {given!r:.80}."
            )


def documented(cls: _Class) -> _Class:
    """Add to the docstring of a class of settings what its fields say of each setting."""
    lines = [cls.__doc__ or "", "", "Attributes:"]
    for each in fields(cls):
        if _TITLE in each.metadata:
            text = f"{each.metadata[_TITLE]}; see ``{_class_of(each).__name__}``."
        else:
            info = each.metadata[_INFO]
            unset = f"None: {info.none}." if info.none else ""
            variable = f"The environment variable ``{info.environment}`` gives it, too." if info.environment else ""
            text = " ".join(filter(None, (info.help, info.more, unset, variable)))
        named = f"{each.name} (default {each.default!r}): {text}" if _INFO in each.metadata else f"{each.name}: {text}"
        usual = "" if _TITLE in each.metadata or each.default is MISSING else f" (default {each.default!r})"
        named = f"{each.name}{usual}: {text}"
        lines += textwrap.wrap(
            named, _LINE, initial_indent="    ", subsequent_indent="        ", break_long_words=False
        )
    cls.__doc__ = "\n".join(lines)
    return cls


def _is_switch(value: Any) -> bool:
    """Return a truth value; those of NumPy are among them.

    Raises:
        ConfigError: The value is none.
    """
    if type(value).__name__ not in ("bool", "bool_"):
        raise ConfigError(f"A switch is True or False; got {value!r}.")
    return bool(value)


def _class_of(field: Field[Any]) -> Any:
    """Return the class of the group that a field holds."""
    return type(field.default)


def _check_group(name: str, given: Any, wanted: type) -> None:
    if not isinstance(given, wanted):
        raise ConfigError(
            f"{name} holds settings that belong together: give {name}=autotransfer.{wanted.__name__}(...); "
            f"got {given!r:.80}."
        )
