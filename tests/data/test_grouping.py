"""What belongs together stays on one side of the split, and the user is told what a split that tears it would say."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import autotransfer
from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.contract.registry import Registry
from autotransfer.data.dependence import Dependence
from autotransfer.data.grouping import Grouping
from autotransfer.data.sources import load_examples
from autotransfer.pipeline.prepare import Prepared, prepare_data
from autotransfer.runtime.device import resolve_device
from autotransfer.settings import Compute, DataOptions, RunOptions, Settings
from autotransfer.warnings import WarningList

Digits = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def first(tiny_zoo: Path) -> LoadedBackbone:
    return LoadedBackbone(Registry.load((tiny_zoo,)).backbone("test_resnet"), resolve_device("cpu"))


@pytest.fixture(scope="module")
def exposures(digits: Digits) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three exposures each of 40 things, whose labels nothing tells: images, labels, things."""
    rng = np.random.default_rng(0)
    things = np.repeat(np.arange(40), 3)
    noise = rng.integers(-6, 7, (120, *digits[0].shape[1:]))
    images = np.clip(digits[0][things].astype(int) + noise, 0, 255).astype(np.uint8)
    return images, (np.arange(40) % 2)[things], things


def prepared(
    images: np.ndarray,
    labels: np.ndarray,
    first: LoadedBackbone,
    groups: object = None,
    warnings: WarningList | None = None,
) -> Prepared:
    examples = load_examples(images, labels, groups=groups)
    return prepare_data(examples, [first.spec], Settings(compute=Compute(cache=False)), first=first, warnings=warnings)


def random_score(data: Prepared, things: Sequence[int]) -> int:
    """Count the things that are on both sides of a split."""
    own = np.asarray(things)
    return sum(len(set(own[fold.train_rows]) & set(own[fold.validation_rows])) for fold in data.folds)


def test_near_duplicates_are_grouped_and_compared(
    exposures: tuple[np.ndarray, np.ndarray, np.ndarray], first: LoadedBackbone
) -> None:
    images, labels, things = exposures
    data = prepared(images, labels, first)
    assert random_score(data, things) == 0
    assert data.grouping is not None
    assert (data.grouping.source, data.grouping.examples) == ("clustered", 120)
    assert 35 <= data.grouping.groups <= 40, "two digits of one shape may look alike, too"
    # Nothing tells the labels of unseen things; of seen ones, they are remembered.
    assert data.grouping.grouped_score < 0.65
    assert data.grouping.random_score > data.grouping.grouped_score + 0.1


def test_dependent_examples_are_warned_of_with_both_scores(
    exposures: tuple[np.ndarray, np.ndarray, np.ndarray], first: LoadedBackbone
) -> None:
    images, labels, _ = exposures
    warnings = WarningList()
    data = prepared(images, labels, first, warnings=warnings)
    (warning,) = warnings
    assert warning.code == "dependent_data"
    assert data.grouping is not None
    assert (warning.details["random"], warning.details["clustered"]) == (
        data.grouping.random_score,
        data.grouping.grouped_score,
    )
    assert f"{data.grouping.grouped_score:.3f}" in warning.message
    json.dumps(warning.to_json())


def test_digits_are_no_dependent_examples(digits: Digits, first: LoadedBackbone) -> None:
    warnings = WarningList()
    prepared(*digits, first, warnings=warnings)
    assert not list(warnings)


def test_clusters_stay_together_in_folds_of_other_seeds(
    exposures: tuple[np.ndarray, np.ndarray, np.ndarray], first: LoadedBackbone
) -> None:
    images, labels, things = exposures
    data = prepared(images, labels, first)
    for fold in data.resplit(3):
        assert not set(things[fold.train_rows]) & set(things[fold.validation_rows])


