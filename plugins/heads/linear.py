"""A linear layer on pooled features, trained by gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

__all__ = ["DEFAULTS", "build"]

DEFAULTS: Mapping[str, Any] = {"dropout": 0.0}


def build(shape: tuple[int, ...], outputs: int, params: Mapping[str, Any]) -> nn.Module:
    """Return an untrained head; see ``HeadSpec.build``."""
    settings = {**DEFAULTS, **params}
    linear = nn.Linear(shape[0], outputs)
    # Small initial weights, so that the first gradients change the backbone little.
    nn.init.normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.Dropout(settings["dropout"]), linear)
