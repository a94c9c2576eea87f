"""Training of norms and biases only (BitFit, Ben Zaken et al. 2022; TinyTL, Cai et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotransfer.contract.specs import FreezePlan, FreezePolicySpec, Phase
from autotransfer_plugins.freezing._settings import depth_and_decay, read_depth, read_rates

__all__ = ["NORM_ONLY"]


def _plan(stages: tuple[str, ...], params: Mapping[str, Any]) -> FreezePlan:
    phases = (Phase(start=0.0, depth=read_depth(stages, params)),)
    return FreezePlan(phases=phases, trained="norms_and_biases", learning_rates=read_rates(stages, params))


NORM_ONLY = FreezePolicySpec(name="norm_only", plan=_plan, parameters=depth_and_decay)
