"""Fitting a detector of outliers: which kind, and from which distance on an example is unlike anything seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from autotransfer.model.outliers import (
    MIN_EXAMPLES,
    NEIGHBOUR,
    MahalanobisDetector,
    NeighbourDetector,
    OutlierDetector,
    directions_of,
)

__all__ = [
    "MIN_EXAMPLES",
    "fit_detector",
    "held_out_distances",
    "mahalanobis",
    "neighbours",
    "overconfidence",
    "subsample",
]

# Most examples that a detector learns from; for the choice of its kind, fewer tell as much.
MAX_EXAMPLES, MAX_EXAMPLES_TO_CHOOSE = 1500, 600
# Bytes of the training examples that a detector of neighbours keeps.
MAX_REFERENCE_BYTES = 4_000_000
# Share of the mean variance in the variance of each direction.
SHRINKAGE = 0.1
# Share of the training examples that score above the threshold, were they not among them.
OUTLIER_SHARE = 0.01
# Parts that distances of training examples are measured on, by detectors that know the other parts.
PARTS = 4
# Draws of classes that are taken for unknown, and their share.
DRAWS, UNKNOWN_SHARE = 3, 0.2
# Area under the curve by which neighbours have to be better at telling classes that were left out. On sets of another
# kind, which are what users meet, the covariance was better by up to 0.05 where this was less.
MIN_NEIGHBOUR_GAIN = 0.05

Fit = Callable[[Tensor], OutlierDetector]


def fit_detector(
    features: np.ndarray, classes: np.ndarray, group_ids: np.ndarray, *, seed: int = 0, small: bool = False
) -> OutlierDetector:
    """Choose a kind of detector on examples that were held out, fit it, and set its threshold.

    Args:
        features: Features (n, width) of training examples.
        classes: Class (n,) of each; of examples without one, some division into alike ones.
        group_ids: Group (n,) of each.
        seed: Seed of what is drawn.
        small: Whether the kind with the fewer bytes is taken without a comparison.
    """
    rows = subsample(len(features), MAX_EXAMPLES, seed)
    directions, classes, group_ids = _directions(features[rows]), classes[rows], group_ids[rows]
    fit = mahalanobis if small else _choose(directions, classes, seed)
    detector = fit(directions)
    detector.threshold = _quantile(held_out_distances(fit, directions, group_ids, seed))
    return detector


def overconfidence(seen: np.ndarray, unseen: np.ndarray, group_ids: np.ndarray) -> float:
    """Return by what factor unseen examples are farther from those that a backbone was tuned on than these are.

    Args:
        seen: Features (n, width) of examples that it was tuned on.
        unseen: Features (m, width) of others.
        group_ids: Group (n,) of each of the former.
    """
    directions = _directions(seen)
    usual = _quantile(held_out_distances(mahalanobis, directions, group_ids))
    return max(_quantile(mahalanobis(directions).distance(_directions(unseen)).numpy()) / usual, 1.0)


def subsample(count: int, most: int, seed: int) -> np.ndarray:
    """Return positions of at most so many examples, in order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


def held_out_distances(fit: Fit, directions: Tensor, group_ids: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return the distance (n,) of each example by a detector that does not know the examples of its group."""
    of = np.unique(group_ids, return_inverse=True)[1]
    part = (np.random.default_rng(seed).permutation(of.max() + 1) % PARTS)[of]
    found = np.full(len(of), np.nan)
    for number in range(PARTS):
        inside = np.flatnonzero(part == number)
        outside = np.flatnonzero(part != number)
        if len(inside) and len(outside) > 1:
            found[inside] = fit(directions[outside]).distance(directions[inside]).numpy()
    return np.asarray(found[~np.isnan(found)])


def mahalanobis(directions: Tensor) -> MahalanobisDetector:
    """Fit the covariance of features (n, width) of length 1."""
    n, width = directions.shape
    mean = directions.mean(0)
    centered = directions - mean
    rank = directions_of(n, width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _, values, basis = torch.svd_lowrank(centered, q=rank, niter=2)
    variances = values.square() / n
    left = (centered.square().sum() / n - variances.sum()).clamp(min=0.0)
    others = width - rank
    floor = SHRINKAGE * variances.mean() + torch.finfo(torch.float32).tiny
    spread = (1 - SHRINKAGE) * variances + floor
    rest = 1 / torch.maximum(left / max(others, 1), spread.min() * 1e-3)
    tensors = {"mean": mean, "basis": basis / spread.sqrt(), "rest": rest if others else torch.zeros(())}
    return MahalanobisDetector({name: tensor.contiguous() for name, tensor in tensors.items()})


def neighbours(directions: Tensor) -> NeighbourDetector:
    """Keep features (n, width) of length 1, in 16 bit."""
    most = max(MAX_REFERENCE_BYTES // (2 * directions.shape[1]), NEIGHBOUR)
    kept = subsample(len(directions), most, seed=0)
    return NeighbourDetector({"reference": directions[kept].half()})


def _choose(directions: Tensor, classes: np.ndarray, seed: int) -> Fit:
    """Return the kind that tells classes better that it does not know, measured on examples that it does not know."""
    areas: dict[Fit, list[float]] = {mahalanobis: [], neighbours: []}
    for known, held_out, unknown in _leave_out(classes, seed):
        for fit, found in areas.items():
            detector = fit(directions[known])
            found.append(_area(detector.distance(directions[held_out]), detector.distance(directions[unknown])))
    if not areas[neighbours]:
        return mahalanobis
    gain = float(np.mean(areas[neighbours]) - np.mean(areas[mahalanobis]))
    return neighbours if gain > MIN_NEIGHBOUR_GAIN else mahalanobis


def _leave_out(classes: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield examples of known classes, others of these, and examples of classes that are left out."""
    labels, rng = np.unique(classes), np.random.default_rng(seed)
    if len(labels) < 2:
        return
    for _ in range(DRAWS):
        left_out = rng.permutation(labels)[: max(int(UNKNOWN_SHARE * len(labels)), 1)]
        drawn = rng.permutation(len(classes))[:MAX_EXAMPLES_TO_CHOOSE]
        is_unknown = np.isin(classes[drawn], left_out)
        known, unknown = drawn[~is_unknown], drawn[is_unknown]
        held_out = len(known) // 5
        if held_out and len(unknown) and len(known) - held_out >= MIN_EXAMPLES:
            yield known[held_out:], known[:held_out], unknown


def _area(usual: Tensor, unusual: Tensor) -> float:
    """Return the area under the curve: the share of pairs in which the unusual example is farther away."""
    farther = (unusual[:, None] > usual).double() + 0.5 * (unusual[:, None] == usual).double()
    return float(farther.mean())


def _quantile(distances: np.ndarray) -> float:
    """Return the distance that all but a share of the examples keep; with few, the largest counts for more."""
    level = min(np.ceil((1 - OUTLIER_SHARE) * (len(distances) + 1)) / len(distances), 1.0)
    return max(float(np.quantile(distances, level)), float(np.finfo(np.float32).tiny))


def _directions(features: np.ndarray) -> Tensor:
    return F.normalize(torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32)), dim=1)
