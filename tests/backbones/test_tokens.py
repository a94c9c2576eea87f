"""Backbones that take whole numbers and a mask: cut, cached and trained as those are that take floats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autotransfer.backbones.cut import Cut
from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import Inputs, Modality, Store
from autotransfer.contract.specs import BackboneSpec
from autotransfer.features.cache import ActivationCache
from autotransfer.features.extractor import FeatureExtractor
from autotransfer.runtime.device import Device
from autotransfer.testing import check_backbone
from autotransfer.training.inputs import BoundaryFeed, InputFeed
from autotransfer.training.network import Network

CPU = torch.device("cpu")
WORDS, LENGTH, WIDTH = 50, 12, 16


@dataclass(frozen=True)
class TokenFormat:
    """Tokens of texts of different lengths, with their mask."""

    def probe(self, count: int, seed: int = 0) -> dict[str, Tensor]:
        """Return random tokens."""
        ids = torch.randint(1, WORDS, (count, LENGTH), generator=torch.Generator().manual_seed(seed))
        mask = torch.arange(LENGTH) < LENGTH - 2 * torch.arange(count)[:, None] % LENGTH
        return {"ids": ids * mask, "mask": mask}

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {}


class Encoder(Backbone):
    """Embeddings and three transformer layers, which get a mask that is made of the one that is given."""

    def __init__(self) -> None:
        stages = ("embedding", "layer0", "layer1", "layer2")
        super().__init__(stages=stages, preprocessing=TokenFormat(), width=WIDTH, recipe={"plugin": "tokens"})
        self.embedding = nn.Embedding(WORDS, WIDTH)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, 2, 32, dropout=0.0, batch_first=True) for _ in range(3)
        )

    def stage_of(self, parameter: str) -> int:
        """Return the stage of a parameter."""
        return 0 if parameter.startswith("embedding") else 1 + int(parameter.split(".")[1])

    def forward_map(self, inputs: Any) -> Tensor:
        """Return tokens (N, LENGTH, WIDTH)."""
        features = self.embedding(inputs["ids"])
        absent = torch.zeros(inputs["mask"].shape, dtype=features.dtype).masked_fill(~inputs["mask"], float("-inf"))
        for layer in self.layers:
            features = layer(features, src_key_padding_mask=absent)
        return features

    def pool(self, features: Tensor, inputs: Any = None) -> Tensor:
        """Return the mean over what is there."""
        mask = inputs["mask"].unsqueeze(-1)
        return features.masked_fill(~mask, 0.0).sum(1) / mask.sum(1)


class Text(Modality):
    """A modality of tokens."""

    name = "tokens"


@dataclass(frozen=True, kw_only=True)
class TokenStore(Store):
    """Tokens with their mask."""

    def inputs(self, rows: Any, how: Any, device: torch.device, view: str | None = None) -> Inputs:
        """Return tokens and mask."""
        return {name: torch.from_numpy(array[rows]) for name, array in self.arrays.items()}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """An encoder with fixed random weights."""
    torch.manual_seed(0)
    return Encoder().eval()


@pytest.fixture
def store() -> TokenStore:
    """Nine texts."""
    given = TokenFormat().probe(9, seed=2)
    arrays = {name: tensor.numpy() for name, tensor in given.items()}
    return TokenStore(modality=Text(), arrays=arrays, digests=tuple(map(str, range(9))), kept=np.arange(9))


@pytest.fixture
def loaded(encoder: Encoder) -> LoadedBackbone:
    """The encoder on the CPU, in float32."""
    spec = BackboneSpec(name="encoder", modality="tokens", load=lambda: encoder)
    return LoadedBackbone(spec, Device(torch=CPU, half=None))


def test_token_backbone_keeps_the_contract(encoder: Encoder) -> None:
    check_backbone(encoder)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_cut_of_tokens_is_exact_and_caches_no_mask(encoder: Encoder, depth: int) -> None:
    cut = Cut(encoder, depth, TokenFormat().probe(3), TokenFormat().probe(3, seed=1))
    assert cut.reason == ""
    assert cut.joins
    assert cut.numbers == LENGTH * WIDTH, "only activations are cached"
    inputs = TokenFormat().probe(7, seed=3)
    with torch.no_grad():
        cached = cut.prefix(encoder, inputs)
        assert [tuple(tensor.shape) for tensor in cached] == [(7, LENGTH, WIDTH)]
        torch.testing.assert_close(cut.suffix(encoder, cached, inputs=inputs), encoder(inputs))


def test_suffix_without_the_inputs_is_refused(encoder: Encoder) -> None:
    inputs = TokenFormat().probe(3)
    cut = Cut(encoder, 2, inputs)
    with torch.no_grad(), pytest.raises(ValueError, match="give them"):
        cut.suffix(encoder, cut.prefix(encoder, inputs))


def test_another_mask_gives_other_features(encoder: Encoder) -> None:
    inputs = TokenFormat().probe(3)
    cut = Cut(encoder, 2, inputs)
    with torch.no_grad():
        cached = cut.prefix(encoder, inputs)
        shorter = {**inputs, "mask": inputs["mask"] & (torch.arange(LENGTH) < 3)}
        assert not torch.allclose(cut.suffix(encoder, cached, inputs=shorter), encoder(inputs))


def test_features_of_tokens_go_on_from_the_cache(loaded: LoadedBackbone, store: TokenStore, tmp_path: Path) -> None:
    extractor = FeatureExtractor(store=store, cache=ActivationCache(tmp_path, memory_limit=10**8))
    with torch.no_grad():
        whole = loaded.backbone(store.inputs(slice(None), None, CPU)).numpy()
    (cached,) = extractor.at(loaded, 2)
    assert cached.shape == (9, LENGTH, WIDTH)
    np.testing.assert_allclose(extractor.pooled(loaded), whole, atol=1e-5)
    (mapped,) = extractor.at(loaded, loaded.depths, head_takes="map")
    assert mapped.shape == (9, LENGTH, WIDTH)
    fresh = FeatureExtractor(store=store, cache=ActivationCache(None, memory_limit=10**8))
    fresh.at(loaded, loaded.depths, head_takes="map")
    np.testing.assert_allclose(fresh.pooled(loaded), whole, atol=1e-5)


def test_training_from_the_boundary_joins_the_masks_of_its_rows(loaded: LoadedBackbone, store: TokenStore) -> None:
    extractor = FeatureExtractor(store=store, cache=ActivationCache(None, memory_limit=10**8))
    network = Network(loaded.copy(), nn.Linear(WIDTH, 2), (WIDTH,)).eval()
    rows = np.array([8, 0, 3])
    boundary = BoundaryFeed([extractor.at(loaded, 2)], loaded.cut(2), CPU, store)
    whole = InputFeed(store, "none", CPU)
    with torch.no_grad():
        torch.testing.assert_close(boundary.outputs(network, rows, None), whole.outputs(network, rows, None))
