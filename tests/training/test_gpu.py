"""On a GPU: the features of float32, what trains on them, and batches that halve when its memory runs out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.contract.backbone import Backbone
from autotransfer.contract.specs import BackboneSpec
from autotransfer.features.cache import ActivationCache
from autotransfer.features.extractor import FeatureExtractor
from autotransfer.runtime.device import Device, resolve_device
from autotransfer.training import inputs as feeds
from autotransfer.training.inputs import FeatureFeed
from autotransfer.training.network import Network
from autotransfer_plugins.modalities.image.batches import augment
from autotransfer_plugins.modalities.image.images import Images

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")

Make = Callable[..., Backbone]
MakeImages = Callable[..., Images]


@pytest.fixture
def gpu() -> Device:
    return resolve_device("cuda")


@pytest.fixture
def small(gpu: Device) -> Iterator[Callable[[int], None]]:
    """Leave so many bytes of the GPU to this process, beside what it has."""

    def limit(size: int) -> None:
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(gpu.torch).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + size) / total, gpu.torch)

    yield limit
    torch.cuda.set_per_process_memory_fraction(1.0, gpu.torch)


def load(backbone: Backbone, device: Device) -> LoadedBackbone:
    return LoadedBackbone(BackboneSpec(name="net", modality="image", load=lambda: backbone), device)


def pooled(backbone: Backbone, images: Images, device: Device) -> torch.Tensor:
    extractor = FeatureExtractor(store=images, cache=ActivationCache(None, memory_limit=2**30))
    return torch.from_numpy(extractor.pooled(load(backbone, device)))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_the_features_are_those_of_the_cpu(
    name: str, make_backbone: Make, make_images: MakeImages, gpu: Device, cpu: Device
) -> None:
    images = make_images(count=150)  # a whole batch, and one that is filled up
    found, expected = (pooled(make_backbone(name), images, device) for device in (gpu, cpu))
    assert float(F.cosine_similarity(found, expected).min()) > 0.99


def test_images_and_weights_are_laid_out_alike(make_backbone: Make, make_images: MakeImages, gpu: Device) -> None:
    loaded = load(make_backbone("test_resnet"), gpu)
    images = make_images(count=2, side=80).pixels["center"]
    for strength in ("none", "light"):
        batch = augment(images, loaded.backbone.preprocessing, gpu.torch, strength, torch.Generator())
        assert batch.is_contiguous()
    for net in (loaded.backbone, loaded.frozen):
        assert all(weight.is_contiguous() for weight in net.state_dict().values())


def test_a_lack_of_memory_halves_the_batch(
    make_backbone: Make, make_images: MakeImages, gpu: Device, small: Callable[[int], None]
) -> None:
    images = make_images(count=1000, side=200)  # as many as compiling is tried for
    expected = pooled(make_backbone("test_resnet"), images, gpu)
    small(40 * 2**20)  # a batch of 128 images takes 15 MB, and four times as many as numbers
    found = pooled(make_backbone("test_resnet"), images, gpu)
    assert float(F.cosine_similarity(found, expected).min()) > 0.99


@pytest.mark.parametrize("held", [0, 2**30])
def test_features_that_a_gpu_holds_are_those_of_the_cache(
    held: int, make_backbone: Make, gpu: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "_MAX_BYTES_ON_GPU", held)
    monkeypatch.setattr(feeds, "_CHUNK", 100)
    backbone = make_backbone("test_resnet")
    values = np.random.default_rng(0).random((9, backbone.width), dtype=np.float32).astype(np.float16)
    np.save(tmp_path / "features.npy", values)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    network = Network(backbone, nn.Identity(), (backbone.width,))
    rows = np.array([4, 8, 0, 4])
    found = FeatureFeed([(mapped,)], gpu.torch).outputs(network, rows, None)
    assert found.device == gpu.torch
    np.testing.assert_array_equal(found.cpu().numpy(), values[rows].astype(np.float32))


def test_a_process_that_has_not_used_the_gpu_can_seed_it() -> None:
    code = (
        "import torch; from autotransfer.runtime.device import Device\n"
        "Device(torch=torch.device('cuda', 0), half=None).seed(3); print(torch.cuda.initial_seed())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3"]
