"""Resizing by products of matrices gives the pixels of Pillow and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from autotransfer_plugins.modalities.image.resizing import (
    apply_rounded,
    apply_rounded_down_first,
    fixed_weights,
    free_weights,
    pillow_chooses_axis,
    shrinks_down_first,
)

RNG = np.random.default_rng(0)


def weights(length: int, out: int) -> torch.Tensor:
    return free_weights(torch.arange(length), torch.tensor(out), torch.tensor(0), out)


@pytest.mark.parametrize(
    ("given", "wanted"), [((60, 50), (23, 41)), ((20, 31), (64, 64)), ((200, 40), (30, 30)), ((16, 90), (16, 33))]
)
def test_free_weights_give_the_pixels_of_pillow(given: tuple[int, int], wanted: tuple[int, int]) -> None:
    # Noise is the hardest: every pixel is rounded up or down. Pillow rounds its weights, so that a few are on the edge.
    noise = RNG.integers(0, 256, (*given, 3), dtype=np.uint8)
    resized = np.asarray(Image.fromarray(noise).resize(wanted[::-1], Image.Resampling.BICUBIC))
    (height, width), (high, wide) = given, wanted
    down_first = shrinks_down_first(*map(torch.tensor, (height, width, high, wide))) and pillow_chooses_axis()
    apply = apply_rounded_down_first if down_first else apply_rounded
    pixels = torch.from_numpy(noise).permute(2, 0, 1)[None].float()
    found = apply(pixels, weights(width, wide), weights(height, high))[0].permute(1, 2, 0).numpy()
    assert np.abs(found - resized).max() <= 1
    assert (found != resized).mean() < 0.002


def test_a_tall_image_shrinks_along_its_height_first() -> None:
    assert shrinks_down_first(*map(torch.tensor, (200, 40, 30, 30)))
    assert not shrinks_down_first(*map(torch.tensor, (60, 50, 50, 45)))


@pytest.mark.parametrize("kind", ["bicubic", "bilinear", "nearest"])
@pytest.mark.parametrize(("length", "out"), [(40, 32), (40, 27), (33, 64), (256, 224)])
def test_fixed_weights_give_the_pixels_of_torch(kind: str, length: int, out: int) -> None:
    noise = torch.from_numpy(RNG.integers(0, 256, (2, 3, length, length), dtype=np.uint8))
    mode, smooth = ("nearest-exact", False) if kind == "nearest" else (kind, True)
    resized = F.interpolate(noise, size=(out, out), mode=mode, antialias=smooth)
    both = fixed_weights(length, out, kind)  # type: ignore[arg-type]
    assert torch.equal(apply_rounded(noise.float(), both, both), resized.float())
