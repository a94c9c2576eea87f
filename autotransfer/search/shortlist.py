"""Which backbones are looked at, where there are more than the budget allows: decided before any is downloaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median

from autotransfer.contract.specs import BackboneSpec

__all__ = ["choose_portfolio"]

# A factor of e in cost is worth so much published accuracy. On recorded fine-tunings, accuracy predicted from the
# settings less 0.1 of the logarithm of the cost orders candidates far better than either alone.
_LOG_COST = 0.1
# What published accuracies differ by counts so much more on a new task than on ImageNet itself.
_SPREAD = 3.0
_UNKNOWN_ACCURACY = 0.75
_INSTANT = 1e-6


def choose_portfolio(
    specs: Sequence[BackboneSpec], seconds: Callable[[BackboneSpec], float], allowed: float, most: int
) -> list[BackboneSpec]:
    """Return the backbones to screen, the cheapest first.

    Those that promise most come first: published accuracy, less what a pass costs. An architecture that is there in
    several versions is taken once before any of them is taken twice, so that the choice is between unlike backbones.

    Args:
        specs: What there is.
        seconds: Predicted seconds of one pass over the images; 0 for unknown.
        allowed: Seconds that all passes together may take; the best fits, however little that is.
        most: Largest number of backbones.
    """
    known = {spec.name: cost for spec in specs if (cost := seconds(spec)) > 0}
    typical = median(known.values()) if known else 0.0
    costs = {spec.name: known.get(spec.name, typical) for spec in specs}
    ranked = sorted(specs, key=lambda spec: (-_promise(spec, costs[spec.name]), spec.name))
    twins = {spec.name: _twins_before(spec, ranked) for spec in ranked}
    chosen: list[BackboneSpec] = []
    left = allowed
    for spec in sorted(ranked, key=lambda spec: twins[spec.name]):
        if len(chosen) < most and (costs[spec.name] <= left or not chosen):
            chosen.append(spec)
            left -= costs[spec.name]
    return sorted(chosen, key=lambda spec: (costs[spec.name], spec.parameters or 0, spec.name))


def _promise(spec: BackboneSpec, cost: float) -> float:
    accuracy = _UNKNOWN_ACCURACY if spec.accuracy is None else spec.accuracy
    return _SPREAD * accuracy - _LOG_COST * math.log(max(cost, _INSTANT))


def _twins_before(spec: BackboneSpec, ranked: Sequence[BackboneSpec]) -> int:
    """Return how many versions of the same architecture promise more: what differs after the name's first point."""
    architecture = spec.name.partition(".")[0]
    before = ranked[: ranked.index(spec)]
    return sum(other.name.partition(".")[0] == architecture for other in before)
