"""What transparent images are laid on: white, unless opaque pixels would vanish there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from autotransfer_plugins.modalities.image.decoding import BACKGROUNDS, Background

__all__ = ["blend", "choose_background", "laid_on", "vanishes_on"]

_LEVELS: dict[Background, int] = {"white": 255, "black": 0, "grey": 128}
# Opaque pixels that differ from the background by less than a tenth of the levels, in the mean, can hardly be seen.
_VISIBLE = 25.5
# More transparent images than this share must vanish before white is given up.
_SPARED = 0.02
_LOOKED_AT = 64


def laid_on(image: Image.Image, background: Background) -> Image.Image:
    """Lay an RGBA image on white or black."""
    return Image.alpha_composite(Image.new("RGBA", image.size, background), image).convert("RGB")


def blend(on_white: np.ndarray, on_black: np.ndarray, background: Background) -> np.ndarray:
    """Return the squares on any background from those on white and on black."""
    level = _LEVELS[background]
    mixed = on_white.astype(np.uint16) * level + on_black.astype(np.uint16) * (255 - level)
    return np.asarray((mixed + 127) // 255, dtype=np.uint8)


def vanishes_on(image: Image.Image) -> frozenset[Background]:
    """Return the backgrounds that are indistinguishable from the opaque pixels of an RGBA image."""
    width, height = image.size
    shrunk = image.resize((min(width, _LOOKED_AT), min(height, _LOOKED_AT)), Image.Resampling.BOX)
    pixels = np.asarray(shrunk, dtype=np.float64)
    colours, opacity = pixels[..., :3], pixels[..., 3]
    if not opacity.any():
        return frozenset()  # nothing is there to be seen
    weights = opacity / opacity.sum()
    contrast = {name: np.sqrt((weights * ((colours - level) ** 2).mean(-1)).sum()) for name, level in _LEVELS.items()}
    return frozenset(name for name in BACKGROUNDS if contrast[name] < _VISIBLE)


def choose_background(vanishing: Sequence[frozenset[Background]]) -> Background:
    """Return the background for all images, from those on which each transparent one vanishes."""
    counts = {name: sum(name in each for each in vanishing) for name in BACKGROUNDS}
    if counts["white"] <= _SPARED * len(vanishing):
        return "white"
    return min(BACKGROUNDS, key=counts.__getitem__)  # white first, then black, among equals
