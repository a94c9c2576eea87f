"""Collection of the specs that one plugin registers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotransfer.contract.loading import OWN_DISTRIBUTION, PLUGIN_ERRORS, Plugins, PluginState
from autotransfer.contract.modality import Modality
from autotransfer.contract.specs import BackboneSpec, FreezePolicySpec, HeadSpec
from autotransfer.errors import AutoTransferError, PluginError

__all__ = ["REGISTERING_HOOKS", "Spec", "check_type", "collect_specs"]

Spec = Modality | BackboneSpec | HeadSpec | FreezePolicySpec

# kind -> (hook, type of spec)
REGISTERING_HOOKS: dict[str, tuple[str, type[Spec]]] = {
    "modalities": ("register_modalities", Modality),
    "backbones": ("register_backbones", BackboneSpec),
    "heads": ("register_heads", HeadSpec),
    "freeze policies": ("register_freeze_policies", FreezePolicySpec),
}


def collect_specs(
    loaded: Plugins, state: PluginState, zoos: tuple[Path, ...], kinds: Iterable[str] = tuple(REGISTERING_HOOKS)
) -> list[tuple[str, Spec]]:
    """Collect the specs of one plugin; nothing is kept if the plugin fails.

    Args:
        loaded: The loaded plugins.
        state: The plugin.
        zoos: Folders of checkpoints for the backbone plugins.
        kinds: Kinds of specs, of ``REGISTERING_HOOKS``.

    Returns:
        Kind and spec.

    Raises:
        AutoTransferError: The plugin is one of this distribution.
    """
    found: dict[tuple[str, str], Spec] = {}

    def registering(kind: str, hook: str, expected: type[Spec]) -> Callable[[Any], None]:
        def register(spec: Any) -> None:
            check_type(state, hook, spec, expected)
            if not isinstance(spec.name, str) or not spec.name or not spec.name.isprintable():
                raise PluginError(f"{state.key} gives {hook} a spec whose name is {spec.name!r}; it takes plain text")
            if (kind, spec.name) in found:
                raise PluginError(f"{state.key} registers {spec.name!r} twice among the {kind}")
            found[kind, spec.name] = replace(spec, origin=state.origin) if isinstance(spec, BackboneSpec) else spec

        return register

    try:
        for kind in kinds:
            hook, expected = REGISTERING_HOOKS[kind]
            extra = {"zoos": zoos} if kind == "backbones" else {}
            for owner, call in loaded.each(hook):
                if owner.key == state.key:
                    call(register=registering(kind, hook, expected), **extra)
    except PLUGIN_ERRORS as error:
        if state.distribution == OWN_DISTRIBUTION and isinstance(error, AutoTransferError):
            raise  # for example since a zoo does not exist
        loaded.refuse(state, error)
        return []
    return [(kind, spec) for (kind, _), spec in found.items()]


def check_type(state: PluginState, hook: str, value: Any, expected: type[Any]) -> None:
    """Refuse a value of another type than a hook takes or gives.

    Raises:
        PluginError: It is one.
    """
    if not isinstance(value, expected):
        raise PluginError(f"{state.key} gives {hook} a {type(value).__name__}; it takes a {expected.__name__}")
