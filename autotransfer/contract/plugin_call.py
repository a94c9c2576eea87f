"""Calling the code of plugins: a fault of theirs bears their name, and changes nothing for those who come after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from autotransfer.contract.loading import FAILURES
from autotransfer.errors import AutoTransferError, PluginError
from autotransfer.runtime.memory import out_of_memory
from autotransfer.runtime.text import one_line

__all__ = ["plugin_call"]


@contextmanager
def plugin_call(who: str) -> Iterator[None]:
    """Run code of a plugin, and put back afterwards what it changes in torch for everybody.

    Errors of ours, and a lack of memory, go through as they are.

    Args:
        who: The part of the plugin, for the message: ``The head 'linear'``.

    Raises:
        PluginError: Its code raised, or wanted to end the program.
    """
    before = torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        yield
    except FAILURES as error:
        if isinstance(error, AutoTransferError) or out_of_memory(error):
            raise
        raise PluginError(f"{who} failed: {type(error).__name__}: {one_line(error)}") from error
    finally:
        torch.set_default_dtype(before[0])
        torch.set_grad_enabled(before[1])