def test_groups_of_the_user_come_before_near_duplicates(
    exposures: tuple[np.ndarray, np.ndarray, np.ndarray], first: LoadedBackbone
) -> None:
    images, labels, _ = exposures
    pairs = np.arange(120) // 2
    data = prepared(images, labels, first, pairs)
    assert random_score(data, pairs) == 0
    assert data.grouping is not None
    assert (data.grouping.source, data.grouping.groups) == ("given", 60)


def test_without_near_duplicates_the_split_is_unchanged(first: LoadedBackbone) -> None:
    rng = np.random.default_rng(0)
    images = np.stack([np.kron(rng.integers(0, 256, (4, 4)), np.ones((8, 8))) for _ in range(30)]).astype(np.uint8)
    examples = load_examples(images, rng.integers(0, 2, 30))
    looked = prepare_data(examples, [first.spec], Settings(compute=Compute(cache=False)), first=first)
    plain = prepare_data(examples, [first.spec], Settings(compute=Compute(cache=False)))
    assert looked.grouping is None
    for one, other in zip(looked.folds, plain.folds, strict=True):
        np.testing.assert_array_equal(one.validation_rows, other.validation_rows)


def test_near_duplicates_of_a_whole_class_are_divided(digits: Digits, first: LoadedBackbone) -> None:
    # One class is three exposures of one thing: kept together, nothing of it could be validated.
    images = np.concatenate([digits[0][digits[1] == 1], np.repeat(digits[0][digits[1] == 0][:1], 3, axis=0)])
    images[-1, 0, 0], images[-2, 0, 1] = 9, 9  # no copies: those are kept together in any case
    targets = [0] * (len(images) - 3) + [1] * 3
    warnings = WarningList()
    data = prepared(images, np.array(targets), first, warnings=warnings)
    assert all({0, 1} == set(fold.targets[fold.validation_rows]) for fold in data.folds)
    (warning,) = (warning for warning in warnings if warning.code == "grouping_failed")
    assert warning.details["largest"] == 3


@pytest.mark.parametrize(
    ("grouping", "text"),
    [
        (
            Grouping(source="found", groups=2, examples=5, grouped_score=0.75, random_score=0.9),
            "2 groups of near-duplicates of 5 examples stay on one side of the split; on random folds a probe scores "
            "0.900 instead of 0.750",
        ),
        (Grouping.of(["a", "a", None, "b", None], "given"), "1 groups of 2 examples stay on one side of the split"),
    ],
)
def test_it_is_put_in_words_and_as_json(grouping: Grouping, text: str) -> None:
    assert str(grouping) == text
    data = json.loads(json.dumps(grouping.to_json()))
    assert data["groups"] == grouping.groups
    assert (data["random_score"] is None) == math.isnan(grouping.random_score)


@pytest.mark.parametrize(("lowest", "shown"), [(0.9, False), (1.1, True)])
def test_scores_within_their_error_are_no_finding(lowest: float, shown: bool) -> None:
    dependence = Dependence(random=0.9, clustered=0.8, error_ratio=2.0, lowest_error_ratio=lowest)
    grouping = Grouping(source="found", groups=1, examples=2).compared(dependence)
    assert (grouping.random_score == 0.9) is shown
    assert ("on random folds" in str(grouping)) is shown


@pytest.mark.slow
def test_a_fit_reports_its_groups(
    exposures: tuple[np.ndarray, np.ndarray, np.ndarray], tiny_zoo: Path, tmp_path: Path
) -> None:
    images, labels, things = exposures
    result = autotransfer.fit(
        images,
        labels,
        data_options=DataOptions(groups=things),
        zoo=tiny_zoo,
        trials=2,
        heads="ridge",
        out=tmp_path / "run",
        compute=Compute(cache=False),
        run=RunOptions(progress=False),
    )
    assert result.data.grouping is not None
    assert result.data.grouping.groups == 40
    assert "dependent_data" not in {warning.code for warning in result.warnings}, "the user knows better"
    assert "groups             40 groups (120 examples) stay" in str(result)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["groups"]["groups"] == 40
