"""The options of modalities on the command line: those that are installed say which there are.

A command that has the hidden option ``--modality-options`` has one for each option of a modality, too, such as
``--value-range``. They are made when the command is run, since plugins have to be imported for them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Iterator
from typing import Any

from autotransfer.contract.modality import Modality, ModalityOption

__all__ = ["MODALITY_OPTIONS", "options_of_modalities", "packed", "parsed_options"]

MODALITY_OPTIONS = "modality_options"
"""Name of the setting that holds the options of a modality."""

_PREFIX = f"{MODALITY_OPTIONS}."


def options_of_modalities(template: Any, taken: Collection[str]) -> list[Any]:
    """Return an option of the command line for each option of an installed modality.

    Args:
        template: The option ``--modality-options``, whose type the others have.
        taken: Options that the command has already, such as ``--seed``: those stay what they are.
    """
    found: dict[str, Any] = {}
    for modality, name, about in _installed():
        flag = f"--{name.replace('_', '-')}"
        if flag in taken or name in found:
            continue
        option = copy.copy(template)
        option.name, option.opts, option.secondary_opts, option.hidden = f"{_PREFIX}{name}", [flag], [], False
        default = about.none or ("" if about.default is None else str(about.default))
        option.help = about.help + (f" [default: {default}]" if default else "")
        option.metavar = about.metavar or "VALUE"
        option.rich_help_panel = f"How {modality.noun}s are read"
        found[name] = option
    return list(found.values())


def packed(params: dict[str, Any]) -> None:
    """Put the texts that were given for options of modalities into ``modality_options``, as one text of JSON."""
    texts = {name.removeprefix(_PREFIX): params.pop(name) for name in [*params] if name.startswith(_PREFIX)}
    texts = {name: text for name, text in texts.items() if text is not None}
    if texts:
        params[MODALITY_OPTIONS] = json.dumps({**json.loads(params.get(MODALITY_OPTIONS) or "{}"), **texts})


def parsed_options(given: dict[str, Any]) -> dict[str, Any]:
    """Return options by name with the values that their texts stand for."""
    parsers = {name: about.parse for _, name, about in reversed([*_installed()])}
    return {
        name: parse(value) if isinstance(value, str) and (parse := parsers.get(name)) is not None else value
        for name, value in given.items()
    }


def _installed() -> Iterator[tuple[Modality, str, ModalityOption]]:
    from autotransfer.contract.registry import installed_modalities

    for modality in installed_modalities():
        for name, about in modality.options.items():
            yield modality, name, about
