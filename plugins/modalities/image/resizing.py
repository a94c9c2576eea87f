"""Resizing of images as products of matrices: the same numbers in every program that an exported model runs in.

Pillow and torch resize one axis after the other, each pixel as a weighted sum of pixels, and round to whole numbers
after each axis. The ``Resize`` of ONNX has other cubic weights by default, does not round between the axes, and lacks
antialiasing in many programs; products of matrices are the same everywhere.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

__all__ = [
    "apply_rounded",
    "apply_rounded_down_first",
    "fixed_weights",
    "free_weights",
    "pillow_chooses_axis",
    "shrinks_down_first",
]

# Torch rounds the weights for images of 8 bits to as many bits as 16 bits of sign and value have room for.
_MAX_WEIGHT_BITS, _MAX_WEIGHT = 22, 2**15


def free_weights(length: Tensor, out: Tensor, first: Tensor, count: int) -> Tensor:
    """Return Pillow's bicubic weights (count, length) of an axis whose length is known when the model runs.

    Places are whole numbers until they are divided, so that float32 is exact enough for images of any size.

    Args:
        length: The places of the pixels: 0, 1, ... as int64 (length,).
        out: Length of the whole resized axis, int64 ().
        first: The first pixel of it that is wanted, int64 (); beyond its ends, those there are wanted again.
        count: Number of pixels that are wanted.
    """
    given = length.shape[0]
    wanted = first + torch.arange(count, device=length.device)[:, None]
    place = torch.minimum(wanted.clamp(min=0), out - 1)
    distance = (2 * length + 1) * out - (2 * place + 1) * given
    unit = 2 * torch.maximum(out, torch.full_like(out, given))
    weights = _cubic(distance.float() / unit.float())
    return weights / weights.sum(1, keepdim=True)


def fixed_weights(length: int, out: int, kind: Literal["bicubic", "bilinear", "nearest"]) -> Tensor:
    """Return torch's weights (out, length) for images of 8 bits, with antialiasing, rounded as torch rounds them."""
    scale = length / out
    centre = (np.arange(out) + 0.5)[:, None] * scale
    if kind == "nearest":
        chosen = np.minimum(np.floor(centre[:, 0]).astype(np.int64), length - 1)
        return torch.from_numpy(np.eye(length, dtype=np.float32)[chosen])
    distance = torch.from_numpy((np.arange(length) + 0.5 - centre) / max(scale, 1.0))
    weights = _cubic(distance) if kind == "bicubic" else (1 - distance.abs()).clamp(min=0)
    exact = (weights / weights.sum(1, keepdim=True)).numpy()
    bits = 0
    while bits < _MAX_WEIGHT_BITS and int(0.5 + exact.max() * 2 ** (bits + 1)) < _MAX_WEIGHT:
        bits += 1
    rounded = np.trunc(exact * 2**bits + np.copysign(0.5, exact)) / 2**bits
    return torch.from_numpy(rounded.astype(np.float32))


def apply_rounded(pixels: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Return pixels (N, C, height, width) from 0 to 255 resized along the width, then along the height.

    Args:
        pixels: Whole numbers as float32.
        across: Weights (new width, width).
        down: Weights (new height, height).
    """
    return _rounded(down @ _rounded(pixels @ across.T))


def apply_rounded_down_first(pixels: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Return the same, resized along the height first: what is rounded in between differs by a level here and there."""
    return _rounded(_rounded(down @ pixels) @ across.T)


@cache
def pillow_chooses_axis() -> bool:
    """Whether Pillow resizes along the height first where that axis shrinks by far more, as it does from 13 on."""
    tall = np.random.default_rng(0).integers(0, 256, (40, 20), dtype=np.uint8)
    whole, down = (Image.fromarray(tall).resize(size, Image.Resampling.BICUBIC) for size in ((18, 10), (20, 10)))
    return whole.tobytes() == down.resize((18, 10), Image.Resampling.BICUBIC).tobytes()


def shrinks_down_first(height: Tensor, width: Tensor, new_height: Tensor, new_width: Tensor) -> Tensor:
    """Whether a Pillow that chooses the axis begins with the height; all are int64 ()."""
    shorter = height - new_height
    return (shorter > 2 * (width - new_width)) & (shorter > 0)


def _rounded(values: Tensor) -> Tensor:
    return (values + 0.5).floor().clamp(0, 255)


def _cubic(x: Tensor) -> Tensor:
    """Return Keys' cubic kernel with a = -0.5, as Pillow has it and torch where it smooths."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
