"""Policies with one phase: the whole backbone is frozen, the whole backbone trains, or leading stages are frozen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotransfer.contract.specs import FreezePlan, FreezePolicySpec, Phase
from autotransfer_plugins.freezing._settings import DECAY, depth_and_decay, read_depth, read_rates

__all__ = ["DEPTH", "FROZEN", "FULL"]


def _plan_frozen(stages: tuple[str, ...], params: Mapping[str, Any]) -> FreezePlan:
    return FreezePlan(phases=(Phase(start=0.0, depth=len(stages)),))


def _plan_full(stages: tuple[str, ...], params: Mapping[str, Any]) -> FreezePlan:
    return FreezePlan(phases=(Phase(start=0.0, depth=0),), learning_rates=read_rates(stages, params))


def _plan_depth(stages: tuple[str, ...], params: Mapping[str, Any]) -> FreezePlan:
    phases = (Phase(start=0.0, depth=read_depth(stages, params)),)
    return FreezePlan(phases=phases, learning_rates=read_rates(stages, params))


FROZEN = FreezePolicySpec(name="frozen", plan=_plan_frozen)
FULL = FreezePolicySpec(name="full", plan=_plan_full, parameters=lambda stages: {"decay": DECAY})
DEPTH = FreezePolicySpec(name="depth", plan=_plan_depth, parameters=depth_and_decay)
