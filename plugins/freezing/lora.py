"""Low-rank adapters of the last stages (Hu et al., LoRA, ICLR 2022); they are merged into the weights at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import CategoricalDistribution

from autotransfer.contract.specs import Adapters, FreezePlan, FreezePolicySpec, Phase
from autotransfer_plugins.freezing._settings import depth_and_decay, read_depth, read_rates

__all__ = ["LORA"]

# Adapters begin at zero and bear a higher learning rate than pretrained weights.
_RATE_FACTOR = 10.0
_RANKS, _MATRICES = (8, 4, 16), ("attention", "all")


def _plan(stages: tuple[str, ...], params: Mapping[str, Any]) -> FreezePlan:
    rates = tuple(_RATE_FACTOR * rate for rate in read_rates(stages, params))
    adapters = Adapters(rank=int(params.get("rank", _RANKS[0])), matrices=params.get("matrices", _MATRICES[0]))
    phases = (Phase(start=0.0, depth=read_depth(stages, params)),)
    return FreezePlan(phases=phases, trained="adapters", learning_rates=rates, adapters=adapters)


LORA = FreezePolicySpec(
    name="lora",
    plan=_plan,
    parameters=lambda stages: {
        **depth_and_decay(stages),
        "rank": CategoricalDistribution(_RANKS),
        "matrices": CategoricalDistribution(_MATRICES),
    },
    default=False,
)
