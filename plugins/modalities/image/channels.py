"""Images of other channels than grey or colours: squares of each channel, and which of its values are black and white.

The channels of such images measure different things, such as bands of light, stains or heights, so that each has a
range of its own. It is decided once, over the training images: 8-bit values are 0..255, or those of few levels up to
the next power of two. Other values go from the mean less three standard deviations to the mean and three more, as far
as there are such values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from autotransfer.errors import UnreadableExampleError
from autotransfer_plugins.modalities.image.formats import CropMode
from autotransfer_plugins.modalities.image.squares import OVERSHOOT, QUANTIZATION_STEP, quantized, square
from autotransfer_plugins.modalities.image.value_range import Range, next_power_of_two

__all__ = ["ChannelValues", "channel_squares", "decide_channel_ranges", "shade_channels"]

# 8-bit values that never exceed this are of few levels.
_MAX_LEVELS = 16
# The squares of larger values are infinite in float64.
_MAX_VALUE = 1e150
# How far from the mean black and white are, in standard deviations.
_SPREAD = 3.0


@dataclass(frozen=True, kw_only=True)
class ChannelValues:
    """What the values of an image are in each channel.

    Attributes:
        low: The least (C,).
        high: The greatest (C,).
        mean: The mean (C,).
        square: The mean of the squares (C,).
        bits: Whether the values have 8 bits.
    """

    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    square: np.ndarray
    bits: bool

    @classmethod
    def of(cls, image: np.ndarray) -> ChannelValues:
        """Measure an image (H, W, C) of finite numbers.

        Raises:
            UnreadableExampleError: Its values are too great to compute with.
        """
        values = image.reshape(-1, image.shape[-1]).astype(np.float64)
        low, high = values.min(0), values.max(0)
        if max(np.abs(low).max(), np.abs(high).max()) > _MAX_VALUE:
            raise UnreadableExampleError(f"its values are too great to compute with: {low.min():.4g}..{high.max():.4g}")
        mean = values.mean(0)
        return cls(low=low, high=high, mean=mean, square=np.square(values).mean(0), bits=image.dtype == np.uint8)


def channel_squares(
    image: np.ndarray, values: ChannelValues, modes: Sequence[CropMode], side: int
) -> dict[CropMode, np.ndarray]:
    """Return squares uint16 (side, side, C) by crop mode: where each value lies between the channel's two ends."""
    width = np.where(values.high > values.low, values.high - values.low, 1.0)
    shares = [
        Image.fromarray(((image[..., i] - values.low[i]) / width[i]).astype(np.float32)) for i in range(image.shape[-1])
    ]
    return {mode: quantized(np.stack([np.asarray(square(each, mode, side)) for each in shares], -1)) for mode in modes}


def shade_channels(found: np.ndarray, values: ChannelValues, allowed: Sequence[Range]) -> np.ndarray:
    """Return squares of ``channel_squares`` in 8 bits, from black to white of each channel."""
    black, white = np.array(allowed).T
    width = np.where(values.high > values.low, values.high - values.low, 1.0)
    levels = values.low + width * (found * QUANTIZATION_STEP - OVERSHOOT)
    shaded: np.ndarray = np.clip(np.rint((levels - black) * (255 / (white - black))), 0, 255).astype(np.uint8)
    return shaded


def decide_channel_ranges(seen: Sequence[ChannelValues], given: Range | None = None) -> tuple[Range, ...]:
    """Return which values are black and white in each channel, by the images that were seen.

    Args:
        seen: At least one.
        given: A range to take for all channels instead.
    """
    low, high = np.min([each.low for each in seen], 0), np.max([each.high for each in seen], 0)
    if given is not None:
        return (given,) * len(low)
    if all(each.bits for each in seen):
        return tuple((0.0, next_power_of_two(top) if top <= _MAX_LEVELS else 255.0) for top in high.tolist())
    mean = np.mean([each.mean for each in seen], 0)
    deviation = np.sqrt(np.maximum(np.mean([each.square for each in seen], 0) - np.square(mean), 0))
    black, white = np.maximum(low, mean - _SPREAD * deviation), np.minimum(high, mean + _SPREAD * deviation)
    white = np.where(white > black, white, black + 1)
    return tuple(zip(black.tolist(), white.tolist(), strict=True))
