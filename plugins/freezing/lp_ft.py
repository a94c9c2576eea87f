"""Linear probing, then fine-tuning (Kumar et al., ICLR 2022), since a trained head distorts the features less."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import FloatDistribution

from autotransfer.contract.specs import FreezePlan, FreezePolicySpec, Phase
from autotransfer_plugins.freezing._settings import depth_and_decay, read_depth, read_rates

__all__ = ["LP_FT"]

_DEFAULT_HEAD_SHARE = 0.3  # share of the epochs in which only the head trains


def _plan(stages: tuple[str, ...], params: Mapping[str, Any]) -> FreezePlan:
    head_only = Phase(start=0.0, depth=len(stages))
    tuning = Phase(start=params.get("head_share", _DEFAULT_HEAD_SHARE), depth=read_depth(stages, params))
    return FreezePlan(phases=(head_only, tuning), learning_rates=read_rates(stages, params))


LP_FT = FreezePolicySpec(
    name="lp_ft",
    plan=_plan,
    parameters=lambda stages: {**depth_and_decay(stages), "head_share": FloatDistribution(0.1, 0.5)},
)
