"""From stored uint8 squares to what a backbone takes: fixed views, and augmentation of whole batches on the device."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from autotransfer.errors import ConfigError
from autotransfer.runtime.device import memory_format_for
from autotransfer_plugins.modalities.image.formats import COLOURS, Preprocessing
from autotransfer_plugins.modalities.image.modality import AUGMENTATIONS, VIEWS

__all__ = ["AUGMENTATIONS", "LUMA", "VIEWS", "augment", "box_of_view", "frame_of", "prepare"]

# Fixed views that a frozen prefix may see: (flipped, crop centre y, crop centre x, share of the side).
_VIEW_BOXES: dict[str, tuple[bool, float, float, float]] = {
    "center": (False, 0.5, 0.5, 1.0),
    "flip": (True, 0.5, 0.5, 1.0),
    "top_left": (False, 0.0, 0.0, 0.85),
    "bottom_right": (True, 1.0, 1.0, 0.85),
    "top_right": (True, 0.0, 1.0, 0.85),
    "bottom_left": (False, 1.0, 0.0, 0.85),
}

# How bright red, green and blue are (ITU-R BT.601), as in Pillow.
LUMA = (0.299, 0.587, 0.114)
# Strength -> (smallest share of the side that a crop keeps, rotation in degrees, change of brightness and contrast).
_STRENGTHS = {"light": (0.85, 0.0, 0.1), "medium": (0.65, 10.0, 0.25), "strong": (0.5, 20.0, 0.4)}


def prepare(pixels: np.ndarray, how: Preprocessing, device: torch.device, view: str = "center") -> Tensor:
    """Turn stored squares into the normalised input of a backbone.

    Args:
        pixels: uint8 (N, side, side, C).
        how: What the backbone wants.
        device: Where the result lives.
        view: One of ``VIEWS``.

    Returns:
        float32 (N, C, height, width), in the memory layout that suits the device.
    """
    flipped, (top, left, height, width) = box_of_view(how, view)
    batch = _channels_first(pixels, how).to(device)
    frame = frame_of(how)
    if batch.shape[2:] != frame:
        batch = _resize(batch, frame, how)
    batch = batch[:, :, top : top + height, left : left + width]
    if (height, width) != how.size:
        batch = _resize(batch, how.size, how)
    if flipped:
        batch = batch.flip(-1)
    return normalise(batch, how)


def augment(
    pixels: np.ndarray, how: Preprocessing, device: torch.device, strength: str, rng: torch.Generator
) -> Tensor:
    """Like ``prepare``, with a random crop, flip, rotation, brightness and contrast for each image.

    Channels that are neither grey nor colours keep their brightness and contrast: they are measurements. The whole
    batch is sampled with one affine grid on the device, not image by image.
    """
    if strength == "none":
        return prepare(pixels, how, device)
    smallest, degrees, jitter = _STRENGTHS[strength]
    batch = _channels_first(pixels, how).to(device)
    n, (height, width), frame = len(batch), how.size, frame_of(how)
    if batch.shape[2] > max(frame):
        batch = _resize(batch, frame, how)  # sampling a grid does not smooth, as resizing does
    batch = batch.float()
    keep_y, keep_x = height / frame[0], width / frame[1]

    def uniform(low: float, high: float) -> Tensor:
        return (torch.rand(n, generator=rng) * (high - low) + low).to(device)

    scale = uniform(smallest, max(keep_y, keep_x) ** -0.5)
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    angle = uniform(-degrees, degrees) * math.pi / 180
    cos, sin, h, w = angle.cos(), angle.sin(), scale * keep_y, scale * keep_x
    left, top = uniform(-1, 1) * (1 - w).clamp(min=0), uniform(-1, 1) * (1 - h).clamp(min=0)
    theta = torch.stack(
        [torch.stack([cos * w * mirror, -sin * h, left], 1), torch.stack([sin * w * mirror, cos * h, top], 1)], 1
    )
    grid = F.affine_grid(theta, [n, how.channels, *how.size], align_corners=False)
    batch = F.grid_sample(batch, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    if how.channels in COLOURS:
        middle = batch.mean((1, 2, 3), keepdim=True)
        contrast, brightness = uniform(1 - jitter, 1 + jitter), uniform(1 - jitter, 1 + jitter)
        batch = ((batch - middle) * contrast.view(-1, 1, 1, 1) + middle) * brightness.view(-1, 1, 1, 1)
    return normalise(batch.clamp_(0, 255), how)


def normalise(batch: Tensor, how: Preprocessing) -> Tensor:
    """Turn values in 0..255 (N, C, H, W) into what the backbone's training data looked like."""
    mean = torch.tensor(how.mean, device=batch.device).view(1, -1, 1, 1) * 255
    std = torch.tensor(how.std, device=batch.device).view(1, -1, 1, 1) * 255
    scaled = batch.to(torch.float32, copy=True, memory_format=memory_format_for(batch.device))
    return scaled.sub_(mean).div_(std)


def _channels_first(pixels: np.ndarray, how: Preprocessing) -> Tensor:
    """Return uint8 (N, C, side, side); colours become grey for a backbone that takes one channel."""
    batch = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
    if how.channels == batch.shape[1]:
        return batch
    if how.channels > 1 or batch.shape[1] != len(LUMA):
        raise ConfigError(
            f"The images have {batch.shape[1]} channels, and the backbone takes {how.channels}: name it as "
            f"NAME@{batch.shape[1]}channels."
        )
    grey = (batch.float() * torch.tensor(LUMA).view(1, -1, 1, 1)).sum(1, keepdim=True)
    return grey.round().to(torch.uint8)


def box_of_view(how: Preprocessing, view: str) -> tuple[bool, tuple[int, int, int, int]]:
    """Return whether a view is flipped, and its top, left, height and width in the frame, in pixels."""
    flipped, y, x, share = _VIEW_BOXES[view]
    frame = frame_of(how)
    # A crop moves inside the whole frame, so that it sees more than the centre crop does.
    height, width = (round(side * share) for side in how.size)
    return flipped, (round((frame[0] - height) * y), round((frame[1] - width) * x), height, width)


def frame_of(how: Preprocessing) -> tuple[int, int]:
    """Return height and width of the resized image that the centre crop is taken from."""
    if how.crop_mode == "center":
        return how.resized, how.resized
    height, width = (side * how.resized // max(how.size) for side in how.size)
    return height, width


def _resize(batch: Tensor, size: tuple[int, int], how: Preprocessing) -> Tensor:
    if batch.device.type != "cpu":
        batch = batch.float()  # only the CPU resizes uint8
    if how.interpolation == "nearest":
        return F.interpolate(batch, size=size, mode="nearest-exact")
    resized = F.interpolate(batch, size=size, mode=how.interpolation, antialias=True)
    return resized if resized.dtype == torch.uint8 else resized.clamp(0, 255)
