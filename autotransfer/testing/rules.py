"""Helpers of the conformance checks: rules whose errors name the plugin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from autotransfer.errors import AutoTransferError, PluginError

__all__ = ["close", "naming", "require", "shape"]


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Turn errors of a plugin into ``PluginError`` with its name; errors of this package pass unchanged."""
    try:
        yield
    except AutoTransferError:
        raise
    except Exception as error:
        raise PluginError(f"{name}: it raised {type(error).__name__}: {error}") from error


def require(condition: bool, name: str, rule: str) -> None:
    """Raise ``PluginError`` with the name and the rule, unless the condition holds."""
    if not condition:
        raise PluginError(f"{name}: {rule}")


def close(first: Tensor, second: Tensor) -> bool:
    """Whether tensors are equal but for rounding."""
    return first.shape == second.shape and torch.allclose(first, second, rtol=1e-3, atol=1e-4)


def shape(tensor: Tensor) -> tuple[int, ...]:
    """Return the shape of a tensor for messages."""
    return tuple(tensor.shape)
