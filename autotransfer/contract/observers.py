"""Calls of observing hooks of plugins and callbacks; their errors are reported and never end a search."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pluggy

from autotransfer.contract import hookspecs
from autotransfer.contract.loading import OBSERVER_HOOKS, PLUGIN_ERRORS, Plugins
from autotransfer.errors import ConfigError
from autotransfer.runtime.text import escape, one_line

__all__ = ["Observers"]

log = logging.getLogger("autotransfer")


class Observers:
    """The observers of a search: installed plugins, then the callbacks of ``fit``.

    Args:
        plugins: The plugins.
        callbacks: Objects with methods that have the names of observing hooks.
        warn: ``warn(code, message, **details)`` is called for the first failure of each observer and hook.

    Raises:
        ConfigError: A callback has no such method, or a method with an argument that its hook does not have.
    """

    def __init__(self, plugins: Plugins, callbacks: Iterable[object], warn: Callable[..., None]) -> None:
        self._plugins, self._warn = plugins, warn
        self._callbacks = [(type(callback).__name__, _manager_of(callback)) for callback in _as_list(callbacks)]
        self._failed: set[tuple[str, str]] = set()

    def notify(self, hook: str, **arguments: Any) -> None:
        """Call a hook of all observers."""
        for state, call in self._plugins.each(hook):
            self._call(f"The plugin {state.key}", hook, call, arguments)
        for name, manager in self._callbacks:
            self._call(f"The callback {name}", hook, getattr(manager.hook, hook), arguments)

    @contextmanager
    def observe(self, settings: Mapping[str, Any]) -> Iterator[None]:
        """Call ``search_started`` before the block, and ``search_failed`` if an error or an interrupt ends it."""
        self.notify("search_started", settings=settings)
        try:
            yield
        except BaseException as error:
            self.notify("search_failed", error=error)
            raise

    def _call(self, who: str, hook: str, call: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
        try:
            call(**arguments)
        except PLUGIN_ERRORS as error:
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


class _UnmarkedHooks(pluggy.PluginManager):
    """Takes methods with the names of hooks as hooks, with or without ``hookimpl``."""

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        if name not in OBSERVER_HOOKS or not callable(getattr(plugin, name)):
            return None
        return super().parse_hookimpl_opts(plugin, name) or {}


def _as_list(callbacks: Any) -> list[object]:
    """Return callbacks, or a single callback, as a list."""
    if isinstance(callbacks, Iterable) and not any(hasattr(callbacks, hook) for hook in OBSERVER_HOOKS):
        return list(callbacks)
    return [callbacks]


def _manager_of(callback: object) -> pluggy.PluginManager:
    """Return a manager with the hooks of a callback.

    Raises:
        ConfigError: The callback has no hook, or a hook with an unknown argument.
    """
    manager = _UnmarkedHooks("autotransfer")
    manager.add_hookspecs(hookspecs)
    hooks = ", ".join(OBSERVER_HOOKS)
    if isinstance(callback, type):
        raise ConfigError(f"A callback is an object, not a class: give {callback.__name__}(...).")
    try:
        manager.register(callback)
    except pluggy.PluginValidationError as error:
        raise ConfigError(f"The callback {type(callback).__name__}: {one_line(error)}") from error
    if not any(getattr(manager.hook, hook).get_hookimpls() for hook in OBSERVER_HOOKS):
        raise ConfigError(
            f"A callback is an object with at least one of the methods {hooks}; got {callback!r:.100}. "
            "help(autotransfer.contract.hookspecs) lists the arguments of each."
        )
    return manager
