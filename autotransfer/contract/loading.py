"""Finding plugins, each in its own try: one that is broken is named, reported once and left out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

import pluggy

from autotransfer.contract import hookspecs
from autotransfer.errors import PluginError

__all__ = ["GROUP", "PluginState", "Plugins", "load_plugins"]

GROUP = "autotransfer"
OWN = "autotransfer"  # our own distribution: a broken plugin of ours raises
FAILURES = (Exception, SystemExit)  # a plugin that calls sys.exit() must not end the program

_KINDS = {
    "register_backbones": "backbones",
    "resolve_backbone": "backbones",
    "rebuild_backbone": "backbones",
    "register_heads": "heads",
    "register_freeze_policies": "freeze policies",
    "trial_finished": "observers",
    "search_finished": "observers",
}


@dataclass(frozen=True, kw_only=True)
class PluginState:
    """What became of one plugin.

    Attributes:
        name: Its entry point's name.
        distribution: The distribution that it came with; empty for an object that was passed in.
        version: That distribution's version.
        kinds: What its hooks are for: backbones, heads, freeze policies, observers.
        state: Whether it takes part.
        reason: Why not.
    """

    name: str
    distribution: str = ""
    version: str = ""
    kinds: tuple[str, ...] = ()
    state: Literal["loaded", "broken"] = "loaded"
    reason: str = ""

    @property
    def key(self) -> str:
        """The name that it is registered under: ``distribution:name``."""
        return f"{self.distribution}:{self.name}" if self.distribution else self.name


class Plugins:
    """The plugins that take part, in a pluggy manager, and the state of all that were found.

    Attributes:
        manager: Holds each loaded plugin as ``distribution:name``.
        states: By that key, every plugin that was found.
    """

    def __init__(self) -> None:
        self.manager = _new_manager()
        self.states: dict[str, PluginState] = {}

    def add(self, state: PluginState, load: Callable[[], Any]) -> None:
        """Load and register one plugin.

        Raises:
            PluginError: It is broken and our own.
        """
        while state.key in self.states:  # two objects of one class, or one distribution found twice
            state = replace(state, name=f"{state.name}'")
        self.states[state.key] = state
        try:
            plugin = load()
            plugin = plugin() if isinstance(plugin, type) else plugin
            state = replace(state, kinds=_kinds_of(plugin))
            self.manager.register(plugin, state.key)
        except FAILURES as error:
            self.refuse(state, error)
        else:
            self.states[state.key] = state

    def refuse(self, state: PluginState, error: BaseException) -> None:
        """Leave a plugin out and report it once.

        Raises:
            PluginError: The plugin is our own.
        """
        reason = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
        if state.distribution == OWN:
            raise PluginError(f"The plugin {state.key} {state.version} is broken: {reason}") from error
        if self.manager.has_plugin(state.key):
            self.manager.unregister(name=state.key)
        self.states[state.key] = replace(state, state="broken", reason=reason)
        origin = f"{state.distribution} {state.version}, " if state.distribution else ""
        warn_once(f"The plugin {state.name!r} ({origin}left out) is broken: {reason}")

    def each(self, hook: str) -> Iterator[tuple[PluginState, Callable[..., Any]]]:
        """Yield the loaded plugins that implement a hook, in order of registration, with that hook of theirs alone.

        One call for each plugin, since in a joint call one that raises loses the results of all.
        """
        implementing = [implementation.plugin for implementation in getattr(self.manager.hook, hook).get_hookimpls()]
        for key, plugin in self.manager.list_name_plugin():
            if plugin in implementing:
                others = [other for other in implementing if other is not plugin]
                yield self.states[key], self.manager.subset_hook_caller(hook, others)


def load_plugins(objects: Iterable[Any] = ()) -> Plugins:
    """Load every plugin that an installed distribution offers, in the order of (distribution, name).

    Args:
        objects: Plugins that are not installed: modules or objects with hooks.

    Raises:
        PluginError: A plugin of our own is broken; those of others are recorded as broken and left out.
    """
    plugins = Plugins()
    for state, entry in sorted(map(_describe, entry_points(group=GROUP)), key=lambda pair: pair[0].key):
        plugins.add(state, entry.load)
    for plugin in objects:
        name = getattr(plugin, "__name__", type(plugin).__name__)
        plugins.add(PluginState(name=name), partial(_itself, plugin))
    return plugins


@cache
def warn_once(message: str) -> None:
    """Log a warning, once in a process."""
    logging.getLogger("autotransfer").warning(message)


def _itself(plugin: Any) -> Any:
    return plugin


def _describe(entry: EntryPoint) -> tuple[PluginState, EntryPoint]:
    distribution = entry.dist
    if distribution is None:
        return PluginState(name=entry.name), entry
    return PluginState(name=entry.name, distribution=distribution.name, version=distribution.version), entry


def _new_manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager("autotransfer")
    manager.add_hookspecs(hookspecs)
    return manager


def _kinds_of(plugin: Any) -> tuple[str, ...]:
    """Return what a plugin is for, after trying it in a manager of its own: a refused one must leave no trace.

    Raises:
        PluginError: It has a hook that does not exist, or with an unknown argument, or none at all.
    """
    trial = _new_manager()
    try:
        trial.register(plugin)
        trial.check_pending()
    except pluggy.PluginValidationError as error:
        known = ", ".join(_KINDS)
        raise PluginError(f"{' '.join(str(error).split())} (the hooks are {known})") from error
    callers = trial.get_hookcallers(plugin) or []
    if not callers:
        raise PluginError("it implements no hook: mark them with autotransfer.contract.hookspecs.hookimpl")
    return tuple(dict.fromkeys(_KINDS[hook] for hook in _KINDS if hook in {caller.name for caller in callers}))
