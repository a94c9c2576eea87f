"""Gradual unfreezing, from the head downwards (Howard and Ruder, ULMFiT, ACL 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotransfer.contract.specs import FreezePlan, FreezePolicySpec, Phase
from autotransfer_plugins.freezing._settings import depth_and_decay, read_depth, read_rates

__all__ = ["GRADUAL"]

# The final depth is reached at this share of the epochs, so that the lowest stage has time to train.
_REACHED = 0.5


def _plan(stages: tuple[str, ...], params: Mapping[str, Any]) -> FreezePlan:
    steps = len(stages) - read_depth(stages, params)
    phases = tuple(Phase(start=_REACHED * step / steps, depth=len(stages) - step) for step in range(steps + 1))
    return FreezePlan(phases=phases, learning_rates=read_rates(stages, params))


GRADUAL = FreezePolicySpec(name="gradual", plan=_plan, parameters=depth_and_decay)
