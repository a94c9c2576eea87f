"""Power spectra as products with sines and cosines, which other programs compute as fast as torch.

Exported, a Fourier transform would take a hundred times as long (in onnxruntime on a CPU), and programs without complex
numbers lack it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["power_of_frames", "power_of_wave", "waves_of"]


def waves_of(window: Tensor, size: int) -> Tensor:
    """Return windowed cosines, then sines, of a transform of ``size`` points (2 * (size / 2 + 1), window length)."""
    turns = np.outer(np.arange(size // 2 + 1), np.arange(len(window))) % size * (2 * np.pi / size)
    waves = np.concatenate([np.cos(turns), np.sin(turns)]) * window.double().cpu().numpy()
    return torch.from_numpy(waves.astype(np.float32)).to(window.device)


def power_of_frames(frames: Tensor, waves: Tensor) -> Tensor:
    """Map frames (..., window length) to the power at each frequency (..., size / 2 + 1)."""
    real, imaginary = (frames @ waves.T).chunk(2, -1)
    return real.square() + imaginary.square()


def power_of_wave(wave: Tensor, waves: Tensor, hop: int, pad_mode: str) -> Tensor:
    """Map waves (N, T) to the power (N, size / 2 + 1, frames) that ``torch.stft`` with centred frames gives."""
    size, length = len(waves) - 2, waves.shape[1]
    padded = F.pad(wave, (size // 2, size // 2), mode=pad_mode)
    before = (size - length) // 2
    inner = padded[:, before : padded.shape[1] - (size - length - before)]
    real, imaginary = F.conv1d(inner[:, None], waves[:, None], stride=hop).chunk(2, 1)
    return real.square() + imaginary.square()
