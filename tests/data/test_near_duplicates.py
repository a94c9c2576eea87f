"""Near-duplicates are found by features and names together, and what merely looks or is called alike is not."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest

from autotransfer.data.near_duplicates import NearDuplicates, find_near_duplicates

WIDTH = 64


def features(objects: Sequence[int], noise: float, seed: int = 0) -> np.ndarray:
    """Return features (N, WIDTH) of photographs of objects: what an object looks like, and noise."""
    rng = np.random.default_rng(seed)
    looks = rng.normal(size=(max(objects) + 1, WIDTH))
    shared = 5 * rng.normal(size=WIDTH)  # what all images of one camera have in common
    return (shared + looks[list(objects)] + noise * rng.normal(size=(len(objects), WIDTH))).astype(np.float32)


def sets(found: NearDuplicates | None) -> set[frozenset[int]]:
    """Return the groups of two and more."""
    assert found is not None
    members = [frozenset(np.flatnonzero(found.groups == group).tolist()) for group in np.unique(found.groups)]
    return {group for group in members if len(group) > 1}


def test_the_same_but_for_noise_is_found_whatever_its_name() -> None:
    objects = [*range(30), 4, 9]
    found = find_near_duplicates(features(objects, noise=0.05), [f"item {i}" for i in range(32)])
    assert sets(found) == {frozenset({4, 30}), frozenset({9, 31})}


def test_different_objects_are_none() -> None:
    assert not sets(find_near_duplicates(features(range(50), noise=0.3), [f"{i:03d}.jpg" for i in range(50)]))


def test_frames_of_one_clip_are_found_by_their_numbers() -> None:
    # Alike, but not so much that it would do without a name.
    objects = [0, 0, 0, *range(1, 30)]
    clip = ["clip_001.jpg", "clip_002.jpg", "clip_003.jpg"]
    others = [f"clip_{100 + 7 * i}.jpg" for i in range(29)]
    values = features(objects, noise=0.25)
    assert sets(find_near_duplicates(values, clip + others)) == {frozenset({0, 1, 2})}
    unlike = [f"{name}{i:x}.x" for i, name in enumerate("abcdefghijklmnopqrstuvwxyzABCDEF")]
    assert sets(find_near_duplicates(values, unlike)) == {frozenset({0, 1, 2})}, "far closer than the next"


@pytest.mark.parametrize("names", ["exp{shot}_num_{part}.jpg", "part{part}_{shot}.png", "a/{part}/view{shot}.png"])
def test_exposures_of_one_part_are_grouped_by_their_names(names: str) -> None:
    # A lamp changes an image by as much as another part does: each pair alone would tell nothing.
    parts = [part for part in range(40) for _ in range(3)]
    found = find_near_duplicates(
        features(parts, noise=1.0), [names.format(part=7 * p + 100, shot=i % 3) for i, p in enumerate(parts)]
    )
    assert sets(found) == {frozenset(range(3 * part, 3 * part + 3)) for part in range(40)}


def test_a_number_that_means_nothing_groups_nothing() -> None:
    parts = range(120)
    assert not sets(find_near_duplicates(features(parts, noise=1.0), [f"run{p // 3}_{p % 3}.jpg" for p in parts]))


def test_a_number_that_follows_the_class_groups_nothing() -> None:
    # Images of one class are alike, and belong together no more for that.
    classes = np.repeat(np.arange(12), 10)
    names = [f"class{c}_{i}.jpg" for i, c in enumerate(classes)]
    assert not sets(find_near_duplicates(features(classes.tolist(), noise=1.0), names, classes))


def test_groups_of_a_blind_backbone_are_divided() -> None:
    same = features([0] * 40, noise=1e-4)
    same[:20] += 1.0
    found = find_near_duplicates(same, [f"{i}.jpg" for i in range(40)])
    assert found is not None
    assert (found.divided, found.largest_divided) == (2, 20)
    assert all(len(group) <= 4 for group in sets(found))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_are_not_compared(count: int) -> None:
    assert find_near_duplicates(np.ones((count, 1), dtype=np.float32), ["x.jpg"] * count) is None


@pytest.mark.parametrize("stamp", ["IMG_20240{month}1{day}_1{hour}050{second}", "{epoch}", "shot_{epoch}_x"])
def test_bursts_are_found_by_the_gaps_between_their_time_stamps(stamp: str) -> None:
    # Each pair alone would tell nothing: a lamp changes an image by as much as another part does.
    parts = [part for part in range(40) for _ in range(3)]
    names = [
        stamp.format(
            month=1 + part % 9,
            day=part // 9,
            hour=part % 7,
            second=3 * (i % 3),
            epoch=1_700_000_000 + 977 * part + 40 * (part % 5) + 2 * (i % 3),
        )
        + ".jpg"
        for i, part in enumerate(parts)
    ]
    found = find_near_duplicates(features(parts, noise=1.0), names)
    assert sets(found) == {frozenset(range(3 * part, 3 * part + 3)) for part in range(40)}


def test_static_scenes_of_a_whole_class_are_divided_by_time() -> None:
    scenes = np.repeat(np.arange(4), 60)
    names = [f"cam_{i:04d}.png" for i in range(240)]
    order = np.random.default_rng(0).permutation(240)
    found = find_near_duplicates(features(scenes[order].tolist(), noise=0.02), [names[i] for i in order], scenes[order])
    assert found is not None
    assert (found.divided, found.largest_divided) == (4, 60)
    for group in sets(found):
        frames = sorted(order[list(group)])
        assert frames == list(range(frames[0], frames[0] + len(frames))), "a run of frames"
    for scene in range(4):
        assert len(np.unique(found.groups[scenes[order] == scene])) >= 5


def test_static_scenes_that_share_a_class_stay_whole() -> None:
    scenes = np.repeat(np.arange(4), 60)
    found = find_near_duplicates(features(scenes.tolist(), noise=0.02), [f"{i}.png" for i in range(240)], scenes % 2)
    assert found is not None
    assert found.divided == 0
    assert sets(found) == {frozenset(range(60 * scene, 60 * scene + 60)) for scene in range(4)}


@pytest.mark.slow
def test_many_near_duplicates_are_joined_in_bounded_memory() -> None:
    # 700,000 pairs of a scene each: as Python tuples they took gigabytes.
    scenes = np.repeat(np.arange(5), 1200)
    values = features(scenes.tolist(), noise=0.02).astype(np.float32)
    tracemalloc.start()
    found = find_near_duplicates(values, [f"frame_{i}" for i in range(len(scenes))])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found is not None
    assert len(np.unique(found.groups)) == 5
    assert peak < 100e6


def test_of_many_examples_those_near_each_other_are_compared() -> None:
    objects = [*range(2500), *range(2500)]
    found = find_near_duplicates(features(objects, noise=0.05), ["x"] * 5000)
    assert found is not None
    together = found.groups[:2500] == found.groups[2500:]
    assert together.mean() > 0.8


def test_speakers_stay_together_whatever_they_say() -> None:
    rng = np.random.default_rng(0)
    clips = [(digit, speaker, take) for digit in range(10) for speaker in range(6) for take in range(8)]
    voices, digits = rng.normal(0, 3, (6, 24)), rng.normal(0, 1, (10, 24))
    features = np.stack([voices[s] + digits[d] + rng.normal(0, 0.7, 24) for d, s, _ in clips]).astype(np.float32)
    names = [f"clips/{d}/{d}_{'abcdef'[s]}_{take}.wav" for d, s, take in clips]
    found = find_near_duplicates(features, names, np.array([d for d, _, _ in clips]))
    assert found is not None
    speakers = np.array([s for _, s, _ in clips])
    assert len(np.unique(np.stack([found.groups, speakers]), axis=1).T) == len(np.unique(found.groups)) == 6
