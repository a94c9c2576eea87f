"""Which backbones are screened, where there are more than the budget allows: chosen before any is downloaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
import numpy.typing as npt

from autotransfer.contract.specs import BackboneSpec
from autotransfer.search.model_prior import ModelPrior
from autotransfer.search.model_similarity import model_info

__all__ = ["choose_shortlist"]

Array = npt.NDArray[np.float64]
# Most backbones that are compared with each other, and groups of about equal cost that they come from.
MAX_COMPARED, GROUPS = 512, 64
# Draws of the levels of all backbones, from which expected improvements are taken.
DRAWS = 512
# Levels that are added to each expected improvement, which no draw may show: times the exponential of the level.
MIN_GAIN = 1e-4
MIN_SECONDS = 1e-6


def choose_shortlist(
    specs: Sequence[BackboneSpec], seconds: Callable[[BackboneSpec], float], allowed: float, most: int
) -> list[BackboneSpec]:
    """Return the backbones to screen, the cheapest first.

    One after the other is chosen: the next one has the greatest expected improvement per second on those chosen
    before. The prior of models says what is expected of each, and which ones are good or poor together: what is like
    a chosen one improves little on it. A place on the list costs seconds too, since places are few.

    Args:
        specs: What there is.
        seconds: Predicted seconds of one pass over the examples; 0 for unknown.
        allowed: Seconds that all passes together may take; the best fits, however little that is.
        most: Largest number of backbones.
    """
    known = {spec.name: cost for spec in specs if (cost := seconds(spec)) > 0}
    typical = median(known.values()) if known else 0.0
    costs = {spec.name: known.get(spec.name, typical) for spec in specs}

    def size(spec: BackboneSpec) -> tuple[float, int, str]:
        return costs[spec.name], spec.parameters or 0, spec.name

    ordered = sorted(specs, key=size)
    if len(ordered) <= most and sum(costs.values()) <= allowed:
        return ordered
    prior = ModelPrior.load(ordered[0].modality)
    compared = _best_of_equal_cost(ordered, prior)
    chosen = _chosen(compared, prior, np.array([costs[spec.name] for spec in compared]), allowed, most)
    return sorted((compared[i] for i in chosen), key=size)


def _best_of_equal_cost(ordered: Sequence[BackboneSpec], prior: ModelPrior) -> list[BackboneSpec]:
    """Return the backbones to compare: where there are many, those of good published accuracies, or large ones."""
    if len(ordered) <= MAX_COMPARED:
        return list(ordered)
    levels, _ = prior.recorded.benchmark.of([model_info(spec) for spec in ordered])
    groups = np.array_split(np.arange(len(ordered)), GROUPS)
    best = [group[np.argsort(-levels[group], kind="stable")[: MAX_COMPARED // GROUPS]] for group in groups]
    return [ordered[i] for i in np.concatenate(best)]


def _chosen(specs: Sequence[BackboneSpec], prior: ModelPrior, costs: Array, allowed: float, most: int) -> list[int]:
    """Return the positions of the chosen backbones."""
    mean, covariance = prior.expect([model_info(spec) for spec in specs])
    draws = _draws(mean, covariance)
    best = np.zeros(DRAWS)  # nothing chosen: a usual one of what there is
    place = max(min(allowed / most, costs.mean()), MIN_SECONDS)
    chosen: list[int] = []
    free, left = np.ones(len(specs), dtype=bool), allowed
    while len(chosen) < most and free.any():
        gains = np.maximum(draws - best, 0).mean(1) + MIN_GAIN * np.exp(mean - mean.max())
        position = int(np.where(free, gains / (costs + place), -np.inf).argmax())
        chosen.append(position)
        left -= costs[position]
        best = np.maximum(best, draws[position])
        free[position] = False
        free &= costs <= left
    return chosen


def _draws(mean: Array, covariance: Array) -> Array:
    """Return levels (n, DRAWS) drawn from a normal distribution; the same ones each time."""
    noise = np.random.default_rng(0).standard_normal((len(mean), DRAWS))
    root = np.linalg.cholesky(covariance + 1e-6 * np.eye(len(mean)))
    return np.asarray(mean[:, None] + root @ noise)
