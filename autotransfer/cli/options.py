"""The options of a command, made of the fields of a class of settings: no option is written twice."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Collection, Sequence
from dataclasses import MISSING, replace
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import typer

from autotransfer.cli.modality_options import MODALITY_OPTIONS, parsed_options
from autotransfer.settings.fields import FlatSetting, SettingsGroup, flat_settings, grouped

__all__ = ["with_settings"]

_SIMPLE = (bool, int, float, Path)


def with_settings(
    cls: type[SettingsGroup], *, only: Collection[str] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each setting of a class.

    The command has a parameter ``settings``, in whose place the options stand, and is called with an object of the
    class.

    Args:
        cls: The class of settings.
        only: Names of the settings that have an option; None means all that the command line can give.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        options = [each for each in flat_settings(cls) if each.info.on_command_line]
        if only is not None:  # so few that they need no titles
            options = [replace(each, title="") for each in options if each.name in only]

        def run(**given: Any) -> None:
            found = {each.name: _value(each, given.pop(_parameter_name(each))) for each in options}
            if found.get(MODALITY_OPTIONS):
                found[MODALITY_OPTIONS] = parsed_options(found[MODALITY_OPTIONS])
            values = {name: value for name, value in found.items() if value is not None}
            command(settings=cls(**grouped(cls, values)), **given)

        parameters: list[Parameter] = []
        for own in inspect.signature(command, eval_str=True).parameters.values():
            if own.name == "settings":
                parameters += map(_parameter_for, options)
            else:
                parameters.append(own.replace(kind=Parameter.KEYWORD_ONLY))
        run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate


def _parameter_for(setting: FlatSetting) -> Parameter:
    """Return the parameter of a command that typer makes the option of a setting of."""
    info, kind = setting.info, _kind(setting)
    off = kind is bool and setting.default is True
    default = info.none
    if not default and kind is not bool and setting.default not in (None, (), "", MISSING):
        default = str(setting.default)
    parts = [
        info.off if off else info.help,
        f"[env: {info.environment}]" if info.environment else "",
        f"[default: {default}]" if default else "",
    ]
    option = typer.Option(
        *(f"--{name.replace('_', '-')}" for name in (_parameter_name(setting), *info.aliases)),
        hidden=info.hidden,
        help=" ".join(filter(None, parts)),
        metavar=info.metavar,
        rich_help_panel=setting.title or None,
    )
    required = setting.default is MISSING
    annotation = kind if kind is bool or required else kind | None
    return Parameter(
        _parameter_name(setting),
        Parameter.KEYWORD_ONLY,
        default=Parameter.empty if required else False if kind is bool else None,
        annotation=Annotated[annotation, option],
    )


def _parameter_name(setting: FlatSetting) -> str:
    """Return the name of a setting on the command line; a switch that is on by default is switched off there."""
    return f"no_{setting.name}" if setting.default is True else setting.name


def _kind(setting: FlatSetting) -> Any:
    """Return the type that typer reads the option of a setting as."""
    members = _members(setting.type)
    if setting.info.parse is None:
        if any(get_origin(member) is Sequence for member in members):
            return list[Path] if Path in members else list[str]
        for simple in _SIMPLE:
            if simple in members and (simple is Path or str not in members):
                return simple
    return str


def _members(annotation: Any) -> tuple[Any, ...]:
    """Return the types of a union without None; another type alone."""
    union = get_origin(annotation) in (Union, types.UnionType)
    return tuple(one for one in get_args(annotation) if one is not type(None)) if union else (annotation,)


def _value(setting: FlatSetting, given: Any) -> Any:
    """Return the value of a setting for what the command line gives; None where it gives none."""
    if setting.default is True:
        return not given
    if isinstance(given, list):  # of an option that may be repeated
        return None if not given else given[0] if len(given) == 1 else given
    if given is not None and setting.info.parse is not None:
        return setting.info.parse(given)
    return given
