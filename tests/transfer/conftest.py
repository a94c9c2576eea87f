"""What the tests of training and features share: real, tiny backbones and decoded images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import timm
import torch

from autotransfer.data.examples import Images
from autotransfer.transfer.device import Device
from autotransfer_plugins.backbones._recipe import Recipe, strip_classifier
from autotransfer_plugins.backbones.timm import TimmBackbone

_SIDE = 64
# How timm shrinks the input of those whose weights depend on it.
_ARGS = {"test_vit": {"img_size": _SIDE}}


@pytest.fixture
def cpu() -> Device:
    """The CPU in float32, whatever this one could do."""
    return Device(torch=torch.device("cpu"), half=None)


@pytest.fixture
def make_backbone() -> Callable[..., TimmBackbone]:
    """Build one of timm's test models with random weights, for images of 64 px, in eval mode."""

    def make(name: str, seed: int = 0) -> TimmBackbone:
        torch.manual_seed(seed)
        model = timm.create_model(name, num_classes=2, **_ARGS.get(name, {}))
        strip_classifier(model)
        how = {"input_size": [3, _SIDE, _SIDE], "num_classes": 2}
        recipe = {"architecture": name, "model_args": _ARGS.get(name, {}), "pretrained_cfg": how}
        return TimmBackbone(model, Recipe.from_json(recipe, "test")).eval()

    return make


@pytest.fixture
def make_images() -> Callable[..., Images]:
    """Make noise of two kinds that a net can tell apart: even rows are dark, odd rows are light."""

    def make(count: int = 12, side: int = 73, seed: int = 0) -> Images:
        rng = np.random.default_rng(seed)
        pixels = rng.integers(0, 156, (count, side, side, 3), dtype=np.uint8)
        pixels[1::2] += 100
        digests = tuple(f"{seed}-{side}-{i}" for i in range(count))
        both = {"center": pixels, "squash": pixels}
        return Images(pixels=both, digests=digests, kept=np.arange(count), decoded=count, side=side)

    return make
