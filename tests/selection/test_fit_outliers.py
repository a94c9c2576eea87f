"""Detectors of outliers: what they call unlike, their threshold, and the choice among them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from autotransfer.model.outliers import MahalanobisDetector, NeighbourDetector
from autotransfer.selection.fit_outliers import (
    MAX_REFERENCE_BYTES,
    fit_detector,
    held_out_distances,
    mahalanobis,
    neighbours,
    overconfidence,
)


def _features(n: int, seed: int, width: int = 60, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return features of three classes that differ in ten directions, and their classes."""
    centers = np.random.default_rng(99).normal(size=(3, 10)) * 3
    mix = np.random.default_rng(98).normal(size=(10, width))
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, n)
    inside = centers[classes] + rng.normal(size=(n, 10)) + shift
    return (inside @ mix + 0.3 * rng.normal(size=(n, width)) + 2).astype(np.float32), classes


@pytest.mark.parametrize("n", [60, 400, 2500])
def test_one_in_a_hundred_new_examples_is_above_1(n: int) -> None:
    features, classes = _features(n, 0)
    detector = fit_detector(features, classes, np.arange(n))
    new = detector(torch.from_numpy(_features(4000, 1)[0]))
    assert float((new > 1).float().mean()) == pytest.approx(0.01, abs=0.04 if n == 60 else 0.01)
    unlike = np.random.default_rng(2).normal(size=(500, 60)).astype(np.float32)
    assert float((detector(torch.from_numpy(unlike)) > 1).float().mean()) > 0.95


def test_the_length_of_features_does_not_count() -> None:
    features, classes = _features(200, 0)
    detector = fit_detector(features, classes, np.arange(200))
    some = torch.from_numpy(features[:9])
    torch.testing.assert_close(detector(some * 7), detector(some), rtol=1e-4, atol=1e-4)


def test_the_distance_is_that_of_the_covariance() -> None:
    directions = F.normalize(torch.from_numpy(_features(600, 0, width=20)[0]), dim=1)
    found = mahalanobis(directions).distance(directions[:50])
    centered = (directions - directions.mean(0)).double()
    values, vectors = torch.linalg.eigh(centered.T @ centered / 600)
    exact = ((centered[:50] @ vectors).square() / (0.9 * values + 0.1 * values.mean())).sum(1).sqrt()
    torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=1e-3)


def test_neighbours_are_kept_within_a_bound() -> None:
    directions = F.normalize(torch.randn(1500, 4096, generator=torch.Generator().manual_seed(0)), dim=1)
    detector = neighbours(directions)
    assert detector.reference.nbytes <= MAX_REFERENCE_BYTES
    # The fifth nearest of examples that are there is another one; the angle to it is about a right one.
    assert detector.distance(detector.reference[:5].float()).numpy() == pytest.approx(2**0.5, abs=0.1)


def test_distances_are_measured_without_the_own_group() -> None:
    # Copies of an example are no new examples: with them known, each would lie at no distance.
    directions = F.normalize(torch.randn(30, 12, generator=torch.Generator().manual_seed(0)), dim=1)
    copies = directions.repeat_interleave(8, 0)
    groups = np.repeat(np.arange(30), 8)
    assert held_out_distances(neighbours, copies, groups).min() > 0.1
    assert np.median(held_out_distances(neighbours, copies, np.arange(240))) < 0.01


def test_the_kind_is_chosen_on_classes_that_are_left_out() -> None:
    features, classes = _features(500, 0)
    assert isinstance(fit_detector(features, classes, np.arange(500)), MahalanobisDetector)
    # Classes on a ring: what is missing of it lies within the covariance, and far from any neighbour.
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 10, 500)
    angle = classes * 2 * np.pi / 10 + rng.normal(0, 0.01, 500)
    ring = np.stack([np.cos(angle), np.sin(angle), 1e-3 * rng.normal(size=500)], axis=1).astype(np.float32)
    assert isinstance(fit_detector(ring, classes, np.arange(500)), NeighbourDetector)
    assert isinstance(fit_detector(ring, np.zeros(500, dtype=int), np.arange(500)), MahalanobisDetector)


def test_tuned_features_of_new_examples_are_farther() -> None:
    seen, unseen = _features(300, 0)[0], _features(300, 1)[0]
    assert overconfidence(seen, unseen, np.arange(300)) == pytest.approx(1.0, abs=0.15)
    other = unseen + 6 * np.random.default_rng(2).normal(size=unseen.shape).astype(np.float32)
    assert overconfidence(seen, other, np.arange(300)) > 1.3


def test_equal_seeds_give_equal_detectors() -> None:
    features, classes = _features(300, 0)
    one, other = (fit_detector(features, classes, np.arange(300), seed=3) for _ in range(2))
    assert one.threshold == other.threshold
    some = torch.from_numpy(features[:20])
    assert torch.equal(one(some), other(some))
