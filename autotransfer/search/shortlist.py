"""Which backbones are screened, where there are more than the budget allows: chosen before any is downloaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median

from autotransfer.contract.specs import BackboneSpec

__all__ = ["choose_shortlist"]

# A factor of e in cost counts as much as this difference of published accuracies. On recorded fine-tunings, the
# accuracy that the settings predict less 0.1 of the logarithm of the cost ranks candidates better than either alone.
ACCURACY_PER_LOG_COST = 0.1
# Differences of published accuracies count this many times on a new task: tuned on the five image sets.
ACCURACY_WEIGHT = 3.0
UNKNOWN_ACCURACY = 0.75
MIN_SECONDS = 1e-6


def choose_shortlist(
    specs: Sequence[BackboneSpec], seconds: Callable[[BackboneSpec], float], allowed: float, most: int
) -> list[BackboneSpec]:
    """Return the backbones to screen, the cheapest first.

    A high published accuracy and a cheap pass come first. Every architecture is taken once before another version of
    one is taken, so that the backbones differ.

    Args:
        specs: What there is.
        seconds: Predicted seconds of one pass over the examples; 0 for unknown.
        allowed: Seconds that all passes together may take; the best fits, however little that is.
        most: Largest number of backbones.
    """
    known = {spec.name: cost for spec in specs if (cost := seconds(spec)) > 0}
    typical = median(known.values()) if known else 0.0
    costs = {spec.name: known.get(spec.name, typical) for spec in specs}
    ranked = sorted(specs, key=lambda spec: (-_promise(spec, costs[spec.name]), spec.name))
    versions = {spec.name: _versions_before(spec, ranked) for spec in ranked}
    chosen: list[BackboneSpec] = []
    left = allowed
    for spec in sorted(ranked, key=lambda spec: versions[spec.name]):
        if len(chosen) < most and (costs[spec.name] <= left or not chosen):
            chosen.append(spec)
            left -= costs[spec.name]
    return sorted(chosen, key=lambda spec: (costs[spec.name], spec.parameters or 0, spec.name))


def _promise(spec: BackboneSpec, cost: float) -> float:
    accuracy = UNKNOWN_ACCURACY if spec.accuracy is None else spec.accuracy
    return ACCURACY_WEIGHT * accuracy - ACCURACY_PER_LOG_COST * math.log(max(cost, MIN_SECONDS))


def _versions_before(spec: BackboneSpec, ranked: Sequence[BackboneSpec]) -> int:
    """Return how many versions of the same architecture promise more; a version follows the first point."""
    architecture = spec.name.partition(".")[0]
    before = ranked[: ranked.index(spec)]
    return sum(other.name.partition(".")[0] == architecture for other in before)
