"""What the tests of training and features share: real, tiny backbones and decoded images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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


# One architecture of each timm family, with random weights, as small as the family allows: (input side, arguments).
FAMILIES: dict[str, tuple[int, Mapping[str, Any]]] = {
    "test_byobnet": (64, {}),
    "cait_xxs24_224": (64, {"img_size": 64, "depth": 3}),
    "convit_tiny": (64, {"img_size": 64, "depth": 4, "local_up_to_layer": 2}),
    "test_convnext": (64, {}),
    "cpubone_nano": (64, {}),
    "cs3darknet_focus_s": (64, {}),
    "cspnext_tiny": (64, {}),
    "davit_tiny": (64, {"embed_dims": (8, 16, 32, 64), "num_heads": (1, 2, 4, 8)}),
    "deit_tiny_distilled_patch16_224": (64, {"img_size": 64, "depth": 3}),
    "densenet121": (64, {"block_config": (2, 2, 2)}),
    "dla46x_c": (64, {}),
    "edgenext_xx_small": (64, {}),
    "efficientformerv2_s0": (64, {"img_size": 64}),
    "test_efficientnet": (64, {}),
    "efficientvit_b0": (64, {}),
    "efficientvit_m1": (64, {"img_size": 64}),
    "eva02_tiny_patch14_224": (56, {"img_size": 56, "depth": 3}),
    "fasternet_t0": (64, {}),
    "repghostnet_050": (64, {}),
    "hgnetv2_b0": (64, {}),
    "hiera_tiny_224": (64, {"img_size": 64, "embed_dim": 16, "stages": (1, 1, 2, 1)}),
    "inception_next_atto": (64, {}),
    "lcnetv2_small": (64, {}),
    "levit_128s": (64, {"img_size": 64}),
    "test_mambaout": (64, {}),
    "test_coatnet": (64, {"img_size": 64}),
    "test_maxvit": (64, {"img_size": 64}),
    "poolformerv2_s12": (64, {}),
    "mobilenetv3_small_050": (64, {}),
    "mobilevit_xxs": (64, {}),
    "test_nfnet": (64, {}),
    "pit_ti_224": (64, {"img_size": 64}),
    "pvt_v2_b0": (64, {}),
    "regnetx_002": (64, {}),
    "repvit_m1": (64, {}),
    "test_resnet": (64, {}),
    "resnetv2_18": (64, {}),
    "legacy_seresnet18": (64, {}),
    "shvit_s1": (64, {}),
    "skresnet18": (64, {}),
    "starnet_s050": (64, {}),
    "swiftformer_xs": (64, {}),
    "swin_tiny_patch4_window7_224": (64, {"img_size": 64, "depths": (1, 1, 2, 1), "embed_dim": 24}),
    "swinv2_tiny_window8_256": (64, {"img_size": 64, "depths": (1, 1, 2, 1), "embed_dim": 24}),
    "tiny_vit_5m_224": (64, {"depths": (1, 1, 1, 1)}),
    "tnt_s_patch16_224": (64, {"img_size": 64, "depth": 3}),
    "twins_svt_small": (64, {"img_size": 64, "depths": (1, 1, 2, 1)}),
    "visformer_tiny": (64, {"img_size": 64, "depth": (2, 2, 2)}),
    "test_vit": (64, {"img_size": 64}),
    "vit_tiny_patch16_dinov3_qkvb": (64, {"img_size": 64, "depth": 3}),
    "vit_tiny_r_s16_p8_224": (64, {"img_size": 64, "depth": 3}),
    "test_vit_relpos": (64, {"img_size": 64}),
    "ese_vovnet19b_slim_dw": (64, {}),
    "xcit_nano_12_p8_224": (64, {"img_size": 64, "depth": 3}),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "any_family" in metafunc.fixturenames:
        metafunc.parametrize("any_family", FAMILIES)


@pytest.fixture(scope="session")
def build_family() -> Callable[..., TimmBackbone]:
    """Build an architecture of ``FAMILIES``, or another one with these arguments, in eval mode."""

    def build(architecture: str, how: tuple[int, Mapping[str, Any]] | None = None) -> TimmBackbone:
        side, args = how or FAMILIES[architecture]
        torch.manual_seed(0)
        model = timm.create_model(architecture, num_classes=2, **args)
        strip_classifier(model)
        config = {"input_size": [3, side, side], "num_classes": 2}
        recipe = {"architecture": architecture, "pretrained_cfg": config}
        return TimmBackbone(model, Recipe.from_json(recipe, "test")).eval()

    return build


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
