"""A linear layer on pooled features, trained by gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import FloatDistribution
from torch import nn

from autotransfer.contract.specs import HeadSpec

__all__ = ["DEFAULTS", "LINEAR"]

DEFAULTS: Mapping[str, Any] = {"dropout": 0.0}


def _build(shape: tuple[int, ...], outputs: int, params: Mapping[str, Any]) -> nn.Module:
    settings = {**DEFAULTS, **params}
    linear = nn.Linear(shape[0], outputs)
    # Nearly equal outputs at the start: no example pulls at the backbone before the head has seen data.
    nn.init.normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.Dropout(settings["dropout"]), linear)


LINEAR = HeadSpec(name="linear", build=_build, parameters={"dropout": FloatDistribution(0.0, 0.5)})
