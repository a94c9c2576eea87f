"""Loading of plugins, one by one: a broken plugin is reported once and left out."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

import pluggy

from autotransfer.contract import hookspecs
from autotransfer.errors import ConfigError, PluginError
from autotransfer.runtime.text import escape

__all__ = [
    "ENTRY_POINT_GROUP",
    "OBSERVER_HOOKS",
    "OWN_DISTRIBUTION",
    "PLUGIN_ERRORS",
    "PluginState",
    "Plugins",
    "load_plugins",
    "warn_once",
]

ENTRY_POINT_GROUP = "autotransfer"
OWN_DISTRIBUTION = "autotransfer"  # a broken plugin of this distribution raises
PLUGIN_ERRORS = (Exception, SystemExit)  # a plugin that calls sys.exit() must not end the program

_OBSERVERS = "observers"
_KIND_OF_HOOK = {
    "register_modalities": "modalities",
    "register_backbones": "backbones",
    "resolve_backbone": "backbones",
    "rebuild_backbone": "backbones",
    "outline_backbone": "backbones",
    "write_backbone": "backbones",
    "export_checkpoint": "backbones",
    "register_heads": "heads",
    "register_freeze_policies": "freeze policies",
    "search_started": _OBSERVERS,
    "epoch_finished": _OBSERVERS,
    "trial_finished": _OBSERVERS,
    "search_finished": _OBSERVERS,
    "search_failed": _OBSERVERS,
}
OBSERVER_HOOKS = tuple(hook for hook, kind in _KIND_OF_HOOK.items() if kind == _OBSERVERS)


@dataclass(frozen=True, kw_only=True)
class PluginState:
    """State of one plugin.

    Attributes:
        name: Name of the entry point.
        distribution: Distribution that holds the plugin; empty for an object that was passed in.
        version: Version of the distribution.
        kinds: Kinds of its hooks: modalities, backbones, heads, freeze policies, observers.
        state: Whether the plugin is used.
        reason: Why a broken plugin is not used.
    """

    name: str
    distribution: str = ""
    version: str = ""
    kinds: tuple[str, ...] = ()
    state: Literal["loaded", "broken"] = "loaded"
    reason: str = ""

    @property
    def key(self) -> str:
        """Name under which the plugin is registered: ``distribution:name``."""
        return f"{self.distribution}:{self.name}" if self.distribution else self.name

    @property
    def origin(self) -> str:
        """Distribution and version; the name for an object that was passed in."""
        return f"{self.distribution} {self.version}" if self.distribution else self.name


class Plugins:
    """The usable plugins, and the states of all plugins that were found.

    Each plugin has a pluggy manager of its own. In a joint call, an error in one plugin would lose the results of all
    plugins, and a refused plugin would leave its hooks registered.

    Attributes:
        managers: Manager of each usable plugin, by ``distribution:name``.
        states: State of every plugin that was found, by ``distribution:name``.
    """

    def __init__(self) -> None:
        self.managers: dict[str, pluggy.PluginManager] = {}
        self.states: dict[str, PluginState] = {}

    def add(self, state: PluginState, load: Callable[[], Any]) -> None:
        """Load and register one plugin.

        Raises:
            PluginError: A plugin of this distribution is broken.
        """
        while state.key in self.states:  # two objects of one class, or a distribution that is found twice
            state = replace(state, name=f"{state.name}'")
        self.states[state.key] = state
        try:
            plugin = load()
            manager = _register(plugin() if isinstance(plugin, type) else plugin)
        except PLUGIN_ERRORS as error:
            self.refuse(state, error)
        else:
            self.managers[state.key] = manager
            self.states[state.key] = replace(state, kinds=_kinds_of(manager))

    def refuse(self, state: PluginState, error: BaseException) -> None:
        """Leave a plugin out and report it once.

        Raises:
            PluginError: The plugin is one of this distribution.
        """
        reason = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
        if state.distribution == OWN_DISTRIBUTION:
            raise PluginError(f"The plugin {state.key} {state.version} is broken: {reason}") from error
        self.managers.pop(state.key, None)
        self.states[state.key] = replace(state, state="broken", reason=reason)
        origin = f"{state.distribution} {state.version}, " if state.distribution else ""
        warn_once(f"The plugin {state.name!r} ({origin}left out) is broken: {reason}")

    def each(self, hook: str) -> Iterator[tuple[PluginState, Callable[..., Any]]]:
        """Yield the state and the hook caller of each plugin that implements a hook, in order of loading."""
        for key, manager in self.managers.items():
            caller = getattr(manager.hook, hook)
            if caller.get_hookimpls():
                yield self.states[key], caller


def load_plugins(objects: Iterable[Any] = ()) -> Plugins:
    """Load every plugin that an installed distribution offers, in the order of (distribution, name).

    Args:
        objects: Plugins that are not installed: modules or objects with hooks.

    Raises:
        PluginError: A plugin of this distribution is broken. Broken plugins of other distributions are left out.
        ConfigError: There is no folder for temporary files, without which imports of many plugins fail.
    """
    _require_temporary_folder()
    plugins = Plugins()
    for state, entry in sorted(map(_describe, entry_points(group=ENTRY_POINT_GROUP)), key=lambda pair: pair[0].key):
        plugins.add(state, entry.load)
    for plugin in objects:
        name = getattr(plugin, "__name__", type(plugin).__name__)
        plugins.add(PluginState(name=name), partial(_identity, plugin))
    return plugins


@cache
def warn_once(message: str) -> None:
    """Log a warning once in a process, with control characters escaped."""
    logging.getLogger("autotransfer").warning("%s", escape(message))


def _require_temporary_folder() -> None:
    """Check that there is a folder for temporary files, which torch and imports of plugins need.

    Raises:
        ConfigError: There is no such folder.
    """
    try:
        tempfile.gettempdir()
    except OSError as error:
        raise ConfigError(
            f"There is no folder for temporary files: {error.strerror}. Free some space there, or set TMPDIR to a "
            "folder that can be written to."
        ) from None


def _identity(plugin: Any) -> Any:
    return plugin


def _describe(entry: EntryPoint) -> tuple[PluginState, EntryPoint]:
    distribution = entry.dist
    if distribution is None:
        return PluginState(name=entry.name), entry
    return PluginState(name=entry.name, distribution=distribution.name, version=distribution.version), entry


def _register(plugin: Any) -> pluggy.PluginManager:
    """Register a plugin in a manager of its own.

    Raises:
        PluginError: The plugin has no hook, an unknown hook, or a hook with an unknown argument.
    """
    manager = pluggy.PluginManager("autotransfer")
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(plugin)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(f"{' '.join(str(error).split())} (the hooks are {', '.join(_KIND_OF_HOOK)})") from error
    if not _kinds_of(manager):
        raise PluginError("it implements no hook: mark them with autotransfer.contract.hookspecs.hookimpl")
    return manager


def _kinds_of(manager: pluggy.PluginManager) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(kind for hook, kind in _KIND_OF_HOOK.items() if getattr(manager.hook, hook).get_hookimpls())
    )
