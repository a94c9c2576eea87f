"""Calls of plugin code: errors name the plugin, and torch's global settings are restored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from autotransfer.contract.loading import PLUGIN_ERRORS
from autotransfer.errors import AutoTransferError, PluginError
from autotransfer.runtime.memory import out_of_memory
from autotransfer.runtime.text import one_line

__all__ = ["plugin_call"]


@contextmanager
def plugin_call(who: str) -> Iterator[None]:
    """Run code of a plugin, then restore torch's default type and gradient mode.

    Errors of this package and errors that mean that memory ran out pass unchanged.

    Args:
        who: Name of the part of the plugin for the message: ``The head 'linear'``.

    Raises:
        PluginError: The code raised another error, or called ``sys.exit``.
    """
    before = torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        yield
    except PLUGIN_ERRORS as error:
        if isinstance(error, AutoTransferError) or out_of_memory(error):
            raise
        raise PluginError(f"{who} failed: {type(error).__name__}: {one_line(error)}") from error
    finally:
        torch.set_default_dtype(before[0])
        torch.set_grad_enabled(before[1])
