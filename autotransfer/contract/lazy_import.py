"""Functions that are imported when they are called, so that listing plugins does not import torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from autotransfer.errors import PluginError

__all__ = ["LazyImport"]


@dataclass(frozen=True)
class LazyImport:
    """A function by its location; the module of the function is imported when the function is called.

    Example:
        >>> LazyImport("math:sqrt")(16.0)
        4.0

    Args:
        location: ``"package.module:function"``.

    Raises:
        PluginError: The location is not of the form ``module:function``.
    """

    location: str

    def __post_init__(self) -> None:
        if not all(self.location.partition(":")):
            raise PluginError(f"A function is found by 'package.module:function'; got {self.location!r}.")

    def load(self) -> Callable[..., Any]:
        """Import the function."""
        module, _, name = self.location.partition(":")
        function: Callable[..., Any] = getattr(import_module(module), name)
        return function

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the function."""
        return self.load()(*arguments, **named)
