"""Settings that the freeze policies share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from autotransfer.errors import ConfigError

DECAY = FloatDistribution(0.3, 1.0, log=True)


def depth_and_decay(stages: tuple[str, ...]) -> dict[str, BaseDistribution]:
    """Return the distributions of ``depth`` and ``decay``."""
    return {"depth": IntDistribution(0, len(stages) - 1), "decay": DECAY}


def read_depth(stages: tuple[str, ...], params: Mapping[str, Any]) -> int:
    """Return the number of frozen leading stages; by default all but the last.

    Raises:
        ConfigError: The backbone has fewer stages.
    """
    depth = params.get("depth", len(stages) - 1)
    if not 0 <= depth < len(stages):
        raise ConfigError(f"The freeze depth lies in 0..{len(stages) - 1} for this backbone; got {depth}.")
    return int(depth)


def read_rates(stages: tuple[str, ...], params: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the factor on the learning rate of each stage: ``decay`` to the power of its distance to the last stage.

    The default decay is 1. Layer-wise decay is from ULMFiT (Howard and Ruder 2018) and BEiT (Bao et al. 2022).
    """
    decay = params.get("decay", 1.0)
    return tuple(decay**distance for distance in reversed(range(len(stages))))
