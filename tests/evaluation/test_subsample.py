"""Backbones are judged by a sample first: it is a fair one, and what is far below the others costs no whole pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from sklearn.datasets import load_digits

from autotransfer.candidate import Candidate
from autotransfer.contract.registry import Registry
from autotransfer.data.sources import load_examples
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.evaluation.subsample import Features, Sample, draw
from autotransfer.features.extractor import FeatureExtractor
from autotransfer.pipeline.prepare import Prepared, prepare_data
from autotransfer.runtime.device import resolve_device
from autotransfer.settings import Settings, grouped
from autotransfer.workers.assignment import Assignment

CPU = resolve_device("cpu")
PROBE = Candidate(backbone="test_resnet", head="logistic", head_params={"C": 1.0}, freeze="frozen")


@pytest.fixture(scope="module")
def registry(tiny_zoo: Path) -> Registry:
    return Registry.load((tiny_zoo,))


@pytest.fixture(scope="module")
def prepared(registry: Registry) -> Callable[..., Prepared]:
    """Returns 1,100 handwritten digits, or fewer."""
    data = load_digits()
    images = np.kron(data.images[:1100] * (255 / 16), np.ones((4, 4))).astype(np.uint8)

    def prepare(count: int = 1100, targets: Any = None, **settings: Any) -> Prepared:
        labels = data.target if targets is None else targets
        config = Settings(**grouped(Settings, dict(cache=False, **settings)))
        return prepare_data(load_examples(images[:count], labels[:count]), [registry.backbone("test_resnet")], config)

    return prepare


def _drawn(data: Prepared, seed: int = 0) -> Sample | None:
    return draw(data.folds, seed)


def test_a_sample_keeps_class_shares_and_folds(prepared: Callable[..., Prepared]) -> None:
    data = prepared()
    sample = _drawn(data)
    assert sample is not None
    assert 250 <= len(sample.rows) <= 262
    counts, whole = Counter(sample.folds[0].targets.tolist()), Counter(data.folds[0].targets.tolist())
    for label, count in whole.items():
        assert counts[label] == pytest.approx(count * 256 / 1100, abs=1)
    scored = np.concatenate([fold.validation_rows for fold in sample.folds])
    assert sorted(scored) == list(range(len(sample.rows)))
    for fold, full in zip(sample.folds, data.folds, strict=True):
        assert set(sample.rows[fold.train_rows]) <= set(full.train_rows)
        assert set(sample.rows[fold.validation_rows]) <= set(full.validation_rows)
        assert (fold.targets == full.targets[sample.rows]).all()


def test_a_rare_class_is_in_the_sample(prepared: Callable[..., Prepared]) -> None:
    labels = np.arange(1100) % 2
    labels[:6] = 2
    sample = _drawn(prepared(targets=labels))
    assert sample is not None
    assert (sample.folds[0].targets == 2).sum() == 5


def test_of_one_split_a_sample_of_training_rows_gets_folds(
    prepared: Callable[..., Prepared],
) -> None:
    data = prepared(folds=1)
    sample = _drawn(data)
    assert sample is not None
    assert set(sample.rows) <= set(data.folds[0].train_rows), "validation examples never train"
    scored = np.concatenate([fold.validation_rows for fold in sample.folds])
    assert sorted(scored) == list(range(len(sample.rows)))
    for fold in sample.folds:
        assert not set(fold.train_rows) & set(fold.validation_rows)
        assert len(fold.train_rows) + len(fold.validation_rows) == len(sample.rows)
        assert set(fold.targets[fold.validation_rows]) == set(range(10)), "the classes are spread over the folds"


@pytest.mark.parametrize(
    ("count", "settings"),
    [
        pytest.param(500, {}, id="few examples"),
        pytest.param(1100, {"task": "regression"}, id="a regression's score is no share"),
        pytest.param(1100, {"metric": "neg_log_loss"}, id="nor is this one"),
    ],
)
def test_no_sample_is_drawn_where_it_would_not_pay_or_tell(
    count: int, settings: dict[str, Any], prepared: Callable[..., Prepared]
) -> None:
    assert _drawn(prepared(count, **settings)) is None


def test_equal_seeds_draw_equal_samples(prepared: Callable[..., Prepared]) -> None:
    data = prepared()
    first, again, other = (_drawn(data, seed) for seed in (0, 0, 1))
    assert first is not None
    assert again is not None
    assert other is not None
    assert (first.rows == again.rows).all()
    assert not np.array_equal(first.rows, other.rows)


@pytest.mark.slow
@pytest.mark.parametrize("heads", [("logistic", "ncm", "stage_ridge"), ("stage_ridge", "logistic", "ncm")])
def test_a_stop_on_the_sample_passes_the_sample_only_once(
    heads: tuple[str, ...], registry: Registry, prepared: Callable[..., Prepared]
) -> None:
    data, passed, told = prepared(), list[int](), list[tuple[int, float]]()
    enter = FeatureExtractor._input

    def counting(extractor: FeatureExtractor, *about: Any) -> Any:
        images = enter(extractor, *about)
        passed.append(len(images))
        return images

    def report(epoch: int, score: float) -> bool:
        told.append((epoch, score))
        return stopping

    staged = replace(data.extractor, staged=True)
    evaluator = Evaluator(registry, staged, data.folds, CPU, seed=0, sample=_drawn(data))
    with patch.object(FeatureExtractor, "_input", counting):
        stopping = True
        for head in heads:
            stopped = evaluator(replace(PROBE, head=head, head_params={}), report, lambda: False)
            assert stopped.predictions is None
            assert stopped.score == told[-1][1]
        assert 250 <= sum(passed) < 400, "the sample, to the end of a batch, for all heads"
        stopping = False
        whole = evaluator(PROBE, report, lambda: False)
    assert [epoch for epoch, _ in told] == [0, 0, 0, 0]
    assert abs(whole.score - told[heads.index("logistic")][1]) < 0.15


@pytest.mark.slow
def test_after_the_sample_each_example_passes_once(registry: Registry, prepared: Callable[..., Prepared]) -> None:
    told, passed, enter = list[float](), list[int](), FeatureExtractor._input

    def counting(extractor: FeatureExtractor, *about: Any) -> Any:
        images = enter(extractor, *about)
        passed.append(len(images))
        return images

    def report(epoch: int, score: float) -> bool:
        told.append(score)
        return False

    data = prepared()
    sample = _drawn(data)
    evaluators = [
        Evaluator(registry, each.extractor, each.folds, CPU, seed=0, sample=drawn)
        for each, drawn in ((data, sample), (prepared(), None))
    ]
    with patch.object(FeatureExtractor, "_input", counting):
        found = evaluators[0](PROBE, report, lambda: False)
        assert 1100 <= sum(passed) < 1150, "a few more show whether compiling pays"
        before = len(passed)
        evaluators[0](PROBE, report, lambda: False)
        assert len(passed) == before
    assert found.score == evaluators[1](PROBE, report, lambda: False).score
    features = [evaluator.extractor.pooled(evaluator.load("test_resnet")) for evaluator in evaluators]
    np.testing.assert_allclose(features[0], features[1], rtol=1e-3, atol=1e-3)
    assert told[0] == told[1], "of a part of the pass, or of all features"


@pytest.mark.slow
def test_a_head_that_fails_on_the_sample_is_tried_on_all(registry: Registry, prepared: Callable[..., Prepared]) -> None:
    data = prepared()
    evaluator = Evaluator(registry, data.extractor, data.folds, CPU, seed=0, sample=_drawn(data))

    def taken(features: Features, *about: Any) -> np.ndarray:
        if len(features.values["center"]) < 1000:
            raise ValueError("too few")
        return features.values["center"]

    with patch.object(Features, "taken", taken):
        assert evaluator(PROBE, lambda epoch, score: True, lambda: False).predictions is not None


def test_a_worker_draws_the_sample_that_the_search_has_drawn(
    prepared: Callable[..., Prepared], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)
    data, drawn = prepared(), _drawn(prepared())
    assignment = Assignment.of(Settings(seed=0), data.extractor, data.folds, threads=1, share=1).shared(tmp_path)
    found = [replace(assignment, sampling=sampling).evaluator().sample for sampling in (True, False)]
    assert drawn is not None
    assert found[0] is not None
    assert (found[0].rows == drawn.rows).all()
    assert found[1] is None, "where the search does not answer at once"


def test_folds_of_a_sample_keep_units_together(prepared: Callable[..., Prepared]) -> None:
    data = prepared(folds=1)
    fold = data.folds[0]
    group_ids = np.arange(len(fold.targets)) // 3
    sample = draw([replace(fold, group_ids=group_ids)], 0)
    assert sample is not None
    for fold in sample.folds:
        assert fold.group_ids is not None
        assert fold.group_ids.tolist() == group_ids[sample.rows].tolist()
        assert not set(fold.group_ids[fold.train_rows].tolist()) & set(fold.group_ids[fold.validation_rows].tolist())
    assert sorted(np.concatenate([fold.validation_rows for fold in sample.folds]).tolist()) == list(
        range(len(sample.rows))
    )
