"""Gradual unfreezing, from the head downwards (Howard and Ruder, ULMFiT, ACL 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotransfer.contract.specs import FreezePlan, FreezePolicySpec, Phase
from autotransfer_plugins.freezing._settings import depth_and_decay, read_depth, read_rates

__all__ = ["GRADUAL"]

# Share of the epochs after which all stages train that the policy unfreezes, so that the earliest stage has time to
# train.
_UNFREEZING_SHARE = 0.5


def _plan(stages: tuple[str, ...], params: Mapping[str, Any]) -> FreezePlan:
    steps = len(stages) - read_depth(stages, params)
    phases = tuple(Phase(start=_UNFREEZING_SHARE * step / steps, depth=len(stages) - step) for step in range(steps + 1))
    return FreezePlan(phases=phases, learning_rates=read_rates(stages, params))


GRADUAL = FreezePolicySpec(name="gradual", plan=_plan, parameters=depth_and_decay)
