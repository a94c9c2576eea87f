"""Finding plugins, each in its own try: one that is broken is named, reported once and left out."""

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

__all__ = ["FAILURES", "GROUP", "OBSERVING", "OWN", "PluginState", "Plugins", "load_plugins", "warn_once"]

GROUP = "autotransfer"
OWN = "autotransfer"  # our own distribution: a broken plugin of ours raises
FAILURES = (Exception, SystemExit)  # a plugin that calls sys.exit() must not end the program

_OBSERVERS = "observers"
_KINDS = {
    "register_modalities": "modalities",
    "register_backbones": "backbones",
    "resolve_backbone": "backbones",
    "rebuild_backbone": "backbones",
    "outline_backbone": "backbones",
    "write_backbone": "backbones",
    "register_heads": "heads",
    "register_freeze_policies": "freeze policies",
    "search_started": _OBSERVERS,
    "epoch_finished": _OBSERVERS,
    "trial_finished": _OBSERVERS,
    "search_finished": _OBSERVERS,
    "search_failed": _OBSERVERS,
}
OBSERVING = tuple(hook for hook, kind in _KINDS.items() if kind == _OBSERVERS)


@dataclass(frozen=True, kw_only=True)
class PluginState:
    """What became of one plugin.

    Attributes:
        name: Its entry point's name.
        distribution: The distribution that it came with; empty for an object that was passed in.
        version: That distribution's version.
        kinds: What its hooks are for: modalities, backbones, heads, freeze policies, observers.
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

    @property
    def origin(self) -> str:
        """What it came with: ``distribution version``; its name where it was passed in."""
        return f"{self.distribution} {self.version}" if self.distribution else self.name


class Plugins:
    """The plugins that take part, and the state of all that were found.

    Each has a pluggy manager of its own: in a joint call, one that raises would lose the results of all, and a
    refused one must leave no hook behind.

    Attributes:
        managers: By ``distribution:name``, the manager of each plugin that takes part.
        states: By that key, every plugin that was found.
    """

    def __init__(self) -> None:
        self.managers: dict[str, pluggy.PluginManager] = {}
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
            manager = _register(plugin() if isinstance(plugin, type) else plugin)
        except FAILURES as error:
            self.refuse(state, error)
        else:
            self.managers[state.key] = manager
            self.states[state.key] = replace(state, kinds=_kinds_of(manager))

    def refuse(self, state: PluginState, error: BaseException) -> None:
        """Leave a plugin out and report it once.

        Raises:
            PluginError: The plugin is our own.
        """
        reason = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
        if state.distribution == OWN:
            raise PluginError(f"The plugin {state.key} {state.version} is broken: {reason}") from error
        self.managers.pop(state.key, None)
        self.states[state.key] = replace(state, state="broken", reason=reason)
        origin = f"{state.distribution} {state.version}, " if state.distribution else ""
        warn_once(f"The plugin {state.name!r} ({origin}left out) is broken: {reason}")

    def each(self, hook: str) -> Iterator[tuple[PluginState, Callable[..., Any]]]:
        """Yield the plugins that implement a hook, in order of loading, with that hook of theirs alone."""
        for key, manager in self.managers.items():
            caller = getattr(manager.hook, hook)
            if caller.get_hookimpls():
                yield self.states[key], caller


def load_plugins(objects: Iterable[Any] = ()) -> Plugins:
    """Load every plugin that an installed distribution offers, in the order of (distribution, name).

    Args:
        objects: Plugins that are not installed: modules or objects with hooks.

    Raises:
        PluginError: A plugin of our own is broken; those of others are recorded as broken and left out.
        ConfigError: There is no folder for temporary files, without which half of them would seem broken.
    """
    _require_temporary_folder()
    plugins = Plugins()
    for state, entry in sorted(map(_describe, entry_points(group=GROUP)), key=lambda pair: pair[0].key):
        plugins.add(state, entry.load)
    for plugin in objects:
        name = getattr(plugin, "__name__", type(plugin).__name__)
        plugins.add(PluginState(name=name), partial(_itself, plugin))
    return plugins


@cache
def warn_once(message: str) -> None:
    """Log a warning, once in a process; what plugins say cannot steer the terminal."""
    logging.getLogger("autotransfer").warning("%s", escape(message))


def _require_temporary_folder() -> None:
    """Refuse to go on without a folder for temporary files: torch, and what plugins import, ask for one.

    Raises:
        ConfigError: There is none.
    """
    try:
        tempfile.gettempdir()
    except OSError as error:
        raise ConfigError(
            f"There is no folder for temporary files: {error.strerror}. Free some space there, or set TMPDIR to a "
            "folder that can be written to."
        ) from None


def _itself(plugin: Any) -> Any:
    return plugin


def _describe(entry: EntryPoint) -> tuple[PluginState, EntryPoint]:
    distribution = entry.dist
    if distribution is None:
        return PluginState(name=entry.name), entry
    return PluginState(name=entry.name, distribution=distribution.name, version=distribution.version), entry


def _register(plugin: Any) -> pluggy.PluginManager:
    """Register a plugin in a manager of its own.

    Raises:
        PluginError: It has a hook that does not exist, or with an unknown argument, or none at all.
    """
    manager = pluggy.PluginManager("autotransfer")
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(plugin)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(f"{' '.join(str(error).split())} (the hooks are {', '.join(_KINDS)})") from error
    if not _kinds_of(manager):
        raise PluginError("it implements no hook: mark them with autotransfer.contract.hookspecs.hookimpl")
    return manager


def _kinds_of(manager: pluggy.PluginManager) -> tuple[str, ...]:
    return tuple(dict.fromkeys(kind for hook, kind in _KINDS.items() if getattr(manager.hook, hook).get_hookimpls()))
