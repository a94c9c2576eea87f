"""Backbones that name their own heads and pool to sparse features: searched, solved, and left out where they must."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest
from fixtures.sparse import LEVELS, Counts, SparsePlugin
from scipy.sparse import issparse

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.candidate import Candidate
from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import BackboneSpec
from autotransfer.data.sources import load_examples
from autotransfer.errors import ConfigError, PluginError
from autotransfer.evaluation.setup import Setup
from autotransfer.features.cache import ActivationCache
from autotransfer.features.extractor import FeatureExtractor
from autotransfer.model.ensemble_member import EnsembleMember
from autotransfer.model.inference import group_by_backbone
from autotransfer.pipeline.prepare import Prepared, load_first, offered_heads, prepare_data
from autotransfer.runtime.device import Device, resolve_device
from autotransfer.search.space import SearchSpace
from autotransfer.settings import Compute, DataOptions, Settings
from autotransfer.tasks.task import Task
from autotransfer.training.network import to_predictions

TASK = Task(kind="multiclass", classes=(0, 1, 2))
CPU = resolve_device("cpu")


@pytest.fixture(scope="module")
def registry(tiny_zoo: Path) -> Registry:
    return Registry.load((tiny_zoo,), plugins=[SparsePlugin()])


@pytest.fixture(scope="module")
def data(registry: Registry, digits: tuple[np.ndarray, np.ndarray]) -> Prepared:
    images, labels = digits
    config = Settings(compute=Compute(cache=False), data_options=DataOptions(folds=1))
    return prepare_data(load_examples(images[:60], labels[:60]), [registry.backbone("counts")], config)


@pytest.fixture(scope="module")
def counts(registry: Registry) -> LoadedBackbone:
    return LoadedBackbone(registry.backbone("counts"), CPU)


def test_sparse_features_are_cached_as_a_csr_matrix(data: Prepared, counts: LoadedBackbone, tmp_path: Path) -> None:
    found = []
    for _ in range(2):
        cache = ActivationCache(tmp_path, memory_limit=10**7)
        found.append(FeatureExtractor(store=data.store, cache=cache).taken(counts))
    assert (cache.computed, cache.reused) == (0, 1)
    for features in found:
        assert issparse(features)
        assert features.shape == (60, LEVELS)
        assert features.sum(1).tolist() == [[64.0]] * 60, "pixels of an image"
    assert (found[0] != found[1]).nnz == 0


def test_solved_head_predicts_alike_in_the_model(data: Prepared, registry: Registry, counts: LoadedBackbone) -> None:
    candidate, fold = Candidate(backbone="counts", head="counts_linear"), data.folds[0]
    setup = Setup.of(candidate, counts, registry, fold.task)
    network = setup.solve(data.extractor, fold, CPU, 0)
    expected = setup.predict_from_features(network, data.extractor, fold.task, np.arange(60))
    accuracy = (expected.argmax(1) == fold.targets)[fold.train_rows].mean()
    assert accuracy > 0.5, "three classes"
    (group,) = group_by_backbone([EnsembleMember(network=network, candidate=candidate)], CPU)
    ((_, outputs),) = group.outputs(data.store)
    np.testing.assert_allclose(to_predictions(fold.task, outputs), expected, atol=1e-5)


def test_heads_and_backbones_that_do_not_suit_are_refused(
    registry: Registry, counts: LoadedBackbone, cpu: Device
) -> None:
    with pytest.raises(ConfigError, match=r"takes the heads \['counts_linear'\]"):
        Setup.of(Candidate(backbone="counts", head="ridge"), counts, registry, TASK)
    dense = LoadedBackbone(registry.backbone("test_resnet"), cpu)
    with pytest.raises(ConfigError, match="suits other backbones alone"):
        Setup.of(Candidate(backbone="test_resnet", head="counts_linear"), dense, registry, TASK)
    nameless = LoadedBackbone(BackboneSpec(name="nameless", modality="image", load=Counts), cpu)
    with pytest.raises(PluginError, match="names no heads"):
        Setup.of(Candidate(backbone="nameless", head="ridge"), nameless, registry, TASK)


def space_of(registry: Registry, *names: str, freeze: tuple[str, ...] = ()) -> SearchSpace:
    backbones = [registry.backbone(name) for name in names]
    return SearchSpace.of(
        backbones=backbones,
        heads=offered_heads(registry, Settings(), TASK, 100, backbones),
        policies=registry.select_policies(freeze),
        starts={},
        stages=lambda name: ("a", "b"),
        epochs=5,
        examples=100,
    )


def test_own_head_is_offered_with_its_backbone_alone(registry: Registry) -> None:
    names = [head.name for head in space_of(registry, "test_resnet").heads]
    assert "counts_linear" not in names
    space = space_of(registry, "counts", "test_resnet")
    pairs = {(params["backbone"], params["head"]) for params in space.screening()}
    assert {head for backbone, head in pairs if backbone == "counts"} == {"counts_linear"}
    assert {backbone for backbone, head in pairs if head == "counts_linear"} == {"counts"}
    assert space.tuning("counts", 1) is None
    assert space.tuning("test_resnet", 1) is not None


def test_suggestions_keep_such_a_backbone_frozen(registry: Registry) -> None:
    space = space_of(registry, "counts", "test_resnet")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = []
    for params in [*space.screening(), *[{}] * 40]:
        study.enqueue_trial(params)
        trial = study.ask()
        found.append(space.suggest(trial))
        study.tell(trial, 0.0)
    kinds = {(one.head, one.freeze) for one in found if one.backbone == "counts"}
    assert kinds == {("counts_linear", "frozen")}
    assert "counts_linear" not in {one.head for one in found if one.backbone == "test_resnet"}
    assert len({one.freeze for one in found if one.backbone == "test_resnet"}) > 1


def test_such_a_backbone_needs_a_policy_that_freezes_all(registry: Registry) -> None:
    names = [spec.name for spec in space_of(registry, "counts", "test_resnet", freeze=("full",)).backbones]
    assert names == ["test_resnet"]
    with pytest.raises(ConfigError, match="stay frozen under"):
        space_of(registry, "counts", freeze=("full",))


def test_near_duplicates_are_told_by_a_pretrained_backbone(registry: Registry) -> None:
    specs = [registry.backbone("counts"), registry.backbone("test_resnet")]
    first = load_first(specs, CPU)
    assert first is not None
    assert first.spec.name == "test_resnet"
    assert load_first(specs[:1], CPU) is None
