"""Near-duplicates are found by features and names together, and what merely looks or is called alike is not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from autotransfer.data.likeness import find_alike

WIDTH = 64


def features(objects: Sequence[int], noise: float, seed: int = 0) -> np.ndarray:
    """Return features (N, WIDTH) of photographs of objects: what an object looks like, and noise."""
    rng = np.random.default_rng(seed)
    looks = rng.normal(size=(max(objects) + 1, WIDTH))
    shared = 5 * rng.normal(size=WIDTH)  # what all images of one camera have in common
    return (shared + looks[list(objects)] + noise * rng.normal(size=(len(objects), WIDTH))).astype(np.float32)


def sets(found: Sequence[object] | None) -> set[frozenset[int]]:
    assert found is not None
    named = {group for group in found if group is not None}
    return {frozenset(i for i, own in enumerate(found) if own == group) for group in named}


def test_the_same_but_for_noise_is_found_whatever_its_name() -> None:
    objects = [*range(30), 4, 9]
    found = find_alike(features(objects, noise=0.05), [f"item {i}" for i in range(32)])
    assert sets(found) == {frozenset({4, 30}), frozenset({9, 31})}


def test_different_objects_are_none() -> None:
    assert find_alike(features(range(50), noise=0.3), [f"{i:03d}.jpg" for i in range(50)]) is None


def test_frames_of_one_clip_are_found_by_their_numbers() -> None:
    # Alike, but not so much that it would do without a name.
    objects = [0, 0, 0, *range(1, 30)]
    clip = ["clip_001.jpg", "clip_002.jpg", "clip_003.jpg"]
    others = [f"clip_{100 + 7 * i}.jpg" for i in range(29)]
    values = features(objects, noise=0.25)
    assert sets(find_alike(values, clip + others)) == {frozenset({0, 1, 2})}
    assert find_alike(values, [f"{name}{i:x}.x" for i, name in enumerate("abcdefghijklmnopqrstuvwxyzABCDEF")]) is None


@pytest.mark.parametrize("names", ["exp{shot}_num_{part}.jpg", "part{part}_{shot}.png", "a/{part}/view{shot}.png"])
def test_exposures_of_one_part_are_found_by_what_their_names_share(names: str) -> None:
    # A lamp changes an image by as much as another part does: each pair alone would tell nothing.
    parts = [part for part in range(40) for _ in range(3)]
    found = find_alike(
        features(parts, noise=1.0), [names.format(part=7 * p + 100, shot=i % 3) for i, p in enumerate(parts)]
    )
    assert sets(found) == {frozenset(range(3 * part, 3 * part + 3)) for part in range(40)}


def test_a_number_that_means_nothing_groups_nothing() -> None:
    parts = range(120)
    assert find_alike(features(parts, noise=1.0), [f"run{p // 3}_{p % 3}.jpg" for p in parts]) is None


def test_a_number_that_follows_the_class_groups_nothing() -> None:
    # Images of one class are alike, and belong together no more for that.
    classes = np.repeat(np.arange(12), 10)
    names = [f"class{c}_{i}.jpg" for i, c in enumerate(classes)]
    assert find_alike(features(classes.tolist(), noise=1.0), names, classes) is None


def test_a_backbone_that_sees_everything_alike_groups_nothing() -> None:
    same = features([0] * 40, noise=1e-4)
    same[:20] += 1.0
    assert find_alike(same, [f"{i}.jpg" for i in range(40)]) is None


@pytest.mark.parametrize("count", [0, 1, 2, 30_000])
def test_too_few_or_too_many_are_not_compared(count: int) -> None:
    assert find_alike(np.ones((count, 1), dtype=np.float32), ["x.jpg"] * count) is None
