"""Telling plugins and callbacks how a search goes: what goes wrong in them is said, and never ends it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pluggy

from autotransfer.contract import hookspecs
from autotransfer.contract.loading import FAILURES, OBSERVING, Plugins
from autotransfer.errors import ConfigError
from autotransfer.runtime.text import escape, one_line

__all__ = ["Observers"]

log = logging.getLogger("autotransfer")


class Observers:
    """Everybody who observes a search: the plugins that are installed, then the callbacks of ``fit``.

    Args:
        plugins: The plugins.
        callbacks: Objects with methods that have the names of observing hooks.
        warn: ``warn(code, message, **details)`` is told of a failure, once for each observer and hook.

    Raises:
        ConfigError: A callback has none of these methods, or one with an argument that its hook does not have.
    """

    def __init__(self, plugins: Plugins, callbacks: Iterable[object], warn: Callable[..., None]) -> None:
        self._plugins, self._warn = plugins, warn
        self._callbacks = [(type(callback).__name__, _managed(callback)) for callback in _listed(callbacks)]
        self._failed: set[tuple[str, str]] = set()

    def tell(self, hook: str, **arguments: Any) -> None:
        """Call a hook of all observers."""
        for state, call in self._plugins.each(hook):
            self._call(f"The plugin {state.key}", hook, call, arguments)
        for name, manager in self._callbacks:
            self._call(f"The callback {name}", hook, getattr(manager.hook, hook), arguments)

    @contextmanager
    def following(self, settings: Mapping[str, Any]) -> Iterator[None]:
        """Tell that a search starts, and that it failed where an error or an interrupt ends the block."""
        self.tell("search_started", settings=settings)
        try:
            yield
        except BaseException as error:
            self.tell("search_failed", error=error)
            raise

    def _call(self, who: str, hook: str, call: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
        try:
            call(**arguments)
        except FAILURES as error:
            log.debug("%s failed in %s", who, hook, exc_info=error)
            if (who, hook) in self._failed:
                return
            self._failed.add((who, hook))
            reason = f"{type(error).__name__}: {one_line(error)}"
            log.warning("%s", escape(f"{who} failed in {hook}: {reason}"))
            message = (
                f"{who} failed in {hook}: {reason}. The search went on without it; further failures are not named."
            )
            self._warn("plugin_failed", message, observer=who, hook=hook, reason=reason)


class _ByName(pluggy.PluginManager):
    """Takes methods for hooks by their names, marked or not; nothing else of an object is touched."""

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        if name not in OBSERVING or not callable(getattr(plugin, name)):
            return None
        return super().parse_hookimpl_opts(plugin, name) or {}


def _listed(callbacks: Any) -> list[object]:
    """Return the callbacks, also a single one, as a list."""
    if isinstance(callbacks, Iterable) and not any(hasattr(callbacks, hook) for hook in OBSERVING):
        return list(callbacks)
    return [callbacks]


def _managed(callback: object) -> pluggy.PluginManager:
    """Return a manager of the hooks that a callback has.

    Raises:
        ConfigError: It has none, or one with an unknown argument.
    """
    manager = _ByName("autotransfer")
    manager.add_hookspecs(hookspecs)
    hooks = ", ".join(OBSERVING)
    if isinstance(callback, type):
        raise ConfigError(f"A callback is an object, not a class: give {callback.__name__}(...).")
    try:
        manager.register(callback)
    except pluggy.PluginValidationError as error:
        raise ConfigError(f"The callback {type(callback).__name__}: {one_line(error)}") from error
    if not any(getattr(manager.hook, hook).get_hookimpls() for hook in OBSERVING):
        raise ConfigError(
            f"A callback is an object with at least one of the methods {hooks}; got {callback!r:.100}. "
            "help(autotransfer.contract.hookspecs) says what each is told."
        )
    return manager
