"""Clusters hold one class, stand apart as far as they say, and are of bounded size."""

from __future__ import annotations

import numpy as np

from autotransfer.data.clusters import find_clusters
from autotransfer.data.neighbours import blocks, join, normalized_features


def exposures(objects: int, per: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Return features of length 1 of exposures of objects, and the object of each."""
    rng, of = np.random.default_rng(0), np.repeat(np.arange(objects), per)
    return normalized_features(rng.normal(size=(objects, 64))[of] + noise * rng.normal(size=(len(of), 64))), of


def same(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two partitions are one."""
    return len(np.unique(first)) == len(np.unique(second)) == len(np.unique(np.stack([first, second]), axis=1)[0])


def test_exposures_are_objects_and_whole_clusters_hold_them() -> None:
    unit, of = exposures(40, 3, noise=0.5)
    found = find_clusters(unit, of % 2)
    assert same(found.objects, of)
    assert same(join(found.objects, found.coarse), found.coarse)


def test_distinct_examples_form_coarse_clusters_only() -> None:
    unit, of = exposures(200, 1, noise=0.0)
    found = find_clusters(unit, of % 2)
    assert len(np.unique(found.fine)) == 200
    assert len(np.unique(found.objects)) > 190
    sizes = np.unique(found.coarse, return_counts=True)[1]
    assert 40 <= len(sizes) <= 70
    assert sizes.max() <= 20


def test_a_cluster_holds_one_class_only() -> None:
    unit, of = exposures(30, 4, noise=0.3)
    classes = np.arange(len(of)) % 2  # each object is in both
    found = find_clusters(unit, classes)
    for partition in (found.fine, found.objects, found.coarse):
        for label in np.unique(partition):
            assert len(np.unique(classes[partition == label])) == 1


def test_blocks_are_of_bounded_size_and_part_few_neighbours() -> None:
    unit, of = exposures(1000, 3, noise=0.2)
    found = blocks(unit, np.arange(len(unit)), 256)
    assert np.array_equal(np.sort(np.concatenate(found)), np.arange(3000))
    assert max(map(len, found)) <= 256
    place = np.empty(3000)
    for number, rows in enumerate(found):
        place[rows] = number
    # Nothing but the object tells these examples from each other: no data are harder to divide.
    assert np.mean([len(set(place[of == i])) == 1 for i in range(1000)]) > 0.5


def test_joined_partitions_hold_both() -> None:
    assert same(join(np.array([0, 0, 1, 2, 3]), np.array([5, 6, 6, 7, 8])), np.array([0, 0, 0, 1, 2]))
