"""Functions that are imported when they are called: who only lists what plugins have does not wait for torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from autotransfer.errors import PluginError

__all__ = ["LazyImport"]


@dataclass(frozen=True)
class LazyImport:
    """A function by the place where it is found; its module is imported when it is called.

    Example:
        >>> LazyImport("math:sqrt")(16.0)
        4.0

    Args:
        place: ``"package.module:function"``.

    Raises:
        PluginError: The place names no module and function.
    """

    place: str

    def __post_init__(self) -> None:
        if not all(self.place.partition(":")):
            raise PluginError(f"A function is found by 'package.module:function'; got {self.place!r}.")

    def found(self) -> Callable[..., Any]:
        """Import the function."""
        module, _, name = self.place.partition(":")
        function: Callable[..., Any] = getattr(import_module(module), name)
        return function

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the function."""
        return self.found()(*arguments, **named)
