"""Features of examples of unequal length: passed by length, cached without padding, the same in every batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fixtures.lengths import WIDTH, SequenceFormat, SequenceStore

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.features.batches import BatchSize, in_batches
from autotransfer.features.cache import ActivationCache
from autotransfer.features.extractor import FeatureExtractor
from autotransfer.features.ragged import Ragged
from autotransfer.features.speed import measure_seconds_per_example

FORMAT = SequenceFormat()


@pytest.fixture
def extractor(sequences: SequenceStore) -> FeatureExtractor:
    return FeatureExtractor(store=sequences, cache=ActivationCache(None, memory_limit=10**8))


@pytest.fixture
def alone(loaded_sequence_net: LoadedBackbone, sequences: SequenceStore) -> np.ndarray:
    """The pooled features of each example, passed without others and so without padding."""
    rows = (sequences.inputs(np.array([row]), FORMAT, torch.device("cpu")) for row in range(len(sequences)))
    with torch.no_grad():
        return np.concatenate([loaded_sequence_net.backbone(inputs).numpy() for inputs in rows])


def test_features_do_not_depend_on_the_batch(
    loaded_sequence_net: LoadedBackbone, extractor: FeatureExtractor, alone: np.ndarray
) -> None:
    np.testing.assert_allclose(extractor.pooled(loaded_sequence_net), alone, atol=1e-5)


def test_longest_examples_pass_first(loaded_sequence_net: LoadedBackbone, extractor: FeatureExtractor) -> None:
    store = extractor.store
    assert isinstance(store, SequenceStore)
    many = replace(store.take(np.tile(np.arange(60), 10)), digests=tuple(map(str, range(600))))
    replace(extractor, store=many).pooled(loaded_sequence_net)
    lengths = [length for _, length in store.passed]
    assert lengths == sorted(lengths, reverse=True)
    assert sum(rows for rows, _ in store.passed) == 600
    assert len(lengths) > 1


@pytest.mark.parametrize("depth", [1, 3])
def test_activations_are_cached_without_padding(
    loaded_sequence_net: LoadedBackbone, extractor: FeatureExtractor, alone: np.ndarray, depth: int
) -> None:
    (cached,) = extractor.at(loaded_sequence_net, depth)
    assert isinstance(cached, Ragged)
    assert cached.values.shape == (extractor.store.lengths(FORMAT).sum(), WIDTH)
    np.testing.assert_allclose(extractor.pooled(loaded_sequence_net), alone, atol=1e-5)
    assert extractor.cache.computed == 2


def test_maps_are_cached_without_padding_and_pooled(
    loaded_sequence_net: LoadedBackbone, extractor: FeatureExtractor, alone: np.ndarray
) -> None:
    (cached,) = extractor.at(loaded_sequence_net, loaded_sequence_net.depths, head_takes="map")
    assert isinstance(cached, Ragged)
    np.testing.assert_allclose(extractor.pooled(loaded_sequence_net), alone, atol=1e-5)


def test_boundaries_cached_along_the_way_are_ragged(
    loaded_sequence_net: LoadedBackbone, sequences: SequenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A tiny net is computed faster than read, so that nothing would be worth its place.
    monkeypatch.setattr("autotransfer.features.extractor._MAX_BYTES_PER_SECOND_SAVED", 1e12)
    extractor = FeatureExtractor(store=sequences, cache=ActivationCache(None, memory_limit=10**8), ahead=2, staged=True)
    extractor.pooled(loaded_sequence_net)
    known = extractor.cache.computed
    cached = [extractor.at(loaded_sequence_net, depth)[0] for depth in (2, 3)]
    (stages,) = extractor.at(loaded_sequence_net, loaded_sequence_net.depths, head_takes="stages")
    assert extractor.cache.computed == known == 4
    fresh = FeatureExtractor(store=sequences, cache=ActivationCache(None, memory_limit=10**8))
    for depth, found in zip((2, 3), cached, strict=True):
        (own,) = fresh.at(loaded_sequence_net, depth)
        assert isinstance(own, Ragged)
        assert isinstance(found, Ragged)
        np.testing.assert_allclose(found.values, own.values, atol=1e-5)
    assert stages.shape == (60, (3 * 8 + 1) * WIDTH)


def test_sample_passes_first_each_part_by_length(
    loaded_sequence_net: LoadedBackbone, sequences: SequenceStore, alone: np.ndarray
) -> None:
    sample = np.arange(0, 60, 3)
    cache = ActivationCache(None, memory_limit=10**8)
    extractor = FeatureExtractor(store=sequences, cache=cache, sample=sample)
    seen: list[np.ndarray | None] = []
    found = extractor.pooled(loaded_sequence_net, look=lambda: seen.append(extractor.sampled(loaded_sequence_net)))
    np.testing.assert_allclose(seen[0], alone[sample], atol=1e-5)
    np.testing.assert_allclose(found, alone, atol=1e-5)


def test_batches_hold_no_more_positions_than_asked_for() -> None:
    lengths = np.array([9, 9, 4, 4, 3, 40, 2, 2, 2])
    parts = [part for part, _ in in_batches(lambda part: part, 9, BatchSize((12,)), lengths=lengths)]
    assert [(part.start, part.stop) for part in parts] == [(0, 1), (1, 2), (2, 5), (5, 6), (6, 9)]


def test_batch_of_lengths_halves_when_memory_ends() -> None:
    rows: list[int] = []

    def compute(part: slice) -> None:
        if part.stop - part.start > 2:
            raise MemoryError
        rows.append(part.stop - part.start)

    list(in_batches(compute, 8, BatchSize((80,)), lengths=np.full(8, 10)))
    assert rows == [2, 2, 2, 2]


def test_speed_is_measured_on_examples_near_the_mean(
    loaded_sequence_net: LoadedBackbone, sequences: SequenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    rare = replace(sequences, arrays={**sequences.arrays, "lengths": np.array([12] * 4 + [3] * 56)})
    monkeypatch.setattr("autotransfer.features.speed.batch_sizes", lambda device, lengths: (80,))
    assert measure_seconds_per_example(loaded_sequence_net, rare) > 0
    assert rare.passed[-2:] == [(26, 3)] * 2
