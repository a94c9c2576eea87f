"""Training and prediction on examples of unequal length: no way into the network sees padding."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from fixtures.lengths import WIDTH, SequenceFormat, SequenceStore
from torch import nn

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.candidate import Candidate
from autotransfer.contract.specs import FreezePlan, Phase
from autotransfer.data.folds import Fold
from autotransfer.features.cache import ActivationCache
from autotransfer.features.extractor import FeatureExtractor
from autotransfer.model.ensemble_member import EnsembleMember
from autotransfer.model.inference import group_by_backbone
from autotransfer.runtime.device import Device
from autotransfer.tasks.task import Task
from autotransfer.training.inputs import BoundaryFeed, FeatureFeed, Feed, InputFeed
from autotransfer.training.network import Network
from autotransfer.training.settings import TrainingSettings
from autotransfer.training.trainer import Training

CPU = torch.device("cpu")


class FlatMap(nn.Module):
    """A head that looks at each place of a map, so that a map of another size does not fit."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH * 12, 2)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (N, C, h, w) to outputs."""
        return self.linear(features.flatten(1))  # type: ignore[no-any-return]


def network_on(loaded: LoadedBackbone, takes: Literal["pooled", "map"]) -> Network:
    torch.manual_seed(0)
    head, shape = (FlatMap(), (WIDTH, 12, 1)) if takes == "map" else (nn.Linear(WIDTH, 2), (WIDTH,))
    return Network(loaded.copy(), head, shape, head_takes=takes).eval()


def outputs_alone(network: Network, store: SequenceStore) -> torch.Tensor:
    feed = InputFeed(store, "none", CPU)
    with torch.no_grad():
        return torch.cat([feed.outputs(network, np.array([row]), None) for row in range(len(store))])


@pytest.mark.parametrize("takes", ["pooled", "map"])
@pytest.mark.parametrize("way", ["inputs", "boundary", "features"])
def test_outputs_do_not_depend_on_the_batch(
    loaded_sequence_net: LoadedBackbone, sequences: SequenceStore, takes: Literal["pooled", "map"], way: str
) -> None:
    network = network_on(loaded_sequence_net, takes)
    extractor = FeatureExtractor(store=sequences, cache=ActivationCache(None, memory_limit=10**8))
    feed: Feed = InputFeed(sequences, "none", CPU)
    if way == "boundary":
        cut = loaded_sequence_net.cut(2)
        feed = BoundaryFeed([extractor.at(loaded_sequence_net, 2)], cut, CPU, sequences)
    elif way == "features":
        depth = loaded_sequence_net.depths
        feed = FeatureFeed([extractor.at(loaded_sequence_net, depth, head_takes=takes)], CPU)
    with torch.no_grad():
        found = feed.outputs(network, np.arange(60), None)
    torch.testing.assert_close(found, outputs_alone(network, sequences), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("takes", ["pooled", "map"])
def test_a_model_predicts_each_example_as_if_alone(
    loaded_sequence_net: LoadedBackbone, sequences: SequenceStore, cpu: Device, takes: Literal["pooled", "map"]
) -> None:
    network = network_on(loaded_sequence_net, takes)
    (group,) = group_by_backbone([EnsembleMember(network=network, candidate=Candidate(backbone="sequence_net"))], cpu)
    ((_, found),) = group.outputs(sequences)
    torch.testing.assert_close(found, outputs_alone(network, sequences), atol=1e-5, rtol=1e-4)


@pytest.fixture
def fold() -> Fold:
    targets = np.arange(60) % 2
    task = Task(kind="binary", classes=(0, 1))
    return Fold(task=task, targets=targets, train_rows=np.arange(40), validation_rows=np.arange(59, 39, -1))


def training_on(loaded: LoadedBackbone, store: SequenceStore, fold: Fold, device: Device) -> Training:
    feed = InputFeed(store, "none", CPU, lengths=store.lengths(SequenceFormat()))
    plan = FreezePlan(phases=(Phase(start=0.0, depth=2),))
    settings = replace(TrainingSettings(), epochs=2, batch_size=8)
    network = network_on(loaded, "pooled")
    return Training(network, plan, settings, fold, lambda depth: feed, device, autocast=False, seed=0)


def test_predictions_keep_the_order_of_the_rows(
    loaded_sequence_net: LoadedBackbone, sequences: SequenceStore, fold: Fold, cpu: Device
) -> None:
    training = training_on(loaded_sequence_net, sequences, fold, cpu)
    found = training.predict(fold.validation_rows, 2)
    assert [length for _, length in sequences.passed][-1:] == [sequences.lengths(SequenceFormat())[40:].max()]
    expected = outputs_alone(training.network, sequences)[fold.validation_rows].softmax(1)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_an_epoch_passes_batches_of_similar_length(
    loaded_sequence_net: LoadedBackbone, sequences: SequenceStore, fold: Fold, cpu: Device
) -> None:
    training = training_on(loaded_sequence_net, sequences, fold, cpu)
    sequences.passed.clear()
    training._train_epoch(2, lambda: False)
    assert [rows for rows, _ in sequences.passed] == [8] * 5
    padded = sum(rows * length for rows, length in sequences.passed)
    assert padded < 1.2 * sequences.lengths(SequenceFormat())[:40].sum()


def test_equal_seeds_train_equal_networks(
    loaded_sequence_net: LoadedBackbone, sequences: SequenceStore, fold: Fold, cpu: Device
) -> None:
    both = [training_on(loaded_sequence_net, sequences, fold, cpu) for _ in range(2)]
    for training in both:
        training.run(2, lambda *epoch: False, lambda: False)
    first, second = (training.network.state_dict() for training in both)
    assert all(torch.equal(first[name], second[name]) for name in first)
